package loop_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu/loop"
	"vifplug/test/netns"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// makeHost makes a namespace with the bridge br, the guest's port tap5.0 with its hidden end vl5.0, and the port wire, behind which far is.
func makeHost(t testing.TB) *netns.Space {
	t.Helper()
	s := netns.New(t)
	require.NoError(t, bridgetest.MakeBridge("br", 1500))
	for port, end := range map[string]string{"tap5.0": "vl5.0", "wire": "far"} {
		require.NoError(t, bridgetest.MakeVeth(port, end))
		require.NoError(t, bridgetest.SetMaster(port, "br"))
		for _, d := range []string{port, end} {
			quiet(t, d)
			require.NoError(t, bridgetest.SetUp(d))
		}
	}
	quiet(t, "br")
	require.NoError(t, bridgetest.SetUp("br"))
	waitForwarding(t, "br")
	return s
}

// quiet keeps the kernel's own IPv6 frames off a device.
func quiet(t testing.TB, dev string) {
	t.Helper()
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/disable_ipv6", []byte("1"), 0))
}

// waitForwarding returns when frames cross the bridge.
func waitForwarding(t testing.TB, _ string) {
	t.Helper()
	for start := time.Now(); ; {
		if _, err := bridgetest.Frame("far", "vl5.0"); err == nil {
			return
		}
		require.Less(t, time.Since(start), patience, "the bridge does not forward")
	}
}

func index(t testing.TB, dev string) int {
	t.Helper()
	i, err := bridgetest.Index(dev)
	require.NoError(t, err)
	return i
}

// running is a loop at work.
type running struct {
	t    testing.TB
	l    *loop.Loop
	end  context.CancelFunc
	done chan error
}

// start opens a loop on vl5.0 and runs it until the test ends.
func start(t testing.TB, cfg loop.Config) *running {
	t.Helper()
	cfg.Index = index(t, "vl5.0")
	l, err := loop.Open(cfg)
	require.NoError(t, err)
	ctx, end := context.WithCancel(context.Background())
	r := &running{t, l, end, make(chan error, 1)}
	go r.runLoop(ctx)
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) runLoop(ctx context.Context) { r.done <- r.l.Run(ctx) }

// stop ends the loop, if it has not ended, and gives what Run said.
func (r *running) stop() (err error) {
	if r.l == nil {
		return nil
	}
	r.end()
	select {
	case err = <-r.done:
	case <-time.After(patience):
		r.t.Fatal("the loop does not end")
	}
	assert.NoError(r.t, r.l.Close())
	r.l = nil
	return err
}

// until waits for the counters to say what the test awaits.
func (r *running) until(what string, ok func(*loop.Counters) bool) {
	r.t.Helper()
	for start := time.Now(); !ok(r.l.Count()); {
		require.Less(r.t, time.Since(start), patience, "%s: %s", what, r.l.Count())
		time.Sleep(time.Millisecond) // counters do not tell
	}
}

// guest is a stand-in for QEMU on its stream.
type guest struct {
	net.Conn
	t testing.TB
}

// listen makes the socket that QEMU connects to.
func listen(t testing.TB) (*os.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	f, err := l.File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f, path
}

// dial connects, and is served when it returns: what comes before that is not for this QEMU.
func dial(t testing.TB, path string, far *station) *guest {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	g := &guest{c, t}
	g.meet(far)
	return g
}

// meet returns when frames arrive.
func (g *guest) meet(far *station) {
	g.t.Helper()
	hello := frame(guestMAC, farMAC, 77, 1<<31)
	g.send(hello)
	far.wants(hello)
}

func framed(frames ...[]byte) (out []byte) {
	for _, f := range frames {
		out = binary.BigEndian.AppendUint32(out, uint32(len(f)))
		out = append(out, f...)
	}
	return out
}

// send writes frames at once.
func (g *guest) send(frames ...[]byte) {
	g.t.Helper()
	_, err := g.Write(framed(frames...))
	require.NoError(g.t, err)
}

// next reads one frame.
func (g *guest) next() ([]byte, error) {
	_ = g.SetReadDeadline(time.Now().Add(patience))
	var n uint32
	if err := binary.Read(g, binary.BigEndian, &n); err != nil {
		return nil, err
	}
	if n > loop.MaxFrame {
		return nil, errors.New("no frame is so long")
	}
	b := make([]byte, n)
	_, err := io.ReadFull(g, b)
	return b, err
}

// wants reads frames until it has seen these, in this order and no other of the test's.
func (g *guest) wants(frames ...[]byte) {
	g.t.Helper()
	for i, want := range frames {
		got, err := g.next()
		for err == nil && !bytes.Contains(got, farMAC) { // the host's own
			got, err = g.next()
		}
		require.NoError(g.t, err, "frame %d", i)
		require.True(g.t, bytes.Equal(want, got), "frame %d: want %d bytes %x, got %d bytes %x", i, len(want), clip(want), len(got), clip(got))
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 40)] }

// Addresses of the test's guests.
var (
	guestMAC = []byte{0, 0x16, 0x3e, 0, 0, 5}
	farMAC   = []byte{0, 0x16, 0x3e, 0, 0, 9}
)

// frame makes one of n bytes from one address to another, numbered.
func frame(from, to []byte, n int, number uint32) []byte {
	b := make([]byte, max(n, 18))
	copy(b, to)
	copy(b[6:], from)
	binary.BigEndian.PutUint16(b[12:], 0x88b5) // for local experiments (IEEE 802)
	binary.BigEndian.PutUint32(b[14:], number)
	for i := 18; i < len(b); i++ {
		b[i] = byte(i) ^ byte(number)
	}
	return b[:n]
}

// station is the peer behind the bridge: a raw socket on far.
type station struct {
	t  testing.TB
	fd int
}

func openStation(t testing.TB, dev string) *station {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	for option, value := range map[int]int{unix.SO_RCVBUFFORCE: 64 << 20, unix.SO_SNDBUFFORCE: 4 << 20} {
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, value))
	}
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index(t, dev)})) // ETH_P_ALL in network order
	return &station{t, fd}
}

func (s *station) send(frames ...[]byte) {
	s.t.Helper()
	for _, f := range frames {
		for {
			err := unix.Send(s.fd, f, 0)
			if errors.Is(err, unix.ENOBUFS) {
				continue
			}
			require.NoError(s.t, err)
			break
		}
	}
}

// next is the next frame of the guest's.
func (s *station) next() []byte {
	s.t.Helper()
	for b := make([]byte, 1<<17); ; {
		require.True(s.t, bridgetest.Readable(s.fd, patience), "no frame arrives")
		n, _, err := unix.Recvfrom(s.fd, b, 0)
		require.NoError(s.t, err)
		if bytes.Contains(b[:n], guestMAC) {
			return b[:n]
		}
	}
}

func (s *station) wants(frames ...[]byte) {
	s.t.Helper()
	for i, want := range frames {
		got := s.next()
		require.True(s.t, bytes.Equal(want, got), "frame %d: want %d bytes %x, got %d bytes %x", i, len(want), clip(want), len(got), clip(got))
	}
}
