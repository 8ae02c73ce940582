package xsk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu/xsk"
	"vifplug/test/netns"
)

// needVeth gives the test a namespace of its own with a veth pair, both ends up, and the index of hidden. It fails rather than skips in CI.
func needVeth(t testing.TB) int {
	t.Helper()
	netns.New(t)
	probe, err := xsk.NewFile()
	if err != nil && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skipf("needs AF_XDP: %v", err)
	}
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	require.NoError(t, bridgetest.MakeVeth("visible", "hidden"))
	quiet(t, "visible", "hidden")
	require.NoError(t, bridgetest.SetUp("visible"))
	require.NoError(t, bridgetest.SetUp("hidden"))
	awaitCarrier(t, "visible", "hidden")
	awaitCarrier(t, "hidden", "visible")
	return index(t, "hidden")
}

// awaitCarrier waits until frames go from one end to the other: the kernel drops them until a worker of its has seen the carrier. None is on its way
// any more when it returns.
func awaitCarrier(t testing.TB, from, to string) {
	t.Helper()
	a, b := openWire(t, from), openWire(t, to)
	defer a.close()
	defer b.close()
	deadline := time.Now().Add(10 * time.Second)
	for n := 0; time.Now().Before(deadline); n++ {
		a.send(frame(n, 60))
		for bridgetest.Readable(b.fd, 20*time.Millisecond) {
			if bytes.Equal(frame(n, 60), b.receive()) { // the last that was sent
				return
			}
		}
	}
	t.Fatalf("nothing came from %s to %s", from, to)
}

// quiet has the kernel send nothing of its own.
func quiet(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+n+"/disable_ipv6", []byte("1"), 0))
	}
}

func index(t testing.TB, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	require.NoError(t, err)
	return i.Index
}

func open(t testing.TB, o xsk.Options) *xsk.Socket {
	t.Helper()
	s, err := xsk.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func attach(t testing.TB, index int, mode xsk.Mode, sockets ...*xsk.Socket) *xsk.Attachment {
	t.Helper()
	a, err := xsk.Attach(index, len(sockets), mode)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.Close()) })
	for i, s := range sockets {
		require.NoError(t, a.AddSocket(i, s))
	}
	return a
}

// wire is the far end: frames by AF_PACKET.
type wire struct {
	t  testing.TB
	fd int
}

func openWire(t testing.TB, name string) *wire {
	t.Helper()
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	w := &wire{t, fd}
	t.Cleanup(w.close)
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index(t, name)}))
	return w
}

func (w *wire) close() {
	if w.fd >= 0 {
		_ = unix.Close(w.fd)
	}
	w.fd = -1
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	_, err := unix.Write(w.fd, frame)
	require.NoError(w.t, err)
}

func (w *wire) receive() []byte {
	w.t.Helper()
	require.True(w.t, bridgetest.Readable(w.fd, 5*time.Second), "no frame came")
	buf := make([]byte, 65536)
	n, err := unix.Read(w.fd, buf)
	require.NoError(w.t, err)
	return buf[:n]
}

// frame is one of that length, whose bytes depend on n and on their place.
func frame(n, length int) []byte {
	f := make([]byte, length)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	for i := 14; i < length; i++ {
		f[i] = byte(n*7 + i)
	}
	if length >= 18 {
		binary.BigEndian.PutUint32(f[14:], uint32(n))
	}
	return f
}

// await waits until the socket has frames.
func await(t testing.TB, s *xsk.Socket, events int16) {
	t.Helper()
	ready, err := bridgetest.Await(s.FD(), events, 5*time.Second)
	require.NoError(t, err)
	require.True(t, ready, "nothing within 5 s")
}

func submit(t testing.TB, s *xsk.Socket, frames ...[]byte) {
	t.Helper()
	buffers := s.Reserve(len(frames))
	require.Len(t, buffers, len(frames))
	lengths := make([]int, len(frames))
	for i, f := range frames {
		lengths[i] = copy(buffers[i], f)
	}
	require.NoError(t, s.Submit(lengths))
}

// Frames cross both ways, unchanged and in order, many times round the rings, in either mode.
func TestFramesCross(t *testing.T) {
	for _, mode := range []xsk.Mode{xsk.Native, xsk.Generic} {
		t.Run(string(mode), func(t *testing.T) {
			dev := needVeth(t)
			s := open(t, xsk.Options{Index: dev, RingSize: 16, FrameSize: 2048})
			assert.Equal(t, mode, attach(t, dev, mode, s).Mode())
			assert.False(t, s.ZeroCopy(), "a veth copies")
			w := openWire(t, "visible")
			lengths := []int{14, 15, 60, 64, 1000, 1513, 1514}
			for n := range 200 { // 12 times round
				want := frame(n, lengths[n%len(lengths)])
				w.send(want)
				await(t, s, unix.POLLIN)
				got := s.Receive(4)
				require.Len(t, got, 1)
				require.True(t, bytes.Equal(want, got[0].Bytes()), "frame %d", n)
				require.Len(t, got[0].WithRoom(256), len(want)+256)
				copy(got[0].WithRoom(4), []byte{1, 2, 3, 4}) // it is ours to write in
				s.Release(1)

				submit(t, s, want)
				require.NoError(t, s.Kick())
				require.True(t, bytes.Equal(want, w.receive()), "frame %d", n)
			}
			stats, err := s.Stats()
			require.NoError(t, err)
			assert.Equal(t, uint64(200), stats.Kicks, "one a batch")
			stats.Kicks, stats.TxRingEmpty = 0, 0
			assert.Equal(t, xsk.Stats{}, stats)
		})
	}
}

// The longest frames that fit go, and one byte more does not.
func TestLongestFrames(t *testing.T) {
	for _, size := range []int{2048, 4096} {
		dev := needVeth(t)
		s := open(t, xsk.Options{Index: dev, RingSize: 8, FrameSize: size})
		require.NoError(t, bridgetest.SetMTU("visible", 9000))
		require.NoError(t, bridgetest.SetMTU("hidden", 9000))
		attach(t, dev, xsk.Generic, s)
		w := openWire(t, "visible")

		w.send(frame(1, s.MaxReceive()+1))
		w.send(frame(2, s.MaxReceive()))
		await(t, s, unix.POLLIN)
		got := s.Receive(2)
		require.Len(t, got, 1)
		require.True(t, bytes.Equal(frame(2, s.MaxReceive()), got[0].Bytes()))
		s.Release(1)
		stats, err := s.Stats()
		require.NoError(t, err)
		assert.Equal(t, uint64(1), stats.RxDropped)

		submit(t, s, frame(3, s.MaxSend()))
		require.NoError(t, s.Kick())
		require.True(t, bytes.Equal(frame(3, s.MaxSend()), w.receive()))
		s.Reserve(1)
		require.ErrorContains(t, s.Submit([]int{s.MaxSend() + 1}), "want 1 to")
		require.ErrorContains(t, s.Submit([]int{0}), "0 bytes")
		require.ErrorContains(t, s.Submit([]int{60, 60}), "1 buffers were reserved")
		assert.Zero(t, s.Pending())
	}
}

// What is not released stays the caller's, and the kernel counts what then finds no room.
func TestReceiveKeepsUntilReleased(t *testing.T) {
	dev := needVeth(t)
	s := open(t, xsk.Options{Index: dev, RingSize: 4})
	attach(t, dev, xsk.Native, s)
	w := openWire(t, "visible")
	for n := range 6 {
		w.send(frame(n, 60+n))
	}
	await(t, s, unix.POLLIN)
	var got []xsk.Frame
	for len(got) < 4 {
		got = s.Receive(10)
	}
	for i, f := range got {
		require.True(t, bytes.Equal(frame(i, 60+i), f.Bytes()))
	}
	s.Release(1)
	again := s.Receive(2)
	require.Len(t, again, 2)
	require.True(t, bytes.Equal(frame(1, 61), again[0].Bytes()), "the oldest that was not released")
	w.send(frame(6, 66))
	for len(got) < 4 || !bytes.Equal(got[3].Bytes(), frame(6, 66)) {
		got = s.Receive(10)
	}
	require.Empty(t, s.Receive(0))
	require.Empty(t, s.Receive(-1))
	s.Release(-1)
	s.Release(100)
	require.Empty(t, s.Receive(10))
	stats, err := s.Stats()
	require.NoError(t, err)
	assert.Equal(t, uint64(2), stats.RxDropped+stats.RxRingFull, "of seven, five found room")
	assert.Zero(t, stats.Broken)
}

// A full ring gives no buffers, and gives them again when the kernel has sent.
func TestSendRingFull(t *testing.T) {
	dev := needVeth(t)
	s := open(t, xsk.Options{Index: dev, RingSize: 64})
	attach(t, dev, xsk.Native, s)
	w := openWire(t, "visible")
	for round := range 5 {
		var frames [][]byte
		for n := range 64 {
			frames = append(frames, frame(round*64+n, 60))
		}
		submit(t, s, frames...)
		require.Empty(t, s.Reserve(1))
		require.Equal(t, 64, s.Pending())
		require.NoError(t, s.Kick()) // more than the kernel takes a call
		require.Zero(t, s.Pending())
		for _, f := range frames {
			require.True(t, bytes.Equal(f, w.receive()))
		}
	}
	assert.Len(t, s.Reserve(100), 64, "never more than there are")
	stats, err := s.Stats()
	require.NoError(t, err)
	assert.Zero(t, stats.Broken)
}

// A device that is down is an error, and sends what was put when it is up again.
func TestKickWhenDown(t *testing.T) {
	dev := needVeth(t)
	s := open(t, xsk.Options{Index: dev, RingSize: 8})
	w := openWire(t, "visible")
	require.NoError(t, bridgetest.SetDown("hidden"))
	submit(t, s, frame(1, 60))
	require.ErrorIs(t, s.Kick(), unix.ENETDOWN)
	require.Equal(t, 1, s.Pending())
	require.NoError(t, bridgetest.SetUp("hidden"))
	require.NoError(t, s.Kick())
	require.True(t, bytes.Equal(frame(1, 60), w.receive()))

	require.NoError(t, bridgetest.Delete("hidden"))
	submit(t, s, frame(2, 60))
	require.ErrorIs(t, s.Kick(), unix.ENXIO, "the device has gone")
	require.Empty(t, s.Receive(1))
}

// Receiving and sending allocate nothing.
func TestNoAllocation(t *testing.T) {
	dev := needVeth(t)
	s := open(t, xsk.Options{Index: dev})
	attach(t, dev, xsk.Native, s)
	w := openWire(t, "visible")
	f, lengths, length := frame(1, 60), make([]int, 1), 0
	p := []unix.PollFd{{Fd: int32(s.FD()), Events: unix.POLLIN}}
	n := testing.AllocsPerRun(500, func() {
		_, _ = unix.Write(w.fd, f)
		for _, err := unix.Poll(p, 5000); err == unix.EINTR; _, err = unix.Poll(p, 5000) { //nolint:staticcheck // bridgetest.Await would allocate
		}
		got := s.Receive(8)
		for _, g := range got {
			length += len(g.Bytes())
		}
		s.Release(len(got))
		lengths[0] = copy(s.Reserve(1)[0], f)
		if s.Submit(lengths) != nil || s.Kick() != nil {
			length = -1 << 40
		}
	})
	assert.Zero(t, n)
	assert.GreaterOrEqual(t, length, 500*60)
}

// Without a socket in its queue the program passes frames on, and so it does when the socket has gone.
func TestProgramPassesWithoutSocket(t *testing.T) {
	dev := needVeth(t)
	a := attach(t, dev, xsk.AnyMode)
	assert.Equal(t, xsk.Native, a.Mode(), "a veth can do that")
	w, stack := openWire(t, "visible"), openWire(t, "hidden")
	w.send(frame(1, 60))
	require.True(t, bytes.Equal(frame(1, 60), stack.receive()))

	s, err := xsk.Open(xsk.Options{Index: dev})
	require.NoError(t, err)
	require.NoError(t, a.AddSocket(0, s))
	require.NoError(t, a.AddSocket(0, s), "it is its own")
	other, err := xsk.NewFile()
	require.NoError(t, err)
	require.ErrorIs(t, a.Add(0, other), xsk.ErrInUse)
	require.NoError(t, other.Close())
	used, err := a.InUse(0)
	require.NoError(t, err)
	require.True(t, used)
	w.send(frame(2, 60))
	await(t, s, unix.POLLIN)
	require.NoError(t, a.Remove(0))
	require.NoError(t, a.Remove(0), "twice is once")
	w.send(frame(3, 60))
	require.True(t, bytes.Equal(frame(3, 60), stack.receive()), "and not the second, which the socket has")
	require.NoError(t, a.AddSocket(0, s))
	require.NoError(t, s.Close())
	used, err = a.InUse(0)
	require.NoError(t, err)
	require.False(t, used)
	w.send(frame(4, 60))
	require.True(t, bytes.Equal(frame(4, 60), stack.receive()))
}

// A socket that one process makes and another uses, as QEMU does, may be in the map before it has memory and is bound.
func TestSocketIsInTheMapFirst(t *testing.T) {
	dev := needVeth(t)
	a := attach(t, dev, xsk.Native)
	f, err := xsk.NewFile()
	require.NoError(t, err)
	require.NoError(t, a.Add(0, f))
	w := openWire(t, "visible")
	w.send(frame(1, 60)) // lost
	s, err := xsk.Use(f, xsk.Options{Index: dev})
	require.NoError(t, err)
	defer s.Close() //nolint:errcheck // the test is over
	w.send(frame(2, 60))
	await(t, s, unix.POLLIN)
	got := s.Receive(2)
	require.Len(t, got, 1)
	require.True(t, bytes.Equal(frame(2, 60), got[0].Bytes()))
}

// Each refusal says what is wrong.
func TestRefusals(t *testing.T) {
	dev := needVeth(t)
	s := open(t, xsk.Options{Index: dev})
	_, err := xsk.Open(xsk.Options{Index: dev})
	require.ErrorIs(t, err, unix.EBUSY)
	assert.Contains(t, err.Error(), "another socket has this queue")
	_, err = xsk.Open(xsk.Options{Index: 4711})
	require.ErrorIs(t, err, unix.ENODEV)
	assert.Contains(t, err.Error(), "no such device")
	_, err = xsk.Open(xsk.Options{Index: dev, Queue: 4711})
	require.ErrorContains(t, err, "has the device such a queue?")
	_, err = xsk.Open(xsk.Options{})
	require.ErrorContains(t, err, "no device's index")

	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	_, err = xsk.Use(null, xsk.Options{Index: dev})
	require.ErrorContains(t, err, "no AF_XDP socket")

	a := attach(t, dev, xsk.Native)
	require.ErrorContains(t, a.AddSocket(1, s), "attached for 1 queues")
	_, err = xsk.Attach(dev, 1, xsk.AnyMode)
	require.ErrorContains(t, err, "there is an XDP program already")
	_, err = xsk.Attach(4711, 1, xsk.AnyMode)
	require.Error(t, err)
	u, err := os.Open("/proc/self/ns/net")
	require.NoError(t, err)
	defer u.Close() //nolint:errcheck // nothing was written
	require.Error(t, a.Add(0, u))

	require.NoError(t, bridgetest.MakeVeth("big", "peer"))
	require.NoError(t, bridgetest.SetMTU("big", 9000))
	_, err = xsk.Attach(index(t, "peer"), 1, xsk.Native)
	require.ErrorContains(t, err, "MTU is too large")
}

// What is pinned lasts without the process, is found again with its mode, and goes with Unpin or the device.
func TestPin(t *testing.T) {
	dev := needVeth(t)
	bpffs := t.TempDir()
	require.NoError(t, unix.Mount("bpf", bpffs, "bpf", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(bpffs, unix.MNT_DETACH)) })
	dir := filepath.Join(bpffs, "a", "5-0")
	_, err := xsk.Pinned(dir)
	require.ErrorIs(t, err, os.ErrNotExist)

	w := openWire(t, "visible")
	for _, mode := range []xsk.Mode{xsk.Native, xsk.Generic} {
		a, err := xsk.Attach(dev, 1, mode)
		require.NoError(t, err)
		s, err := xsk.Open(xsk.Options{Index: dev})
		require.NoError(t, err)
		require.NoError(t, a.AddSocket(0, s))
		require.NoError(t, a.Pin(dir))
		require.NoError(t, a.Close())
		w.send(frame(1, 60))
		await(t, s, unix.POLLIN)
		require.NoError(t, s.Close())

		a, err = xsk.Pinned(dir)
		require.NoError(t, err)
		assert.Equal(t, mode, a.Mode())
		i, err := a.Index()
		require.NoError(t, err)
		assert.Equal(t, dev, i)
		s, err = xsk.Open(xsk.Options{Index: dev})
		require.NoError(t, err)
		require.NoError(t, a.AddSocket(0, s), "another QEMU")
		w.send(frame(2, 60))
		await(t, s, unix.POLLIN)
		require.NoError(t, s.Close())
		require.NoError(t, xsk.Unpin(dir))
		require.NoError(t, a.Close())
		require.NoError(t, xsk.Unpin(dir), "twice is once")
		require.NoDirExists(t, dir)
	}
	a, err := xsk.Attach(dev, 1, xsk.Native)
	require.NoError(t, err, "the device is free again")
	require.NoError(t, a.Pin(dir))
	require.NoError(t, a.Pin(dir), "twice is once")
	other := attach(t, index(t, "visible"), xsk.Native)
	require.ErrorContains(t, other.Pin(dir), "another program is pinned there")
	still, err := xsk.Pinned(dir)
	require.NoError(t, err)
	require.NoError(t, still.Close())
	require.NoError(t, bridgetest.Delete("hidden"))
	i, err := a.Index()
	require.NoError(t, err)
	assert.Zero(t, i)
	require.NoError(t, a.Close())
	_, err = xsk.Pinned(dir)
	require.ErrorIs(t, err, xsk.ErrGone)
	require.NoError(t, xsk.Unpin(dir))

	a, err = xsk.Attach(index(t, "lo"), 1, xsk.Generic)
	require.NoError(t, err)
	require.ErrorContains(t, a.Pin(t.TempDir()), "bpffs")
	require.NoError(t, a.Close())
}

// runSending sends n frames.
func runSending(s *xsk.Socket, n int, done chan<- error) {
	lengths := make([]int, 0, 64)
	for i := 0; i < n; {
		lengths = lengths[:0]
		for _, b := range s.Reserve(min(64, n-i)) {
			lengths = append(lengths, copy(b, frame(i, 60)))
			i++
		}
		if err := errors.Join(s.Submit(lengths), s.Kick()); err != nil {
			done <- err
			return
		}
	}
	done <- nil
}

// Both directions at once, from two goroutines, lose nothing that fits.
func TestBothDirectionsAtOnce(t *testing.T) {
	dev := needVeth(t)
	s := open(t, xsk.Options{Index: dev, RingSize: 1024})
	attach(t, dev, xsk.Native, s)
	w := openWire(t, "visible")
	const n = 5000
	done := make(chan error, 1)
	go runSending(s, n, done)
	deadline := time.Now().Add(20 * time.Second)
	for sent, got := 0, 0; got < n; {
		for ; sent < n && sent-got < 512; sent++ {
			w.send(frame(sent, 60))
		}
		frames := s.Receive(64)
		for _, f := range frames {
			require.Equal(t, uint32(got), binary.BigEndian.Uint32(f.Bytes()[14:]))
			got++
		}
		s.Release(len(frames))
		require.True(t, time.Now().Before(deadline), "%d of %d came", got, n)
	}
	require.NoError(t, <-done)
	for i := range n {
		require.Equal(t, uint32(i), binary.BigEndian.Uint32(w.receive()[14:]))
	}
	stats, err := s.Stats()
	require.NoError(t, err)
	assert.Zero(t, stats.Broken+stats.RxDropped+stats.RxRingFull+stats.TxInvalid)
}
