package loop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// framed is a stream of frames as QEMU writes it.
func framed(frames ...[]byte) (out []byte) {
	for _, f := range frames {
		out = binary.BigEndian.AppendUint32(out, uint32(len(f)))
		out = append(out, f...)
	}
	return out
}

// parse reads a stream that comes in pieces of the sizes that cut gives.
func parse(f *Frames, stream []byte, cut func(left int) int) (out [][]byte, err error) {
	for len(stream) > 0 {
		n := copy(f.Space(), stream[:min(max(cut(len(stream)), 1), len(stream))])
		f.Filled(n)
		stream = stream[n:]
		for {
			frame, ok, err := f.Next()
			if err != nil {
				return out, err
			}
			if !ok {
				break
			}
			out = append(out, bytes.Clone(frame))
		}
	}
	return out, nil
}

// slowly is the obvious reading of the same stream: the judge.
func slowly(stream []byte) (out [][]byte, rest int, bad *LengthError) {
	r := bytes.NewReader(stream)
	for {
		at := len(stream) - r.Len()
		var n uint32
		if binary.Read(r, binary.BigEndian, &n) != nil {
			return out, len(stream) - at, nil
		}
		if n > MaxFrame {
			return out, len(stream) - at, &LengthError{Length: n, Offset: int64(at)}
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			return out, len(stream) - at, nil
		}
		out = append(out, frame)
	}
}

// judge compares the two.
func judge(t require.TestingT, f *Frames, stream []byte, cut func(int) int) {
	want, rest, bad := slowly(stream)
	got, err := parse(f, stream, cut)
	require.Equal(t, want, got)
	if bad == nil {
		require.NoError(t, err)
		require.Equal(t, rest, f.Rest())
		return
	}
	var e *LengthError
	require.ErrorAs(t, err, &e)
	require.Equal(t, bad, e)
}

var frameSizes = []int{0, 1, 13, 14, 60, 64, 1514, 9018, MaxFrame - 1, MaxFrame}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ seed
	}
	return b
}

// The stream may be cut anywhere, within lengths too.
func TestFramesAtEveryCut(t *testing.T) {
	stream := framed(pattern(14, 1), nil, pattern(60, 2), pattern(1, 3), pattern(300, 4))
	f := NewFrames(64)
	for first := 1; first <= len(stream); first++ {
		f.Reset()
		left := first
		judge(t, f, stream, func(int) int { n := left; left = len(stream); return n })
	}
	f.Reset()
	judge(t, f, stream, func(int) int { return 1 })
}

func TestFramesProperty(t *testing.T) {
	f := NewFrames(4096) // one for all: Reset is part of what is tested
	rapid.Check(t, func(t *rapid.T) {
		f.Reset()
		var stream []byte
		for i := range rapid.IntRange(0, 12).Draw(t, "frames") {
			n := rapid.OneOf(rapid.SampledFrom(frameSizes), rapid.IntRange(0, 3000)).Draw(t, "size")
			stream = append(stream, framed(pattern(n, byte(i)))...)
		}
		if rapid.Bool().Draw(t, "lies") {
			stream = binary.BigEndian.AppendUint32(stream, rapid.Uint32Min(MaxFrame-1).Draw(t, "length"))
			stream = append(stream, make([]byte, rapid.IntRange(0, 100).Draw(t, "more"))...)
		}
		stream = stream[:len(stream)-min(len(stream), rapid.IntRange(0, 20).Draw(t, "missing"))]
		most := rapid.IntRange(1, 100000).Draw(t, "piece")
		judge(t, f, stream, func(left int) int { return rapid.IntRange(1, min(most, left)).Draw(t, "cut") })
	})
}

func FuzzFraming(f *testing.F) {
	f.Add(framed(pattern(60, 1), pattern(14, 2)), uint16(3))
	f.Add(framed(nil, nil, nil), uint16(1))
	f.Add([]byte{0, 1, 0x10, 0}, uint16(2))
	f.Add([]byte{0, 1, 0x10, 1}, uint16(4))
	f.Add([]byte("\xff\xff\xff\xffgarbage"), uint16(5))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		judge(t, NewFrames(256), stream, func(int) int { return int(piece) })
	})
}

// A length that cannot be is told with its place, and nothing after it is taken for a frame.
func TestLyingLength(t *testing.T) {
	good := framed(pattern(60, 1), pattern(70, 2))
	f := NewFrames(readSize)
	got, err := parse(f, append(good, "\x00\x01\x10\x01and what follows"...), func(left int) int { return left })
	require.Len(t, got, 2)
	var bad *LengthError
	require.ErrorAs(t, err, &bad)
	assert.Equal(t, &LengthError{Length: MaxFrame + 1, Offset: 60 + 70 + 8}, bad)
	assert.True(t, strings.HasPrefix(bad.Error(), "loop: at byte 138 of the connection a frame of 69633 bytes is announced: the longest is 69632."), bad)
	_, ok, again := f.Next()
	assert.False(t, ok)
	assert.True(t, errors.As(again, &bad), "it lasts")
}

// What is added can be read back, VLAN tags in their place, and Fits is exact.
func TestBurstProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBurst(MaxFrame + 100)
		var want [][]byte
		for i := range rapid.IntRange(1, 8).Draw(t, "frames") {
			f := pattern(rapid.OneOf(rapid.SampledFrom(frameSizes[3:]), rapid.IntRange(14, 2000)).Draw(t, "size"), byte(i))
			tag := rapid.SampledFrom([]uint32{0, 0x8100<<16 | 5, 0x88a8<<16 | 0xe00a}).Draw(t, "tag")
			out := f
			if tag != 0 {
				out = append(binary.BigEndian.AppendUint32(bytes.Clone(f[:12]), tag), f[12:]...)
			}
			if fits := b.Fits(len(out)); !fits {
				assert.Greater(t, len(framed(want...))+len(out)+4, len(b.buf))
				continue
			}
			b.Add(f, tag)
			want = append(want, out)
		}
		assert.Equal(t, len(want), b.Frames())
		got, _, bad := slowly(b.Bytes())
		if bad == nil {
			assert.Equal(t, want, got)
		}
		b.Reset()
		assert.Empty(t, b.Bytes())
		assert.Zero(t, b.Frames())
	})
}

// frameBench are the sizes that the paths are measured at.
var frameBench = map[string]int{"64B": 64, "1514B": 1514}

func BenchmarkFraming(b *testing.B) {
	for name, size := range frameBench {
		b.Run(name, func(b *testing.B) {
			var stream []byte
			for len(stream) < readSize {
				stream = append(stream, framed(pattern(size, 7))...)
			}
			f := NewFrames(readSize)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for n := 0; n < b.N; {
				f.Filled(copy(f.Space(), stream[:readSize]))
				for {
					if _, ok, _ := f.Next(); !ok {
						break
					}
					n++
				}
				f.Reset()
			}
		})
	}
}

func BenchmarkBurst(b *testing.B) {
	for name, size := range frameBench {
		b.Run(name, func(b *testing.B) {
			frame, burst := pattern(size, 7), NewBurst(readSize)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for range b.N {
				if !burst.Fits(size) {
					burst.Reset()
				}
				burst.Add(frame, 0)
			}
		})
	}
}

func TestNoAllocationPerFrame(t *testing.T) {
	f, burst := NewFrames(readSize), NewBurst(readSize)
	stream := framed(pattern(64, 1), pattern(1514, 2), pattern(60, 3))
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		f.Filled(copy(f.Space(), stream))
		burst.Reset()
		for {
			frame, ok, err := f.Next()
			if !ok || err != nil {
				break
			}
			burst.Add(frame, 0x81000001)
		}
	}))
}
