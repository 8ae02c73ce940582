package bridge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// pair is one attribute.
type pair struct {
	Kind  uint16
	Value []byte
}

func all(b []byte) (out []pair) {
	for k, v := range attrs(b) {
		out = append(out, pair{k, append([]byte{}, v...)})
	}
	return out
}

func TestAttrsRoundTrip(t *testing.T) {
	one := rapid.Custom(func(t *rapid.T) pair {
		return pair{rapid.Uint16Range(0, attrMask).Draw(t, "kind"), rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value")}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(one).Draw(t, "attributes")
		var b []byte
		for _, p := range want {
			b = appendAttr(b, p.Kind, p.Value)
			assert.Zero(t, len(b)%4, "aligned")
		}
		assert.Equal(t, append([]pair(nil), want...), all(b))
	})
}

func TestAttrsOfTheKernel(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want []pair
	}{
		"none":                      {"", nil},
		"empty value":               {"\x04\x00\x07\x00", []pair{{7, []byte{}}}},
		"padded":                    {"\x05\x00\x07\x00A\xff\xff\xff\x04\x00\x08\x00", []pair{{7, []byte("A")}, {8, []byte{}}}},
		"last one without padding":  {"\x05\x00\x07\x00A", []pair{{7, []byte("A")}}},
		"nested flag":               {"\x04\x00\x07\x80", []pair{{7, []byte{}}}},
		"byte order flag":           {"\x04\x00\x07\x40", []pair{{7, []byte{}}}},
		"shorter than its header":   {"\x03\x00\x07\x00", nil},
		"length zero":               {"\x00\x00\x07\x00\x04\x00\x07\x00", nil},
		"longer than what is there": {"\x04\x00\x06\x00\x09\x00\x07\x00A\x00\x00\x00", []pair{{6, []byte{}}}},
		"half a header":             {"\x04\x00\x06\x00\x04\x00\x07", []pair{{6, []byte{}}}},
		"greatest length":           {"\xff\xff\x06\x00", nil},
	} {
		assert.Equal(t, tc.want, all([]byte(tc.in)), name)
	}
}

// Whoever breaks off gets nothing further.
func TestAttrsEndEarly(t *testing.T) {
	b := appendAttr(appendAttr(nil, 1, nil), 2, nil)
	n := 0
	for range attrs(b) {
		n++
		break
	}
	assert.Equal(t, 1, n)
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{"": "", "\x00": "", "a": "a", "a\x00": "a", "a\x00b\x00": "a"} {
		assert.Equal(t, want, text([]byte(in)), "%q", in)
	}
}

func TestNumber(t *testing.T) {
	assert.Equal(t, 1500, number(appendUint32(nil, 1, 1500)[4:]))
	assert.Equal(t, 1500, number(append(appendUint32(nil, 1, 1500)[4:], 1, 2)), "what follows does not count")
	assert.Equal(t, 1<<32-1, number([]byte{255, 255, 255, 255}))
	assert.Zero(t, number([]byte{1, 2, 3}))
	assert.Zero(t, number(nil))
}
