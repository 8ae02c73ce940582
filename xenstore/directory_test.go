package xenstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// list asks for a directory that is too long for one message.
func list(t *testing.T) (*fake, <-chan outcome[[]string]) {
	c, f := openFake(t, nil)
	call := beside(func() ([]string, error) { return c.Directory(t.Context(), "/d") })
	f.deny(f.expect(wire.Directory, "/d\x00"), E2BIG)
	return f, call
}

// part answers one DIRECTORY_PART.
func (f *fake) part(offset int, generation, names string) {
	f.t.Helper()
	f.reply(f.expect(wire.DirectoryPart, fmt.Sprintf("/d\x00%d\x00", offset)), generation+"\x00"+names)
}

func TestDirectoryParts(t *testing.T) {
	for name, c := range map[string]struct {
		parts []string
		want  []string
	}{
		"one":                      {[]string{"a\x00b\x00\x00"}, []string{"a", "b"}},
		"several":                  {[]string{"a\x00b\x00", "c\x00", "dd\x00\x00"}, []string{"a", "b", "c", "dd"}},
		"end in a part of its own": {[]string{"a\x00", "\x00"}, []string{"a"}},
		"grew empty meanwhile":     {[]string{"\x00"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, call := list(t)
			offset := 0
			for _, p := range c.parts {
				f.part(offset, "7", p)
				offset += len(p)
			}
			assert.Equal(t, outcome[[]string]{value: c.want}, receive(t, call))
		})
	}
}

func TestDirectoryStartsOverWhenItChanges(t *testing.T) {
	f, call := list(t)
	f.part(0, "7", "a\x00b\x00")
	f.part(4, "8", "x\x00\x00")
	f.part(0, "8", "a\x00")
	f.part(2, "9", "b\x00")
	f.part(0, "9", "a\x00")
	f.part(2, "9", "c\x00\x00")
	assert.Equal(t, outcome[[]string]{value: []string{"a", "c"}}, receive(t, call))
}

func TestDirectoryThatChangesAllTheTime(t *testing.T) {
	f, call := list(t)
	for i := range 10 {
		f.part(0, fmt.Sprint(i), "a\x00")
		f.part(2, fmt.Sprint(i+1), "b\x00")
	}
	assert.ErrorIs(t, receive(t, call).err, EAGAIN)
}

func TestDirectoryThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(f *fake)
		want   error
	}{
		"oxenstored has no parts": {func(f *fake) { f.deny(f.next(), ENOSYS) }, ENOSYS},
		"removed meanwhile":       {func(f *fake) { f.part(0, "1", "a\x00"); f.deny(f.next(), ENOENT) }, ENOENT},
		"no generation":           {func(f *fake) { f.reply(f.next(), "7") }, wire.ErrShort},
		"nothing after it":        {func(f *fake) { f.reply(f.next(), "7\x00") }, wire.ErrShort},
		"never ends": {func(f *fake) {
			piece := strings.Repeat("abc\x00", 64<<10)
			for i := range 4 {
				f.part(i*len(piece), "7", piece)
			}
		}, E2BIG},
	} {
		t.Run(name, func(t *testing.T) {
			f, call := list(t)
			c.answer(f)
			got := receive(t, call)
			require.ErrorIs(t, got.err, c.want)
			assert.ErrorContains(t, got.err, "xenstore: DIRECTORY_PART /d: ")
			assert.Nil(t, got.value)
		})
	}
}
