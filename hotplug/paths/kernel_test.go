package paths

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
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

// patience bounds every wait.
const patience = 10 * time.Second

// host is a bridge with two guests' ports and an uplink, and a keeper of their paths. Its far ends are g0, g1 and w.
type host struct {
	*Keeper
	t       *testing.T
	conn    *bridge.Conn
	dir     string
	changed chan string
}

var guests = []bridge.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}

func newHost(t *testing.T) *host {
	t.Helper()
	netns.Need(t)
	h := &host{t: t, changed: make(chan string, 100), dir: bpffs(t)}
	require.NoError(t, bridgetest.MakeBridge("br", 1500))
	t.Cleanup(func() { assert.NoError(t, bridgetest.Delete("br")) })
	for port, end := range map[string]string{"p0": "g0", "p1": "g1", "up": "w"} {
		require.NoError(t, bridgetest.MakeVeth(port, end))
		t.Cleanup(func() { assert.NoError(t, bridgetest.Delete(port)) })
		require.NoError(t, bridgetest.SetMaster(port, "br"))
		for _, d := range []string{port, end} {
			require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+d+"/disable_ipv6", []byte("1"), 0))
			require.NoError(t, bridgetest.SetUp(d))
		}
	}
	require.NoError(t, bridgetest.SetUp("br"))
	var err error
	h.conn, err = bridge.Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.conn.Close()) })
	h.start()
	t.Cleanup(func() { assert.NoError(t, h.Close()) })
	return h
}

// bpffs is a place for pins of the test's own.
func bpffs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, 0)) })
	return dir + "/vifplug"
}

func (h *host) start() {
	cfg := OfKernel(h.conn, h.dir, slog.New(slog.NewTextHandler(h.t.Output(), nil)))
	cfg.Changed = func(port string, s State) { h.changed <- port + " " + s.With() }
	h.Keeper = New(cfg)
}

func (h *host) index(name string) int {
	h.t.Helper()
	i, err := bridgetest.Index(name)
	require.NoError(h.t, err)
	return i
}

func (h *host) port(n int) Wish {
	name := fmt.Sprintf("p%d", n)
	return Wish{
		Port: "vif" + name, NIC: fmt.Sprintf("%d.0", n), Name: bridge.Name(name), Index: h.index(name), Bridge: h.index("br"), MTU: 1500, MAC: guests[n], Path: Auto, Guard: Off,
	}
}

// is awaits a path of a port, and gives the reason.
func (h *host) is(port string, want Path) State {
	h.t.Helper()
	var s State
	h.eventually(func() bool {
		s, _ = h.State(port)
		return s.Path == want
	}, func() string { return fmt.Sprintf("%s is %+v, not %s", port, s, want) })
	return s
}

func (h *host) eventually(done func() bool, what func() string) {
	h.t.Helper()
	for late := time.Now().Add(patience); !done(); {
		require.True(h.t, time.Now().Before(late), what())
		require.NoError(h.t, h.Settle(h.t.Context()))
	}
}

// end sends and receives at a device.
type end struct {
	t  *testing.T
	fd int
}

func (h *host) end(name string) *end {
	h.t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { assert.NoError(h.t, unix.Close(fd)) })
	require.NoError(h.t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: h.index(name)}))
	return &end{h.t, fd}
}

func (e *end) send(from, to bridge.MAC) {
	e.t.Helper()
	f := make([]byte, 64)
	copy(f, to[:])
	copy(f[6:], from[:])
	f[12], f[13] = 0x88, 0xb5
	_, err := unix.Write(e.fd, f)
	require.NoError(e.t, err)
}

// got says whether a frame from this address comes in.
func (e *end) got(from bridge.MAC, wait time.Duration) bool {
	e.t.Helper()
	b := make([]byte, 2048)
	for late := time.Now().Add(wait); bridgetest.Readable(e.fd, time.Until(late)); {
		_, sender, err := unix.Recvfrom(e.fd, b, 0)
		require.NoError(e.t, err)
		if l, ok := sender.(*unix.SockaddrLinklayer); ok && l.Pkttype != unix.PACKET_OUTGOING && bridge.MAC(b[6:12]) == from {
			return true
		}
	}
	return false
}

// cross has every station speak to every other.
func (h *host) cross() {
	h.t.Helper()
	wire := bridge.MAC{2, 0, 0, 0, 0, 9}
	ends := map[bridge.MAC]*end{guests[0]: h.end("g0"), guests[1]: h.end("g1"), wire: h.end("w")}
	for range 3 {
		for from, e := range ends {
			for to, o := range ends {
				if from != to {
					e.send(from, to)
					require.True(h.t, o.got(from, time.Second), "%v to %v", from, to)
				}
			}
		}
	}
}

func (h *host) redirected(port string) uint64 {
	h.t.Helper()
	c, ok := h.Counters(port)
	require.True(h.t, ok, port)
	return c.Redirected
}

func TestShortcutOnTheKernel(t *testing.T) {
	h := newHost(t)
	h.Want(h.port(0))
	h.Want(h.port(1))
	s := h.is("vifp0", Shortcut)
	h.is("vifp1", Shortcut)
	t.Log(s)
	h.cross()
	h.eventually(func() bool { h.cross(); return h.redirected("vifp0") > 0 && h.redirected("vifp1") > 0 }, func() string { return "nothing takes the shortcut" })

	// What stands against it ends it, and lets it come back.
	run(t, "ip", "link", "set", "p0", "type", "bridge_slave", "isolated", "on")
	assert.Equal(t, "no shortcut: the port is isolated", h.is("vifp0", Bridge).Reason)
	run(t, "ip", "link", "set", "p0", "type", "bridge_slave", "isolated", "off")
	h.is("vifp0", Shortcut)
	run(t, "nft", "add table bridge other; add chain bridge other f { type filter hook forward priority 0; }; add rule bridge other f counter")
	assert.Contains(t, h.is("vifp0", Bridge).Reason, "nftables table bridge other has 1 rule in chain f")
	h.is("vifp1", Bridge)
	run(t, "nft", "delete table bridge other")
	h.is("vifp0", Shortcut)
	h.is("vifp1", Shortcut)
	run(t, "tc", "qdisc", "replace", "dev", "p0", "clsact")
	run(t, "tc", "filter", "add", "dev", "p0", "ingress", "pref", "7", "protocol", "all", "u32", "match", "u32", "0", "0", "classid", "1:1")
	assert.Contains(t, h.is("vifp0", Bridge).Reason, "tc filter u32")
	h.cross()
	run(t, "tc", "filter", "del", "dev", "p0", "ingress", "pref", "7")
	h.is("vifp0", Shortcut)

	// A port that leaves ends no other's.
	h.Unwant("vifp1")
	require.NoError(t, h.Settle(t.Context()))
	h.is("vifp0", Shortcut)
	_, ok := h.State("vifp1")
	assert.False(t, ok)
	h.cross()
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
}

// A guard is there when Guard returns, on every path, outlives the keeper, and is taken over by the next; one that nobody wants any more is swept away.
func TestGuardOnTheKernel(t *testing.T) {
	h := newHost(t)
	w := h.port(0)
	w.Path, w.Guard = Bridge, MAC
	require.NoError(t, h.Guard(w))
	assert.True(t, h.Guarded(w.Index, w.MAC))
	assert.False(t, h.Guarded(w.Index, guests[1]))
	spoof, wire, g := bridge.MAC{2, 0, 0, 0, 0, 0x77}, h.end("w"), h.end("g0")
	check := func(guarded bool) {
		t.Helper()
		g.send(spoof, bridge.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		g.send(guests[0], bridge.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		if guarded { // frames keep their order: the second tells that the first does not come
			assert.True(t, wire.got(guests[0], time.Second))
			assert.False(t, wire.got(spoof, 0))
			return
		}
		assert.True(t, wire.got(spoof, time.Second))
		assert.True(t, wire.got(guests[0], time.Second))
	}
	check(true)
	h.Want(w)
	h.is("vifp0", Bridge)
	check(true)
	c, _ := h.Counters("vifp0")
	assert.Equal(t, shortcut.Counters{Dropped: 2}, shortcut.Counters{Dropped: c.Dropped})
	w.Path = Auto
	h.Want(w)
	h.is("vifp0", Shortcut)
	check(true)

	require.NoError(t, h.Close())
	check(true)
	h.start()
	h.Want(w)
	h.is("vifp0", Shortcut)
	check(true)

	require.NoError(t, h.Close())
	h.start()
	w.Guard, w.Path = Off, Bridge
	h.Want(w)
	require.NoError(t, h.Sweep(t.Context()))
	check(false)
}

// A keeper that is closed while it begins ends all the same.
func TestCloseWhileItBegins(t *testing.T) {
	h := newHost(t)
	for range 20 {
		require.NoError(t, h.Close())
		h.start()
		h.Want(h.port(0))
	}
}
