package network_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/test/netns"
)

// missing skips a test for want of something. Where it must be, the test fails: programs in the lab and in CI, for make deps installs them;
// what the kernel has, in the lab.
func missing(t *testing.T, what string, err error, ofKernel bool) {
	t.Helper()
	if os.Getenv("XENVM") == "1" || !ofKernel && os.Getenv("VIFPLUG_CI") == "1" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}

// run runs a program in the namespace that the test is in.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	path := program(t, name)
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
}

// program finds a program, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/lib/systemd", "/lib/systemd"} {
		if p := filepath.Join(dir, name); exists(p) {
			return p
		}
	}
	missing(t, "the program "+name, fs.ErrNotExist, false)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// script runs lines of ip(8).
func script(t *testing.T, lines string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		run(t, "ip", strings.Fields(line)...)
	}
}

// needKind skips the test where the kernel has no devices of a kind.
func needKind(t *testing.T, kind string) {
	t.Helper()
	args := map[string][]string{
		"bond": {"link", "add", "probe0", "type", "bond"},
		"vlan": {"link", "add", "link", "eth0", "name", "probe0", "type", "vlan", "id", "99"},
	}[kind]
	if out, err := exec.Command(program(t, "ip"), args...).CombinedOutput(); err != nil {
		missing(t, "the kernel makes no "+kind, errors.New(strings.TrimSpace(string(out))), true)
	}
	run(t, "ip", "link", "del", "probe0")
}

// ports gives the namespace ports with a carrier: veth pairs, as dummies have no ARP.
func ports(t *testing.T, names ...string) {
	t.Helper()
	netns.New(t)
	for i, n := range names {
		wire := "wire" + string(rune('0'+i))
		script(t, "link add "+n+" type veth peer name "+wire+"\nlink set "+wire+" up")
	}
	script(t, "link set lo up")
}

// importHere imports what the kernel has, and holds the declaration to its promises.
func importHere(t *testing.T) (network.Spec, string) {
	t.Helper()
	c, err := bridge.Open()
	require.NoError(t, err)
	defer func() { assert.NoError(t, c.Close()) }()
	h, err := c.Host()
	require.NoError(t, err)
	text, notes := network.Import(h)
	t.Logf("%s\nnotes: %q", text, notes)
	s := imported(t, h)
	nothingToDo(t, s, h)
	return s, text
}

func TestImportPlainIP(t *testing.T) {
	ports(t, "eth0", "eth1", "eth2")
	script(t, `
		link set eth0 mtu 9000 up
		address add 192.0.2.10/24 dev eth0
		address add 2001:db8::10/64 dev eth0 nodad
		route add default via 192.0.2.1
		link add guests type bridge stp_state 1
		link set eth1 master guests up
		link set guests up
		link add among type bridge
		link set among up`)
	s, text := importHere(t)
	require.Len(t, s.Networks, 3, text)
	m := s.Network("management")
	assert.Equal(t, network.ServerManagement, m.Roles)
	assert.Len(t, m.Address, 2)
	assert.Equal(t, "192.0.2.1", m.Gateway[0].String())
	assert.Equal(t, 9000, m.MTU)
	g := s.Network("guests")
	assert.Equal(t, bridge.Name("eth1"), g.On)
	assert.Equal(t, bridge.Settings{"stp_state": "1", "forward_delay": "15"}, g.Bridge)
	assert.Equal(t, bridge.Name(""), s.Network("among").On)
	assert.Contains(t, text, "Ports that nothing uses")
}

func TestImportVLANsAndBonds(t *testing.T) {
	ports(t, "eth0", "eth1", "eth2")
	needKind(t, "vlan")
	needKind(t, "bond")
	script(t, `
		link add bond0 type bond mode 802.3ad miimon 200 lacp_rate fast
		link set eth1 master bond0
		link set eth2 master bond0
		link set bond0 up
		link set eth0 up
		link add link eth0 name eth0.13 type vlan id 13
		address add 192.0.2.10/24 dev eth0.13
		link set eth0.13 up
		link add link bond0 name vlan14 type vlan id 14
		link add br14 type bridge forward_delay 0
		link set vlan14 master br14 up
		link set br14 up`)
	s, text := importHere(t)
	require.Len(t, s.Bonds, 1, text)
	assert.Equal(t, []bridge.Name{"eth1", "eth2"}, s.Bonds[0].Ports)
	assert.Equal(t, "fast", s.Bonds[0].Options["lacp_rate"])
	assert.Equal(t, "200", s.Bonds[0].Options["miimon"])
	assert.Equal(t, 13, s.Network("management").VLAN)
	b := s.Network("br14")
	assert.Equal(t, 14, b.VLAN)
	assert.Empty(t, b.Bridge)
}

// ifup has ifupdown set up what a file says, with nothing of the machine's own touched.
func ifup(t *testing.T, interfaces string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "interfaces")
	require.NoError(t, os.WriteFile(file, []byte(interfaces), 0o600))
	run(t, "ifup", "-a", "-i", file, "--state-dir="+dir)
}

func TestImportIfupdownBridge(t *testing.T) {
	program(t, "ifup")
	ports(t, "eth0")
	ifup(t, `
auto br0
iface br0 inet static
    bridge_ports eth0
    bridge_stp off
    bridge_maxwait 0
    address 192.0.2.10/24
    gateway 192.0.2.1
`)
	s, text := importHere(t)
	require.Len(t, s.Networks, 1, text)
	n := s.Network("br0")
	assert.Equal(t, bridge.Name("eth0"), n.On)
	assert.Equal(t, network.ServerManagement|network.VirtualMachine, n.Roles)
	assert.Equal(t, "192.0.2.1", n.Gateway[0].String())
}

func TestImportIfupdownBondAndVLANs(t *testing.T) {
	program(t, "ifup")
	ports(t, "eth0", "eth1", "eth2")
	needKind(t, "bond")
	needKind(t, "vlan")
	ifup(t, `
auto bond0
iface bond0 inet manual
    bond-slaves eth0 eth1
    bond-mode active-backup
    bond-miimon 100
    bond-primary eth1

auto br0
iface br0 inet static
    bridge_ports bond0
    bridge_fd 0
    bridge_maxwait 0
    address 192.0.2.10/24
    gateway 192.0.2.1

auto bond0.13
iface bond0.13 inet manual
    vlan-raw-device bond0

auto guests
iface guests inet manual
    bridge_ports bond0.13
    bridge_maxwait 0

auto vlan12
iface vlan12 inet static
    vlan-raw-device bond0
    address 198.51.100.10/24

auto eth2
iface eth2 inet static
    address 203.0.113.10/24
    mtu 9000
`)
	s, text := importHere(t)
	require.Len(t, s.Networks, 4, text)
	assert.Equal(t, "eth1", s.Bonds[0].Options["primary"])
	assert.True(t, s.Network("br0").Roles.Has(network.ServerManagement))
	assert.Equal(t, bridge.Settings{"forward_delay": "15"}, s.Network("guests").Bridge)
	assert.Equal(t, 12, s.Network("network-12").VLAN)
	assert.Equal(t, 9000, s.Network("network-eth2").MTU)
}

// networkd runs systemd-networkd on files of configuration, by their names, until the condition holds.
func networkd(t *testing.T, files map[string]string, until func() bool) {
	t.Helper()
	path := program(t, "systemd-networkd")
	require.NoError(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	// With a sysfs that it cannot write, it does not wait for udev.
	require.NoError(t, unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	require.NoError(t, os.MkdirAll("/run/systemd/network", 0o755))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join("/run/systemd/network", name), []byte(text), 0o644))
	}
	var said strings.Builder
	d := exec.Command(path)
	d.Stdout, d.Stderr = &said, &said
	require.NoError(t, d.Start())
	ok := false
	// On this goroutine, which alone is in the namespace. networkd tells nobody who has no D-Bus, so it is asked.
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(30 * time.Second); !ok && time.Now().Before(end); <-again.C {
		ok = until()
	}
	require.NoError(t, d.Process.Kill())
	_ = d.Wait() // killed
	require.True(t, ok, said.String())
}

// has says that ip(8) prints all of some words.
func has(t *testing.T, what string, words ...string) bool {
	t.Helper()
	out, err := exec.Command(program(t, "ip"), strings.Fields(what)...).CombinedOutput()
	if err != nil {
		return false
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			return false
		}
	}
	return true
}

func TestImportNetworkdBridge(t *testing.T) {
	program(t, "systemd-networkd")
	ports(t, "eth0")
	networkd(t, map[string]string{
		"br0.netdev":     "[NetDev]\nName=br0\nKind=bridge\nMACAddress=02:00:5e:00:53:01\n",
		"uplink.network": "[Match]\nName=eth0\n[Network]\nBridge=br0\n",
		"br0.network":    "[Match]\nName=br0\n[Network]\nLinkLocalAddressing=no\nAddress=192.0.2.10/24\nGateway=192.0.2.1\n",
	}, func() bool { return has(t, "route", "default via 192.0.2.1 dev br0") })
	s, text := importHere(t)
	require.Len(t, s.Networks, 1, text)
	n := s.Network("br0")
	assert.Equal(t, bridge.Name("eth0"), n.On)
	require.NotNil(t, n.MAC)
	assert.Equal(t, "02:00:5e:00:53:01", n.MAC.String())
	assert.Equal(t, "192.0.2.1", n.Gateway[0].String())
}

func TestImportNetworkdBondAndVLANs(t *testing.T) {
	program(t, "systemd-networkd")
	ports(t, "eth0", "eth1")
	needKind(t, "bond")
	needKind(t, "vlan")
	networkd(t, map[string]string{
		"br13.netdev":    "[NetDev]\nName=br13\nKind=bridge\n",
		"bond0.netdev":   "[NetDev]\nName=bond0\nKind=bond\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n",
		"vlan13.netdev":  "[NetDev]\nName=vlan13\nKind=vlan\n[VLAN]\nId=13\n",
		"vlan12.netdev":  "[NetDev]\nName=vlan12\nKind=vlan\n[VLAN]\nId=12\n",
		"ports.network":  "[Match]\nName=eth0 eth1\n[Network]\nBond=bond0\n",
		"bond0.network":  "[Match]\nName=bond0\n[Network]\nLinkLocalAddressing=no\nVLAN=vlan13\nVLAN=vlan12\nAddress=192.0.2.10/24\nGateway=192.0.2.1\n",
		"vlan13.network": "[Match]\nName=vlan13\n[Network]\nBridge=br13\n",
		"vlan12.network": "[Match]\nName=vlan12\n[Network]\nLinkLocalAddressing=no\nAddress=198.51.100.10/24\n",
		"br13.network":   "[Match]\nName=br13\n[Network]\nLinkLocalAddressing=no\nConfigureWithoutCarrier=yes\n",
	}, func() bool {
		return has(t, "route", "default via 192.0.2.1 dev bond0") && has(t, "address show vlan12", "198.51.100.10/24") && has(t, "link show vlan13", "master br13") &&
			has(t, "link show br13", ",UP")
	})
	s, text := importHere(t)
	require.Len(t, s.Networks, 3, text)
	assert.Equal(t, bridge.Name("bond0"), s.Network("management").On)
	assert.Equal(t, 12, s.Network("network-12").VLAN)
	assert.Equal(t, 13, s.Network("br13").VLAN)
}
