package xsk

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// sender is the direction to the device: the transmit ring, the completion ring, and the frames that go round in them.
type sender struct {
	ring     producer
	descs    []unix.XDPDesc
	done     consumer
	doneRing []uint64
	frames   frames
	idle     []uint32 // numbers of the frames that are ours; the last is the next to be used
	buffers  [][]byte // given to the caller
	reserved int      // how many of them
	fd       int
	kicks    atomic.Uint64
	broken   atomic.Uint64
	// wake calls the kernel; a field so that a test can count without a kernel
	wake func(fd int) unix.Errno
}

func (t *sender) init(ring producer, descs []unix.XDPDesc, done consumer, doneRing []uint64, fd int) {
	t.ring, t.descs, t.done, t.doneRing, t.fd, t.wake = ring, descs, done, doneRing, fd, wake
	t.buffers = make([][]byte, ring.size)
	t.idle = make([]uint32, len(t.frames.lent))
	for i := range t.idle {
		t.idle[i] = uint32(len(t.idle) - 1 - i)
	}
}

// Reserve gives up to n buffers of [Socket.MaxSend] bytes to write frames into, fewer when the kernel still has the others, and none when it has all.
// They are the caller's until [Socket.Submit], or the next call.
func (s *Socket) Reserve(n int) [][]byte {
	t := &s.to
	n = clamp(n, len(t.buffers))
	if len(t.idle) < n {
		t.complete()
	}
	n = int(t.ring.free(uint32(min(n, len(t.idle)))))
	for i := range n {
		t.buffers[i] = t.frames.bytes(t.idle[len(t.idle)-1-i])
	}
	t.reserved = n
	return t.buffers[:n]
}

// Submit puts frames into the transmit ring: the first lengths[i] bytes of the i-th buffer that Reserve gave. They are sent by [Socket.Kick]. The
// buffers that are over go back. With a length that is none of 1 to MaxSend, or more lengths than buffers, nothing is put.
func (s *Socket) Submit(lengths []int) error {
	t := &s.to
	if len(lengths) > t.reserved {
		return fmt.Errorf("xsk: submit %d frames: %d buffers were reserved", len(lengths), t.reserved)
	}
	for i, n := range lengths {
		if n < 1 || n > int(t.frames.size) {
			return fmt.Errorf("xsk: submit frame %d: %d bytes: want 1 to %d", i, n, t.frames.size)
		}
	}
	for i, n := range lengths {
		number := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		t.descs[t.ring.slot(uint32(i))] = unix.XDPDesc{Addr: t.frames.lend(number), Len: uint32(n)}
	}
	t.reserved = 0
	t.ring.submit(uint32(len(lengths)))
	return nil
}

// Kick has the kernel send what Submit has put, if it wants to be called for that. In copy mode, where the call itself sends, it may leave some
// behind when the device takes no more: see [Socket.Pending]. A frame that the device drops is gone, as on a wire. The device being down or gone is
// an error (ENETDOWN, ENXIO); what was put stays in the ring.
func (s *Socket) Kick() error { return s.to.kick(s.opt.Index) }

func (t *sender) kick(index int) error {
	before := t.ring.pending()
	for before > 0 && t.ring.wantsWaking() {
		t.kicks.Add(1)
		e := t.wake(t.fd)
		left := t.ring.pending()
		switch {
		case e != 0 && e != unix.EAGAIN && e != unix.EBUSY && e != unix.ENOBUFS && e != unix.EINTR:
			return fmt.Errorf("xsk: send on device %d: %w", index, e)
		case e == 0 || left >= before: // all gone on their way, or nothing moves
			return nil
		}
		before = left // the kernel sends 32 a call (linux: net/xdp/xsk.c TX_BATCH_SIZE)
	}
	return nil
}

// wake never blocks, so the scheduler need not know of it.
func wake(fd int) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return e
}

// Pending says how many of the frames that were submitted the kernel has not taken from the ring. Not 0 after [Socket.Kick]: wait until the
// descriptor is writable and kick again.
func (s *Socket) Pending() int { return int(s.to.ring.pending()) }

// Complete takes back the buffers of frames that have been sent, and says how many. Reserve does it when it runs short.
func (s *Socket) Complete() int { return s.to.complete() }

func (t *sender) complete() int {
	n := t.done.available(t.done.size)
	back := 0
	for i := range n {
		number, ok := t.frames.back(t.doneRing[t.done.slot(i)])
		if !ok {
			t.broken.Add(1)
			continue
		}
		t.idle = append(t.idle, number) // within its capacity: no frame comes back twice
		back++
	}
	if n > 0 {
		t.done.release(n)
	}
	t.reserved = 0
	return back
}
