package xsk

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// receiver is the direction from the device: the receive ring, the fill ring, and the frames that go round in them.
type receiver struct {
	fill     producer
	fillRing []uint64
	ring     consumer
	descs    []unix.XDPDesc
	frames   frames
	out      []Frame  // given to the caller, oldest first; as long as the ring
	numbers  []uint32 // of their frames; none for a broken entry
	held     int      // of out that are in use
	broken   atomic.Uint64
}

// Frame is a received frame. It lies in the socket's memory, and is the caller's until [Socket.Release].
type Frame struct {
	memory []byte // the whole of it
	at     int
}

// Bytes is the frame, from the destination address on, without a checksum.
func (f Frame) Bytes() []byte { return f.memory[f.at:] }

// WithRoom is the frame and n bytes before it, in which the caller may write: a length or a header. n is at most 256.
func (f Frame) WithRoom(n int) []byte { return f.memory[f.at-n:] }

const none = ^uint32(0)

func (r *receiver) init(fill producer, fillRing []uint64, ring consumer, descs []unix.XDPDesc) {
	r.fill, r.fillRing, r.ring, r.descs = fill, fillRing, ring, descs
	r.out, r.numbers = make([]Frame, ring.size), make([]uint32, ring.size)
}

// fillAll gives the kernel every frame to receive into.
func (r *receiver) fillAll() {
	n := uint32(len(r.frames.lent))
	for i := range n {
		r.fillRing[r.fill.slot(i)] = r.frames.lend(i)
	}
	r.fill.submit(n)
}

// Receive gives the frames that have come, up to max, oldest first: also those that an earlier call gave and that were not released. The slice is good
// until the next call. An empty one says that there are none; it does not wait.
func (s *Socket) Receive(max int) []Frame {
	r := &s.in
	max = clamp(max, len(r.out))
	for n := int(r.ring.available(uint32(max))); r.held < n; r.held++ {
		r.take(r.held)
	}
	return r.out[:min(max, r.held)]
}

func clamp(n, top int) int { return max(0, min(n, top)) }

// take checks the i-th entry that has not been released, and has it as the i-th frame. One that cannot be has no bytes.
func (r *receiver) take(i int) {
	d := r.descs[r.ring.slot(uint32(i))] // a copy, so that what is checked is what is used
	n, ok := r.frames.back(d.Addr)
	if ok && d.Addr&(r.frames.size-1) >= headroom && r.frames.within(d.Addr, d.Len) {
		at := int(d.Addr & (r.frames.size - 1))
		end := at + int(d.Len)
		r.out[i], r.numbers[i] = Frame{r.frames.bytes(n)[:end:end], at}, n
		return
	}
	if !ok {
		n = none
	}
	r.out[i], r.numbers[i] = Frame{}, n
	r.broken.Add(1)
}

// Release gives the first n of the frames that Receive gave back to the kernel, to receive into.
func (s *Socket) Release(n int) {
	r := &s.in
	n = min(n, r.held)
	if n <= 0 {
		return
	}
	back := uint32(0)
	for _, number := range r.numbers[:n] {
		if number != none { // there is room in the ring for every frame there is
			r.fillRing[r.fill.slot(back)] = r.frames.lend(number)
			back++
		}
	}
	r.fill.submit(back)
	r.ring.release(uint32(n))
	r.held -= n
	copy(r.out, r.out[n:n+r.held])
	copy(r.numbers, r.numbers[n:n+r.held])
	if s.zeroCopy && r.fill.wantsWaking() { // in copy mode the kernel looks at the ring whenever a frame comes
		_, _, _ = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	}
}
