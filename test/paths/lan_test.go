package paths

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/qemu/shortcut"
	"vifplug/test/netns"
)

// portOf is the port of a bridge behind each end. The first guest has two: g1 and h1 are the ends of what stands for its tap and its netdev. Port x has no
// programs.
var portOf = map[string]string{"g1": "p1", "h1": "q1", "g2": "p2", "w": "up", "y": "x"}

var (
	guest1  = shortcut.MAC{2, 0, 0, 0, 0, 1}
	guest2  = shortcut.MAC{2, 0, 0, 0, 0, 2}
	outside = shortcut.MAC{2, 0, 0, 0, 0, 9}
	marker  = map[string]shortcut.MAC{"w": {2, 0, 0, 0, 9, 1}, "y": {2, 0, 0, 0, 9, 2}}
	all     = shortcut.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// lan is a bridge, its ports, and who sits at their far ends.
type lan struct {
	t     *testing.T
	conn  *bridge.Conn
	index map[string]int
	fd    map[string]int // of the ends
	n     uint64         // of the last frame
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	netns.New(t)
	// On one CPU frames stay in their order, so that a marker that has arrived says that what was sent before has too, or never will.
	var one unix.CPUSet
	one.Set(0)
	require.NoError(t, unix.SchedSetaffinity(0, &one))
	l := &lan{t: t, index: map[string]int{}, fd: map[string]int{}}
	var err error
	l.conn, err = bridge.Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.conn.Close()) })
	require.NoError(t, bridgetest.MakeBridge("br", 1500))
	l.index["br"], err = bridgetest.Index("br")
	require.NoError(t, err)
	for _, n := range []string{"iptables", "ip6tables", "arptables"} {
		if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+n, []byte("0"), 0); !os.IsNotExist(err) {
			require.NoError(t, err)
		}
	}
	for end := range portOf {
		l.make(end)
	}
	return l
}

// make makes a port and its far end.
func (l *lan) make(end string) {
	l.t.Helper()
	port := portOf[end]
	require.NoError(l.t, bridgetest.MakeVeth(port, end))
	require.NoError(l.t, bridgetest.SetMaster(port, "br"))
	for _, d := range []string{port, end} {
		require.NoError(l.t, os.WriteFile("/proc/sys/net/ipv6/conf/"+d+"/disable_ipv6", []byte("1"), 0))
		mtu := 1500
		if end == "w" {
			mtu = 9000
		}
		require.NoError(l.t, bridgetest.SetMTU(d, mtu))
		require.NoError(l.t, bridgetest.SetUp(d))
	}
	var err error
	l.index[port], err = bridgetest.Index(port)
	require.NoError(l.t, err)
	at, err := bridgetest.Index(end)
	require.NoError(l.t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(l.t, err)
	require.NoError(l.t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	require.NoError(l.t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	require.NoError(l.t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: at}))
	l.fd[end] = fd
	l.t.Cleanup(func() { assert.NoError(l.t, unix.Close(fd)) })
}

// manager opens the shortcut in a mode.
func (l *lan) manager(mode shortcut.Mode, dir string) *shortcut.Manager {
	l.t.Helper()
	m, err := shortcut.Open(shortcut.Config{Mode: mode, Classifier: l.conn, Dir: dir})
	require.NoError(l.t, err)
	require.Equal(l.t, mode, m.Mode())
	l.t.Cleanup(func() { assert.NoError(l.t, m.Close()) })
	return m
}

func (l *lan) port(name, nic string, mac shortcut.MAC, guard bool) shortcut.Port {
	return shortcut.Port{Index: l.index[name], Bridge: l.index["br"], MTU: 1500, NIC: nic, MAC: mac, Guard: guard, Redirect: true}
}

func (l *lan) uplink() shortcut.Port {
	return shortcut.Port{Index: l.index["up"], Bridge: l.index["br"], MTU: 9000, Uplink: true, Redirect: true}
}

// write sends a frame, and gives what it is known by.
func (l *lan) write(end string, from, to shortcut.MAC, size int) []byte {
	l.t.Helper()
	l.n++
	f := make([]byte, size)
	copy(f, to[:])
	copy(f[6:], from[:])
	f[12], f[13] = 0x88, 0xb5
	binary.BigEndian.PutUint64(f[14:], l.n)
	_, err := unix.Write(l.fd[end], f)
	require.NoError(l.t, err)
	return f[12:22]
}

// drain takes what has come in at an end up to a marker, each frame by what it is known by.
func (l *lan) drain(end string, mark []byte) map[string]int {
	l.t.Helper()
	got, b := map[string]int{}, make([]byte, 65536)
	for {
		require.True(l.t, bridgetest.Readable(l.fd[end], 5*time.Second), "the marker does not arrive at %s", end)
		n, err := unix.Read(l.fd[end], b)
		require.NoError(l.t, err)
		if n < 22 || b[12] != 0x88 || b[13] != 0xb5 {
			continue // the kernel's own
		}
		if bytes.Equal(b[12:22], mark) {
			return got
		}
		got[string(b[12:22])]++
	}
}

// arrived is all that the ends have got.
func (l *lan) arrived() map[string]map[string]int {
	l.t.Helper()
	y := l.write("y", marker["y"], all, 64)
	w := l.write("w", marker["w"], all, 64)
	out := map[string]map[string]int{}
	for end := range portOf {
		if end == "w" {
			out[end] = l.drain(end, y)
			continue
		}
		out[end] = l.drain(end, w)
	}
	return out
}

// send sends one frame, and says at which ends it has come out.
func (l *lan) send(end string, from, to shortcut.MAC, size int) (at []string) {
	l.t.Helper()
	id := l.write(end, from, to, size)
	got := l.arrived()
	for _, e := range []string{"g1", "g2", "h1", "w", "y"} {
		for range got[e][string(id)] {
			at = append(at, e)
		}
	}
	return at
}

func (l *lan) counters(m *shortcut.Manager, port string) shortcut.Counters {
	l.t.Helper()
	c, err := m.Counters(l.index[port])
	require.NoError(l.t, err)
	return c
}

// redirected asserts that what do sends over a port takes the shortcut, or the bridge.
func (l *lan) redirected(m *shortcut.Manager, port string, want int, do func()) {
	l.t.Helper()
	before := l.counters(m, port).Redirected
	do()
	require.EqualValues(l.t, want, l.counters(m, port).Redirected-before, "frames redirected at %s", port)
}
