package rings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/bridge/network"
	"vifplug/qemu/xsk"
	"vifplug/test/netns"
	"vifplug/test/standin"
)

// maker gives the test a namespace of its own, with a bpffs. Where the kernel has no AF_XDP the test is skipped, and fails in CI.
func maker(t *testing.T) (*Maker, *bridge.Conn) {
	t.Helper()
	netns.New(t)
	f, err := xsk.NewFile()
	if err != nil && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skipf("needs AF_XDP: %v", err)
	}
	require.NoError(t, err)
	require.NoError(t, f.Close())
	pins := t.TempDir()
	require.NoError(t, unix.Mount("bpf", pins, "bpf", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(pins, unix.MNT_DETACH)) })
	c, err := bridge.Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return &Maker{Links: c, Pins: filepath.Join(pins, "vifplug")}, c
}

// left is what is there of ports: devices and pins.
func left(t *testing.T, m *Maker) (out []string) {
	t.Helper()
	names, err := bridgetest.Names()
	require.NoError(t, err)
	for _, n := range names {
		if n != "lo" {
			out = append(out, n)
		}
	}
	pins, err := os.ReadDir(m.Pins)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	for _, p := range pins {
		out = append(out, p.Name())
	}
	return out
}

// start starts a QEMU on a port.
func start(t *testing.T, p *Port) *standin.Rings {
	t.Helper()
	q, err := standin.StartRings(p.Device, string(p.Mode), p.Socket)
	require.NoError(t, err)
	t.Cleanup(q.Close)
	return q
}

// The port is made for QEMU, marked for the engine, and frames cross; with the daemon gone too; for a second QEMU after the first; and nothing is left
// when it is deleted.
func TestPort(t *testing.T) {
	m, c := maker(t)
	n := NIC{Domain: 5, Device: 1}
	p, err := m.Open(n)
	require.NoError(t, err)
	assert.Equal(t, []string{"tap5.1", "xdp5.1", "native"}, []string{p.Name, p.Device, string(p.Mode)})
	l, err := c.LinkByName("tap5.1")
	require.NoError(t, err)
	assert.Equal(t, "vifplug: af-xdp 5.1", l.Alias)
	of, ours := portOf(l)
	assert.True(t, ours)
	assert.Equal(t, n, of)
	assert.False(t, l.Up, "it is the engine that plugs it and switches it on")
	l, err = c.LinkByName("xdp5.1")
	require.NoError(t, err)
	_, ours = portOf(l)
	assert.False(t, ours, "that is nobody's tap")

	q := start(t, p)
	require.NoError(t, bridgetest.SetUp("tap5.1"))
	d, err := bridgetest.OpenDevice("tap5.1")
	require.NoError(t, err)
	defer d.Close()
	cross := func() {
		t.Helper()
		require.NoError(t, bridgetest.BothWays(d, q))
	}
	cross()

	_, err = m.Open(n)
	require.ErrorIs(t, err, xsk.ErrInUse)
	_, err = m.Delete(n)
	require.ErrorIs(t, err, xsk.ErrInUse)
	assert.Contains(t, err.Error(), "End QEMU first")
	cross() // the refused have disturbed nobody
	q.Close()

	m2 := &Maker{Links: c, Pins: m.Pins} // of another daemon
	p, err = m2.Open(n)
	require.NoError(t, err)
	q = start(t, p)
	cross()
	q.Close()
	name, err := m2.Delete(n)
	require.NoError(t, err)
	assert.Equal(t, "tap5.1", name)
	assert.Empty(t, left(t, m))
	_, err = m.Delete(n)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// What was pinned may go with the bpffs, or be left over from a port that somebody deleted by hand.
func TestPortWithoutItsPins(t *testing.T) {
	m, c := maker(t)
	n := NIC{Domain: 5}
	p, err := m.Open(n)
	require.NoError(t, err)
	require.NoError(t, p.Socket.Close())
	require.NoError(t, xsk.Unpin(m.pins(n)))
	p, err = m.Open(n)
	for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); { // the kernel takes the program away in its own time
		p, err = m.Open(n)
	}
	require.NoError(t, err)
	require.NoError(t, p.Socket.Close())
	require.NoError(t, c.Delete("tap5.0"))
	require.Equal(t, []string{"af-xdp-5-0"}, left(t, m))
	p, err = m.Open(n)
	require.NoError(t, err)
	q := start(t, p)
	require.NoError(t, bridgetest.SetUp("tap5.0"))
	d, err := bridgetest.OpenDevice("tap5.0")
	require.NoError(t, err)
	defer d.Close()
	_, err = bridgetest.Between(d, q)
	require.NoError(t, err)
}

func TestPortOf(t *testing.T) {
	for _, c := range []struct {
		kind, alias string
		want        bool
	}{
		{"veth", "vifplug: af-xdp 5.1", true},
		{"veth", "vifplug: domain web (5) eth1 tap by af-xdp on guests", true},
		{"tun", "vifplug: af-xdp 5.1", false},
		{"veth", "vifplug: socket 5.1", false},
		{"veth", "vifplug: behind tap5.1", false},
		{"veth", "vifplug: domain web (5) eth1 tap on guests", false},
		{"veth", "", false},
	} {
		n, ours := portOf(bridge.Link{Name: "tap5.1", Kind: c.kind, Alias: c.alias})
		assert.Equal(t, c.want, ours, "%s %q", c.kind, c.alias)
		if ours {
			assert.Equal(t, NIC{Domain: 5, Device: 1}, n)
		}
	}
}

// A guest that is no more leaves nothing, also where its QEMU still runs; others' ports stay.
func TestSweep(t *testing.T) {
	m, c := maker(t)
	for _, n := range []NIC{{Domain: 5}, {Domain: 5, Device: 1}, {Domain: 6}} {
		p, err := m.Open(n)
		require.NoError(t, err)
		start(t, p)
	}
	require.NoError(t, bridgetest.MakeVeth("tap7.0", "peer"))
	l, err := c.LinkByName("tap5.0")
	require.NoError(t, err)
	plugged := "vifplug: domain web (5) eth0 tap by af-xdp on guests"
	require.NoError(t, c.Set(l.Index, bridge.Change{Alias: &plugged}))
	for tap, owner := range map[bridge.Name]string{"tap5.2": "web.2", "tap6.1": "db.1", "tap8.0": network.ByHand, "tap08.1": "odd.1"} { // as vif-loop makes them
		require.NoError(t, c.CreateVeth(tap, network.HiddenName(tap), network.HiddenAlias(tap, owner), 0))
	}
	require.NoError(t, c.CreateVeth("other", "vl9.0", network.HiddenAlias("tap9.1", "web.0"), 0)) // the name belies the mark
	gone, err := m.Sweep(func(domain uint16) bool { return domain == 6 })
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"tap5.0", "tap5.1", "tap5.2"}, gone)
	assert.ElementsMatch(t, []string{
		"tap6.0", "xdp6.0", "af-xdp-6-0", "tap7.0", "peer", "tap6.1", "vl6.1", "tap8.0", "vl8.0", "tap08.1", "vl08.1", "other", "vl9.0",
	}, left(t, m))
}

// What is not ours is nobody's to take over or to delete.
func TestPortsOfOthers(t *testing.T) {
	m, _ := maker(t)
	require.NoError(t, bridgetest.MakeVeth("tap5.0", "peer"))
	require.NoError(t, bridgetest.MakeVeth("xdp6.0", "peer6"))
	before := left(t, m)
	_, err := m.Open(NIC{Domain: 5})
	require.ErrorIs(t, err, os.ErrExist)
	_, err = m.Delete(NIC{Domain: 5})
	require.ErrorIs(t, err, os.ErrExist)
	_, err = m.Open(NIC{Domain: 6})
	require.ErrorIs(t, err, bridge.ErrExists)
	assert.Equal(t, before, left(t, m))
	for _, n := range []NIC{{Domain: 65535, Device: 100000}, {Domain: 1, Device: 65536}} {
		_, err = m.Open(n)
		require.ErrorContains(t, err, "no room for this number")
		_, err = m.Delete(n)
		require.ErrorContains(t, err, "no room for this number")
	}
}

// A daemon that was killed at it leaves a pair that is nobody's tap, and that is no hindrance.
func TestHalfMade(t *testing.T) {
	m, c := maker(t)
	for _, alias := range []string{"vifplug: behind tap5.0", "vifplug: af-xdp 5.0"} {
		require.NoError(t, c.CreateVeth("new5.0", "xdp5.0", alias, 0))
		p, err := m.Open(NIC{Domain: 5})
		require.NoError(t, err)
		require.NoError(t, p.Socket.Close())
		assert.ElementsMatch(t, []string{"tap5.0", "xdp5.0", "af-xdp-5-0"}, left(t, m))
		_, err = m.Delete(NIC{Domain: 5})
		require.NoError(t, err)
	}
	require.NoError(t, bridgetest.MakeVeth("new5.0", "peer"))
	_, err := m.Open(NIC{Domain: 5})
	require.ErrorIs(t, err, bridge.ErrExists)
	assert.ElementsMatch(t, []string{"new5.0", "peer"}, left(t, m))
}

var errInjected = errors.New("injected")

// failing fails at the n-th change.
type failing struct {
	*bridge.Conn
	n int
}

func (f *failing) turn() error {
	f.n--
	if f.n == 0 {
		return errInjected
	}
	return nil
}

func (f *failing) Set(index int, c bridge.Change) error {
	return errors.Join(f.turn(), f.Conn.Set(index, c))
}

func (f *failing) CreateVeth(name, peer bridge.Name, alias string, mtu int) error {
	if err := f.turn(); err != nil {
		return err
	}
	return f.Conn.CreateVeth(name, peer, alias, mtu)
}

func (f *failing) NoOffloads(n bridge.Name) error { return errors.Join(f.turn(), f.Conn.NoOffloads(n)) }

func (f *failing) IgnoreIPv6(n bridge.Name) error { return errors.Join(f.turn(), f.Conn.IgnoreIPv6(n)) }

// Wherever it fails, nothing is left, and no descriptor.
func TestFailuresLeaveNothing(t *testing.T) {
	m, c := maker(t)
	f := &failing{Conn: c}
	m.Links = f
	for n := 1; ; n++ {
		before := descriptors(t)
		f.n = n
		p, err := m.Open(NIC{Domain: 5})
		if err == nil {
			assert.Equal(t, 8, n, "seven steps can fail")
			require.NoError(t, p.Socket.Close())
			break
		}
		require.ErrorIs(t, err, errInjected)
		assert.Empty(t, left(t, m), "step %d", n)
		assert.Equal(t, before, descriptors(t))
	}
	_, err := m.Delete(NIC{Domain: 5})
	require.NoError(t, err)
	m.Links, m.Pins = c, t.TempDir() // no bpffs
	_, err = m.Open(NIC{Domain: 5})
	require.ErrorContains(t, err, "Is a bpffs mounted there")
	assert.Empty(t, left(t, m))
}

func descriptors(t *testing.T) (n int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, d := range all {
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && !strings.HasPrefix(to, "/proc") {
			n++
		}
	}
	return n
}
