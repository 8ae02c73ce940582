package loop

import (
	"encoding/binary"
	"fmt"
)

const (
	// MaxFrame is the longest frame that QEMU has room for (qemu: include/net/net.h NET_BUFSIZE), in bytes. What claims to be longer is no frame.
	MaxFrame = 4096 + 65536
	// lengthSize is what stands before each frame on the stream, in bytes.
	lengthSize = 4
	// minFrame is an Ethernet header: what is shorter is no frame to any device.
	minFrame = 14
	// readSize is how much is read from the stream at once, in bytes.
	readSize = 256 << 10
)

// LengthError says that a peer does not keep to the framing. There is no way to find the next frame.
type LengthError struct {
	Length uint32 // as it stands there
	Offset int64  // where, in bytes from the connection's begin
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("loop: at byte %d of the connection a frame of %d bytes is announced: the longest is %d. "+
		"Is it QEMU's -netdev stream? Else its guest may have taken it over", e.Offset, e.Length, MaxFrame)
}

// Frames finds the frames of a stream, in place. Its use: read into Space, tell Filled how much came, then take Next until there is none.
type Frames struct {
	buf    []byte
	r, w   int   // what lies between is read and not yet taken
	offset int64 // of buf[0] in the connection
}

// NewFrames makes the buffer for a stream: it takes size bytes at once, besides a frame of which only a part has come.
func NewFrames(size int) *Frames { return &Frames{buf: make([]byte, size+lengthSize+MaxFrame)} }

// Reset forgets what was read: for the next connection.
func (f *Frames) Reset() { f.r, f.w, f.offset = 0, 0, 0 }

// Space is where to read to. It is never empty. The frames that Next gave are no longer valid.
func (f *Frames) Space() []byte {
	if f.r > 0 {
		f.offset += int64(f.r)
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	return f.buf[f.w:]
}

// Filled says that n bytes were read into Space.
func (f *Frames) Filled(n int) { f.w += n }

// Rest is how many bytes there are of a frame of which the others have not come.
func (f *Frames) Rest() int { return f.w - f.r }

// Next is the next whole frame, valid until the next Space; false where the rest has not come. The error is a [*LengthError], and lasting.
func (f *Frames) Next() (frame []byte, ok bool, err error) {
	if f.w-f.r < lengthSize {
		return nil, false, nil
	}
	n := binary.BigEndian.Uint32(f.buf[f.r:])
	if n > MaxFrame {
		return nil, false, &LengthError{Length: n, Offset: f.offset + int64(f.r)}
	}
	end := f.r + lengthSize + int(n)
	if end > f.w {
		return nil, false, nil
	}
	frame = f.buf[f.r+lengthSize : end : end]
	f.r = end
	return frame, true, nil
}

// Burst gathers frames for a stream, each after its length, to be written at once.
type Burst struct {
	buf    []byte
	n      int // filled
	frames int
}

// NewBurst makes room for size bytes, at least for one frame.
func NewBurst(size int) *Burst { return &Burst{buf: make([]byte, max(size, lengthSize+MaxFrame))} }

// Reset empties it.
func (b *Burst) Reset() { b.n, b.frames = 0, 0 }

// Frames is how many frames there are.
func (b *Burst) Frames() int { return b.frames }

// Bytes is what to write.
func (b *Burst) Bytes() []byte { return b.buf[:b.n] }

// Fits says whether there is room for a frame of n bytes.
func (b *Burst) Fits(n int) bool { return len(b.buf)-b.n >= lengthSize+n }

// Add appends a frame; its VLAN tag, where tag is not 0, is put back into its place (TPID in the upper half). There must be room.
func (b *Burst) Add(frame []byte, tag uint32) {
	n := len(frame)
	if tag == 0 {
		binary.BigEndian.PutUint32(b.buf[b.n:], uint32(n))
		b.n += lengthSize
		b.n += copy(b.buf[b.n:], frame)
		b.frames++
		return
	}
	binary.BigEndian.PutUint32(b.buf[b.n:], uint32(n+tagSize))
	b.n += lengthSize
	b.n += copy(b.buf[b.n:], frame[:macs])
	binary.BigEndian.PutUint32(b.buf[b.n:], tag)
	b.n += tagSize
	b.n += copy(b.buf[b.n:], frame[macs:])
	b.frames++
}

const (
	macs    = 12 // bytes of a frame before its VLAN tag
	tagSize = 4
)
