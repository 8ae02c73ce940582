package host

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
	"vifplug/test/netns"
)

// worked is the worked example of networks.md. The lab has no files of other packages.
func worked() network.Spec {
	var s network.Spec
	for _, b := range []string{"0 eth0 eth1", "1 eth2 eth3", "2 eth4 eth5"} {
		var number int
		var one, two bridge.Name
		_, _ = fmt.Sscan(b, &number, &one, &two)
		s.Bonds = append(s.Bonds, network.Bond{Name: bridge.Name(fmt.Sprintf("bond%d", number)), Ports: []bridge.Name{one, two}, Mode: "active-backup"})
	}
	add := func(name string, on bridge.Name, vlan int, roles network.Roles, address string) {
		n := network.Network{Name: name, On: on, VLAN: vlan, Roles: roles, HostAddress: roles == network.VirtualMachine && address != ""}
		if address != "" {
			n.Address = []netip.Prefix{netip.MustParsePrefix(address)}
		}
		s.Networks = append(s.Networks, n)
	}
	add("management", "bond0", 0, network.ServerManagement, "10.11.10.22/24")
	add("heartbeat", "bond0", 11, network.ClusterHeartbeat, "10.11.11.22/24")
	add("migration", "bond0", 12, network.LiveMigrate, "10.11.12.22/24")
	add("guests", "bond0", 13, network.VirtualMachine, "10.11.13.22/24")
	add("production", "bond1", 21, network.VirtualMachine, "")
	add("test", "bond1", 22, network.VirtualMachine, "")
	add("backup", "bond1", 23, network.VirtualMachine, "")
	add("lab", "bond2", 31, network.VirtualMachine, "")
	return s
}

// sixPorts is a host with six ports in a namespace, on a kernel with bonds and VLANs. In the lab's dom0, whose kernel has them, it does not
// skip.
func sixPorts(t *testing.T) *bridge.Conn {
	t.Helper()
	netns.New(t)
	c, err := bridge.Open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	bonds, err := c.ProbeBonding()
	require.NoError(t, err)
	vlans, err := c.ProbeVLAN()
	require.NoError(t, err)
	if bonds != bridge.Supported || vlans != bridge.Supported {
		require.Empty(t, os.Getenv("XENVM"), "the lab's kernel must have bonds and VLANs")
		_, err := os.Stat("/proc/modules")
		require.False(t, os.Getenv("VIFPLUG_CI") == "1" && err == nil, "a kernel with modules must have bonds and VLANs")
		t.Skipf("this kernel lacks what it is about: bonds are %v, VLANs are %v; the lab has both", bonds, vlans)
	}
	for i := range 6 {
		port, peer := fmt.Sprintf("eth%d", i), fmt.Sprintf("peer%d", i)
		require.NoError(t, bridgetest.MakeVeth(port, peer))
		require.NoError(t, bridgetest.SetUp(peer))
		require.NoError(t, bridgetest.SetUp(port))
	}
	require.NoError(t, bridgetest.AddAddress("eth0", worked().Networks[0].Address[0]))
	require.NoError(t, c.AddRoute(bridge.Route{
		To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.11.10.1"), Device: "eth0", Table: 254, Protocol: 3, Type: 1,
	}))
	return c
}

// The worked example, with a failure at every step in turn, then for good, then every device deleted once by hand.
func TestWorkedExampleOnAKernel(t *testing.T) {
	c := sixPorts(t)
	before, total, stride, dir := settled(t, c), 1, 1, t.TempDir()
	if testing.Short() {
		stride = 5
	}
	for n := 0; n < total; n += stride {
		gate := &hosttest.Gate{Changer: c}
		gate.Keep(failAt(n))
		m, _ := realManager(t, gate, dir)
		res, err := m.Apply(t.Context(), worked(), ApplyOptions{Confirm: Never})
		require.ErrorIs(t, err, errInjected)
		total = res.Steps[n].Of
		assert.ErrorContains(t, err, "The host is as before", "step %d", n)
		assert.Equal(t, before, settled(t, c), "after failing at step %d: %v", n, err)
	}
	t.Logf("%d steps, of which every %d. failed once", total, stride)

	m, heard := realManager(t, c, dir)
	start := time.Now()
	res, err := m.Apply(t.Context(), worked(), ApplyOptions{Confirm: Never})
	require.NoError(t, err)
	t.Logf("applied in %v", time.Since(start))
	diff, err := m.Diff()
	require.NoError(t, err)
	require.Empty(t, diff)
	mon, err := bridge.OpenHostMonitor()
	require.NoError(t, err)
	m.Start(mon)
	deleteEach(t, m, heard, res.Spec)
	assert.Zero(t, heard.count(NetworkFailed), "%v", heard.all)
}

// deleteEach deletes every device of a declaration by hand, one by one, and waits until it is back.
func deleteEach(t *testing.T, m *Manager, heard *events, spec network.Spec) {
	var devices []string
	for i := range spec.Networks {
		n := &spec.Networks[i]
		devices = append(devices, string(n.Holder()))
		if n.VLAN != 0 && n.HasBridge() {
			devices = append(devices, string(n.Segment()))
		}
	}
	devices = append(devices, "bond1", "bond2")
	longest, which := time.Duration(0), ""
	for _, device := range devices {
		was := heard.count(NetworkLost)
		require.NoError(t, bridgetest.Delete(device))
		start := time.Now()
		untilAsDeclared(t, m, heard, was)
		if took := time.Since(start); took > longest {
			longest, which = took, device
		}
	}
	t.Logf("%d devices were deleted; the longest absence was %v, of %s", len(devices), longest, which)
	assert.Less(t, longest, soon(), which)
}
