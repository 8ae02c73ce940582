package xsk

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// other is a kernel that is only memory: the other side of a socket's four rings, to be honest with or not.
type other struct {
	fillHead, fillTail, fillFlags, doneHead, doneTail, rxHead, rxTail, txHead, txTail, txFlags uint32
	fill, done                                                                                 []uint64
	rx, tx                                                                                     []unix.XDPDesc
}

func withoutKernel(ring, frame int) (*Socket, *other) {
	o := &other{fill: make([]uint64, ring), done: make([]uint64, ring), rx: make([]unix.XDPDesc, ring), tx: make([]unix.XDPDesc, ring)}
	memory := make([]byte, 2*ring*frame)
	s := &Socket{opt: Options{Index: 1, RingSize: ring, FrameSize: frame}}
	s.in.frames, s.to.frames = newFrames(memory, 0, ring, frame), newFrames(memory, ring, ring, frame)
	n := uint32(ring)
	s.in.init(producer{head: &o.fillHead, tail: &o.fillTail, flags: &o.fillFlags, size: n}, o.fill, consumer{head: &o.rxHead, tail: &o.rxTail, size: n}, o.rx)
	s.to.init(producer{head: &o.txHead, tail: &o.txTail, flags: &o.txFlags, size: n}, o.tx, consumer{head: &o.doneHead, tail: &o.doneTail, size: n}, o.done, -1)
	s.in.fillAll()
	return s, o
}

// Whatever is in the rings, each frame has one holder, and what is given out lies within it.
func TestSocketBelievesNobody(t *testing.T) {
	const size = 2048
	rapid.Check(t, func(t *rapid.T) {
		ring := 1 << rapid.IntRange(0, 4).Draw(t, "log2 ring")
		s, o := withoutKernel(ring, size)
		addr := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, uint64(2*ring+1)*size))
		length := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, size+1))
		held := 0
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			for i := range ring { // anything at all
				o.rx[i] = unix.XDPDesc{Addr: addr.Draw(t, "rx addr"), Len: length.Draw(t, "rx len"), Options: rapid.Uint32().Draw(t, "options")}
				o.done[i] = addr.Draw(t, "done")
			}
			counter := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, 40), rapid.Map(rapid.Uint32Range(0, 40), func(n uint32) uint32 { return s.in.ring.next + n }))
			o.rxHead, o.fillTail, o.txTail = counter.Draw(t, "rx head"), counter.Draw(t, "fill tail"), counter.Draw(t, "tx tail")
			o.doneHead = counter.Draw(t, "done head")

			got := s.Receive(rapid.IntRange(-1, 20).Draw(t, "receive"))
			for i, f := range got {
				if s.in.numbers[i] == none || f.memory == nil {
					assert.Empty(t, f.Bytes())
					continue
				}
				require.LessOrEqual(t, len(f.Bytes()), size-headroom)
				_ = f.WithRoom(headroom)
			}
			held = len(s.Receive(ring))
			once := map[uint32]bool{}
			for _, n := range s.in.numbers[:held] {
				if n != none {
					require.False(t, once[n] || s.in.frames.lent[n], "frame %d has two holders", n)
					once[n] = true
				}
			}
			s.Release(rapid.IntRange(-1, 20).Draw(t, "release"))

			buffers := s.Reserve(rapid.IntRange(-1, 20).Draw(t, "reserve"))
			lengths := make([]int, rapid.IntRange(0, len(buffers)).Draw(t, "submit"))
			for i := range lengths {
				require.Len(t, buffers[i], size)
				lengths[i] = size
			}
			require.NoError(t, s.Submit(lengths))
			s.Complete()
			ours := map[uint32]bool{}
			for _, n := range s.to.idle {
				require.False(t, ours[n] || s.to.frames.lent[n], "frame %d has two holders", n)
				ours[n] = true
			}
			require.LessOrEqual(t, s.Pending(), ring)
		}
	})
}

// An entry that cannot be is counted, and is a frame without bytes in its place.
func TestBrokenEntriesAreCounted(t *testing.T) {
	s, o := withoutKernel(8, 2048)
	copy(o.rx, []unix.XDPDesc{
		{Addr: 256, Len: 60},            // right
		{Addr: 256, Len: 60},            // came already
		{Addr: 2048 + 255, Len: 60},     // begins in the headroom
		{Addr: 2*2048 + 256, Len: 1793}, // ends in the next frame
		{Addr: 8*2048 + 256, Len: 60},   // a frame for sending
		{Addr: 1 << 63, Len: 60},        // nowhere
		{Addr: 3*2048 + 256, Len: ^uint32(0)},
		{Addr: 7*2048 + 256, Len: 1792}, // right, and the longest
	})
	o.rxHead = 8
	got := s.Receive(8)
	var lengths []int
	for _, f := range got {
		lengths = append(lengths, len(f.Bytes()))
	}
	assert.Equal(t, []int{60, 0, 0, 0, 0, 0, 0, 1792}, lengths)
	assert.Equal(t, uint64(6), s.in.broken.Load())
	s.Release(8)
	assert.Equal(t, uint32(8), o.rxTail)
	assert.Equal(t, uint32(8+5), o.fillHead, "those of which we know which they are can be used again")

	s.Reserve(2)
	require.NoError(t, s.Submit([]int{60, 60}))
	require.Error(t, s.Submit([]int{60}), "those were all")
	copy(o.done, []uint64{8 * 2048, 8 * 2048, 0, 1 << 63})
	o.doneHead = 4
	assert.Equal(t, 1, s.Complete())
	assert.Equal(t, uint64(3), s.to.broken.Load())
	assert.Equal(t, uint32(4), o.doneTail)
	require.NoError(t, s.Close())
}

// The kernel is called when it wants to be, as often as it makes headway, and not when there is nothing to send.
func TestKicks(t *testing.T) {
	s, o := withoutKernel(64, 2048)
	calls, answers := 0, []unix.Errno(nil)
	takes := uint32(32)
	s.to.wake = func(int) unix.Errno {
		calls++
		o.txTail = min(o.txTail+takes, o.txHead)
		if len(answers) > 0 {
			e := answers[0]
			answers = answers[1:]
			return e
		}
		return 0
	}
	kick := func(n int, e ...unix.Errno) int {
		s.Reserve(n)
		require.NoError(t, s.Submit(make60(n)))
		calls, answers = 0, e
		require.NoError(t, s.Kick())
		for i := range s.to.frames.lent { // all sent
			if s.to.frames.lent[i] && s.Pending() == 0 {
				s.to.frames.lent[i] = false
				s.to.idle = append(s.to.idle, uint32(i))
			}
		}
		return calls
	}
	assert.Zero(t, kick(3), "it takes them by itself")
	assert.Equal(t, 3, s.Pending())
	o.txFlags = needWakeup
	assert.Equal(t, 1, kick(1))
	assert.Zero(t, s.Pending())
	assert.Zero(t, kick(0), "nothing to send")
	assert.Equal(t, 2, kick(64, unix.EAGAIN), "32 a call")
	assert.Equal(t, 2, kick(40, unix.EBUSY), "one was dropped, and then it goes on")
	takes = 0
	assert.Equal(t, 1, kick(5, unix.EAGAIN), "no headway")
	assert.Equal(t, 5, s.Pending())
	s.to.wake = func(int) unix.Errno { return unix.ENETDOWN }
	require.ErrorIs(t, s.Kick(), unix.ENETDOWN)
	assert.Equal(t, uint64(1+2+2+1+1), s.to.kicks.Load())
}

func make60(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = 60
	}
	return out
}
