package main

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFramesAreRight(t *testing.T) {
	f := frame(guestMAC(1), mac{2}, echoPort, 64)
	require.Len(t, f, 64)
	assert.EqualValues(t, echoPort, port(f))
	assert.EqualValues(t, 0xffff, sum(f[14:34]), "IPv4's checksum")
	assert.EqualValues(t, 50, binary.BigEndian.Uint16(f[16:]), "IPv4's length")
	assert.EqualValues(t, 30, binary.BigEndian.Uint16(f[38:]), "UDP's")
	assert.Zero(t, port(f[:37]))
	f[12] = 0x86
	assert.Zero(t, port(f))

	s := superFrame(guestMAC(1), mac{2})
	assert.EqualValues(t, dropPort, port(s[vnetHeader:]))
	assert.EqualValues(t, 0xffff, sum(s[vnetHeader+14:vnetHeader+34]))
}

// Whatever the pieces in which a stream comes, the frames in it are those that were sent.
func TestFramingProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want [][]byte
		for range rapid.IntRange(0, 8).Draw(t, "frames") {
			f := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "frame")
			stream = append(binary.BigEndian.AppendUint32(stream, uint32(len(f))), f...)
			want = append(want, f)
		}
		s, n := framing{frame: make([]byte, 256)}, 0
		var got [][]byte
		for len(stream) > 0 {
			cut := rapid.IntRange(1, len(stream)).Draw(t, "piece")
			k, err := s.take(stream[:cut], func(f []byte) { got = append(got, append([]byte{}, f...)) })
			require.NoError(t, err)
			n, stream = n+k, stream[cut:]
		}
		assert.Equal(t, want, got)
		assert.Len(t, want, n)
	})
}

func TestFramingRefusesLies(t *testing.T) {
	s := framing{frame: make([]byte, 256)}
	_, err := s.take([]byte{0, 0, 2, 0, 1}, func([]byte) {})
	assert.Error(t, err)
}
