package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A message as it stands in memory: four numbers in the machine's order, then the payload (xen: xs_wire.h struct xsd_sockmsg).
func TestMessageOnTheWire(t *testing.T) {
	var want []byte
	for _, n := range []uint32{11, 7, 0xdeadbeef, 5} {
		want = binary.NativeEndian.AppendUint32(want, n)
	}
	want = append(want, "/a\x00hi"...)
	got := AppendMessage([]byte("before"), Header{Type: Write, ReqID: 7, TxID: 0xdeadbeef, Len: 99}, []byte("/a\x00"), nil, []byte("hi"))
	assert.Equal(t, append([]byte("before"), want...), got, "Len is the payload's, whatever the header said")
	h, err := ParseHeader(want)
	require.NoError(t, err)
	assert.Equal(t, Header{Type: Write, ReqID: 7, TxID: 0xdeadbeef, Len: 5}, h)
}

func TestParseHeaderOfTooFewBytes(t *testing.T) {
	b := AppendMessage(nil, Header{Type: Read, ReqID: 1})
	require.Len(t, b, HeaderSize)
	for n := range HeaderSize {
		h, err := ParseHeader(b[:n])
		assert.ErrorIs(t, err, ErrShort, n)
		assert.Zero(t, h)
	}
	_, err := ParseHeader(b)
	assert.NoError(t, err)
}

// The length is what the sender says: whoever reads judges it.
func TestParseHeaderDoesNotJudge(t *testing.T) {
	h, err := ParseHeader(bytes.Repeat([]byte{0xff}, HeaderSize+3))
	require.NoError(t, err)
	assert.Equal(t, Header{math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32}, h)
}

func TestMessagesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type message struct {
			h       Header
			payload []byte
		}
		var sent []message
		var b []byte
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			h := Header{Type(rapid.Uint32().Draw(t, "type")), rapid.Uint32().Draw(t, "req"), rapid.Uint32().Draw(t, "tx"), 0}
			parts := rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 0, 4).Draw(t, "parts")
			b = AppendMessage(b, h, parts...)
			h.Len = uint32(len(bytes.Join(parts, nil)))
			sent = append(sent, message{h, bytes.Join(parts, nil)})
		}
		for _, m := range sent {
			h, err := ParseHeader(b)
			if err != nil || h != m.h || !bytes.Equal(b[HeaderSize:HeaderSize+h.Len], m.payload) {
				t.Fatalf("got %+v, %v, want %+v", h, err, m)
			}
			b = b[HeaderSize+h.Len:]
		}
		if len(b) != 0 {
			t.Fatalf("%d bytes are left over", len(b))
		}
	})
}

func TestSplitStrings(t *testing.T) {
	for payload, want := range map[string][]string{
		"":                   nil,
		"\x00":               {""},
		"a\x00":              {"a"},
		"a\x00b\x00":         {"a", "b"},
		"\x00\x00":           {"", ""},
		"a\x00\x00b\xff\x00": {"a", "", "b\xff"},
	} {
		got, err := SplitStrings([]byte(payload))
		require.NoError(t, err, "%q", payload)
		assert.Equal(t, want, got, "%q", payload)
	}
	for _, payload := range []string{"a", "a\x00b", "\x00b"} {
		got, err := SplitStrings([]byte(payload))
		assert.ErrorIs(t, err, ErrShort, "%q", payload)
		assert.Nil(t, got)
	}
	_, err := SplitStrings([]byte("abc"))
	assert.EqualError(t, err, "3 bytes of strings without a NUL at their end: message is cut short")
}

func TestSplitStringsKeepsNothingOfTheBuffer(t *testing.T) {
	b := []byte("abc\x00")
	got, err := SplitStrings(b)
	require.NoError(t, err)
	clear(b)
	assert.Equal(t, []string{"abc"}, got)
}

// joined is what SplitStrings reads.
func joined(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = append(append(b, s...), 0)
	}
	return b
}

func TestStringsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Custom(func(t *rapid.T) string {
			return strings.ReplaceAll(rapid.String().Draw(t, "string"), "\x00", "")
		})).Draw(t, "strings")
		got, err := SplitStrings(joined(want))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	})
}

// The numbers and names of the protocol's documentation (xen: xs_wire.h enum xsd_sockmsg_type).
func TestTypes(t *testing.T) {
	names := strings.Fields(`CONTROL DIRECTORY READ GET_PERMS WATCH UNWATCH TRANSACTION_START TRANSACTION_END INTRODUCE RELEASE
		GET_DOMAIN_PATH WRITE MKDIR RM SET_PERMS WATCH_EVENT ERROR IS_DOMAIN_INTRODUCED RESUME SET_TARGET - RESET_WATCHES
		DIRECTORY_PART GET_FEATURE SET_FEATURE GET_QUOTA SET_QUOTA`)
	require.Len(t, names, 27)
	for n, want := range names {
		if want == "-" {
			want = "type 20" // RESTRICT, removed
		}
		assert.Equal(t, want, Type(n).String())
	}
	assert.Equal(t, "type 4294967295", Type(math.MaxUint32).String())
	assert.Len(t, typeNames, 26)
}

func TestErrno(t *testing.T) {
	assert.EqualError(t, ENOENT, "no such node (ENOENT)")
	assert.EqualError(t, EAGAIN, "changed meanwhile, try again (EAGAIN)")
	assert.EqualError(t, Errno("EWHATEVER"), "xenstored says EWHATEVER")
	known := strings.Fields(`EINVAL EACCES EEXIST EISDIR ENOENT ENOMEM ENOSPC EIO ENOTEMPTY ENOSYS EROFS EBUSY EAGAIN EISCONN E2BIG EPERM EQUOTA`)
	assert.Len(t, errnoTexts, len(known))
	for _, name := range known {
		assert.Contains(t, Errno(name).Error(), " ("+name+")")
	}
}

// Whatever is read as a message is written as the same bytes, and so are its strings.
func FuzzMessage(f *testing.F) {
	f.Add(AppendMessage(nil, Header{Type: Read, ReqID: 1}, []byte("/a\x00")))
	f.Add([]byte("too short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			require.Less(t, len(b), HeaderSize)
			return
		}
		payload := b[HeaderSize:]
		if uint64(h.Len) <= uint64(len(payload)) {
			payload = payload[:h.Len]
			require.Equal(t, b[:HeaderSize+len(payload)], AppendMessage(nil, h, payload))
		}
		list, err := SplitStrings(payload)
		if err != nil {
			require.NotZero(t, payload[len(payload)-1])
			return
		}
		require.Equal(t, len(payload), len(joined(list)))
		require.True(t, bytes.Equal(payload, joined(list)))
		require.NotEmpty(t, h.Type.String())
	})
}
