package shortcut

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

// host is a bridge with two guests' ports and an uplink, each with a far end that a test sends by.
type host struct {
	*Manager
	t     testing.TB
	index map[string]int
}

var macs = map[string]MAC{"g1": {2, 0, 0, 0, 0, 1}, "g2": {2, 0, 0, 0, 0, 2}, "w": {2, 0, 0, 0, 0, 9}}

func newHost(t testing.TB) *host {
	t.Helper()
	netns.New(t)
	h := &host{t: t, index: map[string]int{}}
	require.NoError(t, bridgetest.MakeBridge("br", 1500))
	for port, end := range map[string]string{"p1": "g1", "q1": "h1", "p2": "g2", "up": "w"} {
		require.NoError(t, bridgetest.MakeVeth(port, end))
		require.NoError(t, bridgetest.SetMaster(port, "br"))
		for _, d := range []string{port, end} {
			require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+d+"/disable_ipv6", []byte("1"), 0))
			require.NoError(t, bridgetest.SetUp(d))
		}
	}
	require.NoError(t, bridgetest.SetUp("br"))
	for _, d := range []string{"br", "p1", "q1", "p2", "up"} {
		var err error
		h.index[d], err = bridgetest.Index(d)
		require.NoError(t, err)
	}
	m, err := Open(Config{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	h.Manager = m
	return h
}

func (h *host) guest(n string) Port {
	return Port{Index: h.index["p"+n], Bridge: h.index["br"], MTU: 1500, NIC: n + ".0", MAC: macs["g"+n], Redirect: true}
}

func (h *host) uplink() Port {
	return Port{Index: h.index["up"], Bridge: h.index["br"], MTU: 1500, Uplink: true, Redirect: true}
}

// end sends and receives at a device.
type end struct {
	t  testing.TB
	fd int
}

func (h *host) end(name string) *end {
	h.t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { assert.NoError(h.t, unix.Close(fd)) })
	i, err := bridgetest.Index(name)
	require.NoError(h.t, err)
	require.NoError(h.t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: i}))
	return &end{h.t, fd}
}

func (e *end) send(from, to MAC, size int) {
	e.t.Helper()
	f := make([]byte, size)
	copy(f, to[:])
	copy(f[6:], from[:])
	f[12], f[13] = 0x88, 0xb5
	_, err := unix.Write(e.fd, f)
	require.NoError(e.t, err)
}

// got takes a frame that came in; nil: none did.
func (e *end) got(wait time.Duration) []byte {
	e.t.Helper()
	b := make([]byte, 65536)
	for late := time.Now().Add(wait); bridgetest.Readable(e.fd, time.Until(late)); {
		n, from, err := unix.Recvfrom(e.fd, b, 0)
		require.NoError(e.t, err)
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype != unix.PACKET_OUTGOING {
			return b[:n]
		}
	}
	return nil
}

func TestSmoke(t *testing.T) {
	h := newHost(t)
	t.Log(h.Mode())
	require.NoError(t, h.Set(h.guest("1")))
	require.NoError(t, h.Set(h.guest("2")))
	require.NoError(t, h.Set(h.uplink()))
	require.NoError(t, h.Learn(h.index["br"], macs["w"], 0, h.index["up"]))
	g1, g2, w := h.end("g1"), h.end("g2"), h.end("w")
	for range 20 {
		g1.send(macs["g1"], macs["w"], 64)
		require.NotNil(t, w.got(time.Second))
		w.send(macs["w"], macs["g1"], 64)
		require.NotNil(t, g1.got(time.Second))
		g1.send(macs["g1"], macs["g2"], 64)
		require.NotNil(t, g2.got(time.Second))
		g2.send(macs["g2"], macs["g1"], 64)
		require.NotNil(t, g1.got(time.Second))
	}
	for _, p := range []string{"p1", "p2", "up"} {
		c, err := h.Counters(h.index[p])
		require.NoError(t, err)
		t.Logf("%s %+v", p, c)
	}
}
