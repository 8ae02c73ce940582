package loop

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// fakeDevice is a device whose every answer a test decides. Frames that it has sent go, one after the other, through a pipe.
type fakeDevice struct {
	gate     int // an eventfd: readable and writable as a test has it
	out      int // of a socket: how it becomes full is the kernel's
	pending  chan []byte
	flushed  atomic.Int32
	answer   []error // to the next sends, before any is taken
	flushing []error
}

func (d *fakeDevice) fill(b *Burst) {
	for b.Fits(1500) {
		select {
		case f := <-d.pending:
			b.Add(f, 0)
		default:
			return
		}
	}
}
func (d *fakeDevice) ready() bool          { return len(d.pending) > 0 }
func (d *fakeDevice) readable() int        { return d.gate }
func (d *fakeDevice) writable() int        { return d.out }
func (d *fakeDevice) troubled() int        { return -1 }
func (d *fakeDevice) count(Reason)         {}
func (d *fakeDevice) close() error         { return nil }
func (d *fakeDevice) flush() error         { d.flushed.Add(1); return first(&d.flushing) }
func (*fakeDevice) trouble() (bool, error) { return true, nil }

func first(list *[]error) error {
	if len(*list) == 0 {
		return nil
	}
	e := (*list)[0]
	*list = (*list)[1:]
	return e
}

// send takes one frame at a time, as far as the socket takes it.
func (d *fakeDevice) send(frames [][]byte) (int, error) {
	if err := first(&d.answer); err != nil {
		return 0, err
	}
	switch _, errno := send(d.out, frames[0]); errno {
	case 0:
		return 1, nil
	case unix.EAGAIN:
		return 0, errFull
	}
	return 0, errGone
}

// pairOf makes two connected sockets that do not wait.
func pairOf(t *testing.T, kind int) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fds[0]) })
	return fds[0], fds[1]
}

// fakeLoop is a loop on a fake device, with QEMU's side of its connection, and the wire's.
func fakeLoop(t *testing.T) (l *Loop, d *fakeDevice, qemu, wire int) {
	t.Helper()
	wire, out := pairOf(t, unix.SOCK_SEQPACKET)
	qemu, conn := pairOf(t, unix.SOCK_STREAM)
	gate, err := unix.Eventfd(0, unix.EFD_NONBLOCK)
	require.NoError(t, err)
	d = &fakeDevice{gate: gate, out: out, pending: make(chan []byte, 1<<16)}
	l = &Loop{log: slog.New(slog.DiscardHandler), dev: d, peer: &connected{conn}, again: -1, frames: NewFrames(readSize), burst: NewBurst(readSize)}
	for _, fd := range []*int{&l.over, &l.stop} {
		*fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		assert.NoError(t, errors.Join(l.Close(), unix.Close(gate), unix.Close(out)))
	})
	return l, d, qemu, wire
}

// run runs a loop, and gives what Run said when it has ended.
func run(l *Loop) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go runIt(ctx, l, done)
	return func() error { cancel(); return <-done }
}

func runIt(ctx context.Context, l *Loop, done chan<- error) { done <- l.Run(ctx) }

// serving returns when both directions wait for frames: what is there before is for nobody.
func serving(t *testing.T, l *Loop) {
	t.Helper()
	for start := time.Now(); l.Counters.ToGuest.Sleeps.Load() == 0 || l.Counters.ToWire.Sleeps.Load() == 0; {
		require.Less(t, time.Since(start), 10*time.Second)
		runtime.Gosched()
	}
}

// numbered are frames of one size with a number at their end.
func numbered(n, size int) (out [][]byte) {
	for i := range n {
		f := pattern(size, byte(i))
		binary.BigEndian.PutUint32(f[size-4:], uint32(i))
		out = append(out, f)
	}
	return out
}

// A device that takes no more has QEMU's socket left unread: QEMU, which goes on writing, is stopped after a bounded number of bytes. When the
// device takes frames again, not one is missing.
func TestBackPressure(t *testing.T) {
	l, _, qemu, wire := fakeLoop(t)
	stop := run(l)
	frames := numbered(20000, 1000)
	stream, sent := framedAll(frames), 0
	for quiet := 0; quiet < 20; { // until nobody has taken anything for a while
		n, err := unix.Write(qemu, stream[sent:])
		if err == unix.EAGAIN {
			quiet++
			_, _ = bridgetest.Await(qemu, unix.POLLOUT, 20*time.Millisecond)
			continue
		}
		require.NoError(t, err)
		sent, quiet = sent+n, 0
		require.Less(t, sent, 4<<20, "more is taken than can be held")
	}
	assert.Positive(t, l.Counters.ToWire.Waits.Load())
	b := make([]byte, 2000)
	for i := 0; i < len(frames); {
		if n, err := unix.Write(qemu, stream[sent:]); err == nil {
			sent += n
		}
		n, err := unix.Read(wire, b)
		if err == unix.EAGAIN {
			bridgetest.Readable(wire, 20*time.Millisecond)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, frames[i], b[:n], "frame %d", i)
		i++
	}
	assert.Zero(t, l.Counters.ToWire.Dropped())
	require.NoError(t, stop())
}

func framedAll(frames [][]byte) []byte { return framed(frames...) }

// While the loop waits for a device that takes no more, or for a guest that does not read, it can be ended.
func TestEndWhileStuck(t *testing.T) {
	l, d, qemu, _ := fakeLoop(t)
	stop := run(l)
	stream := framedAll(numbered(5000, 1000))
	serving(t, l)
	for _, f := range numbered(5000, 1000) {
		d.pending <- f
	}
	ring(d.gate)
	for sent, quiet := 0, 0; quiet < 3 && sent < len(stream); {
		n, err := unix.Write(qemu, stream[sent:])
		if err != nil {
			quiet++
			_, _ = bridgetest.Await(qemu, unix.POLLOUT, 20*time.Millisecond)
			continue
		}
		sent, quiet = sent+n, 0
	}
	require.NoError(t, stop())
	assert.Positive(t, l.Counters.ToWire.Waits.Load())
	assert.Positive(t, l.Counters.ToGuest.Waits.Load())
}

// What a device says of a frame is counted, and the others go on.
func TestDropReasons(t *testing.T) {
	l, d, qemu, wire := fakeLoop(t)
	d.answer = []error{Down, Long, Refused, nil, Short}
	d.flushing = []error{errFull, nil, Down} // and some stay behind for a moment
	stop := run(l)
	frames := numbered(6, 60)
	_, err := unix.Write(qemu, framedAll(frames))
	require.NoError(t, err)
	b := make([]byte, 100)
	for _, i := range []int{3, 5} {
		require.True(t, bridgetest.Readable(wire, 5*time.Second))
		n, err := unix.Read(wire, b)
		require.NoError(t, err)
		assert.Equal(t, frames[i], b[:n])
	}
	require.Eventually(t, func() bool { return d.flushed.Load() == 2 }, 10*time.Second, time.Millisecond, "again after it was full")
	require.NoError(t, stop())
	c := &l.Counters.ToWire
	for _, r := range []Reason{Down, Long, Refused, Short} {
		assert.EqualValues(t, 1, c.Drops[r].Load(), r)
	}
	assert.EqualValues(t, 4, c.Dropped())
	assert.EqualValues(t, 2, c.Frames.Load())
	assert.EqualValues(t, 120, c.Bytes.Load())
}

func TestCountersText(t *testing.T) {
	var c Counters
	c.Connections.Add(2)
	c.ToWire.Frames.Add(3)
	c.ToWire.drop(Short)
	c.ToGuest.Drops[Full].Add(7)
	assert.Equal(t, "connections=2 broken=0 to_wire{frames=3 bytes=0 bursts=0 sleeps=0 waits=0 dropped_short=1} "+
		"to_guest{frames=0 bytes=0 bursts=0 sleeps=0 waits=0 dropped_full=7}", c.String())
}

// A device that is gone, or that fails in a way nobody knows, ends the loop with its error.
func TestDeviceError(t *testing.T) {
	for _, err := range []error{errGone, unix.EIO} {
		for _, when := range []string{"send", "flush"} {
			l, d, qemu, _ := fakeLoop(t)
			d.answer, d.flushing = []error{err}, nil
			if when == "flush" {
				d.answer, d.flushing = nil, []error{err}
			}
			_, e := unix.Write(qemu, framedAll(numbered(1, 60)))
			require.NoError(t, e)
			done := make(chan error, 1)
			runIt(context.Background(), l, done)
			require.ErrorIs(t, <-done, err, when)
		}
	}
}

// Nothing is allocated for a frame, and nothing is done where no frames come.
func TestCarryingCostsNoMemoryAndIdlingNothing(t *testing.T) {
	l, d, qemu, wire := fakeLoop(t)
	stop := run(l)
	serving(t, l)
	frame, b := pattern(64, 1), make([]byte, 1<<16)
	stream := framedAll([][]byte{frame, frame, frame, frame})
	both := func() {
		_, _ = unix.Write(qemu, stream)
		for range 4 {
			d.pending <- frame
		}
		ring(d.gate)
		for got := 0; got < 4; {
			if _, errno := recv(wire, b); errno == 0 {
				got++
			}
			runtime.Gosched()
		}
		for got := 0; got < len(stream); {
			if n, errno := recv(qemu, b); errno == 0 {
				got += n
			}
			runtime.Gosched()
		}
		_, _ = unix.Read(d.gate, b[:8])
	}
	both()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const rounds = 2000
	for range rounds {
		both()
	}
	runtime.ReadMemStats(&after)
	if !raced {
		assert.Less(t, after.Mallocs-before.Mallocs, uint64(rounds/10), "%d frames each way", 4*rounds)
	}

	settle := func() uint64 { return l.Counters.ToWire.Sleeps.Load() + l.Counters.ToGuest.Sleeps.Load() }
	_, _ = unix.Poll(nil, 20)
	slept, spent := settle(), cpuTime(t)
	_, _ = unix.Poll(nil, 500)
	assert.Equal(t, slept, settle(), "nobody wakes")
	assert.Less(t, cpuTime(t)-spent, 25*time.Millisecond, "5 % of a core")
	require.NoError(t, stop())
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The loop owns its descriptors: those that it was given may be closed.
func TestOwnDescriptors(t *testing.T) {
	a, b := pairOf(t, unix.SOCK_STREAM)
	f := os.NewFile(uintptr(b), "qemu")
	fd, err := own(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = unix.Write(fd, []byte("x"))
	require.NoError(t, err)
	got := make([]byte, 2)
	n, err := unix.Read(a, got)
	require.NoError(t, err)
	assert.Equal(t, "x", string(got[:n]))
	require.NoError(t, shut(&fd))
	require.NoError(t, shut(&fd), "once")
	_, err = own(f)
	require.Error(t, err)
}

func TestSlots(t *testing.T) {
	for mtu, want := range map[int]int{68: 2048, 1500: 2048, 1964: 2048, 1965: 4096, 9000: 16384, 65535: 65536} {
		assert.Equal(t, want, slotFor(mtu), mtu)
	}
}
