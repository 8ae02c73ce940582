package bridge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
)

func TestCreateVLAN(t *testing.T) {
	c, _ := isolated(t)
	needs(t, "8021q", c.ProbeVLAN)
	veth(t, "bond0", "w0")
	require.NoError(t, bridgetest.SetUp("bond0"))
	bridgeOf(t, "9ABCDEF")
	want := Settings{KeyUp: "1", KeyAlias: "vifplug: network guests (4)", KeyMTU: "1400"}
	require.NoError(t, c.Create(Device{Name: "bond0.13", Kind: "vlan", On: "bond0", VLAN: 13, Master: "9ABCDEF", Settings: want}))
	d := deviceOf(t, c, "bond0.13")
	asSysfs(t, d)
	assert.Equal(t, "vlan", d.Kind)
	assert.Equal(t, Name("bond0"), d.On)
	assert.Equal(t, Name("9ABCDEF"), d.Master)
	assert.Equal(t, 13, d.VLAN)
	for k, v := range want {
		assert.Equal(t, v, d.Settings[k], k)
	}
	assert.Zero(t, d.Peer)
	require.ErrorIs(t, c.Create(Device{Name: "other", Kind: "vlan", On: "bond0", VLAN: 13}), ErrExists)
	require.ErrorIs(t, c.Create(Device{Name: "other", Kind: "vlan", On: "bond9", VLAN: 13}), ErrNotFound)
	require.ErrorIs(t, c.Create(Device{Name: "other", Kind: "vlan", On: "bond0", VLAN: 4095}), ErrInvalid)
	err := c.Create(Device{Name: "wide", Kind: "vlan", On: "bond0", VLAN: 14, Settings: Settings{KeyMTU: "9000", KeyAlias: "x"}})
	require.Error(t, err)
	assert.NoDirExists(t, "/sys/class/net/wide")
	ip(t, "link add link bond0 name q type vlan proto 802.1ad id 13")
	assert.Zero(t, deviceOf(t, c, "q").VLAN, "a provider's tag is another")
}

func TestVLANsOfPortsInHost(t *testing.T) {
	c, _ := isolated(t)
	needs(t, "bridge VLAN filtering", c.ProbeVLANFiltering)
	for _, n := range []Name{"br0", "plain"} {
		require.NoError(t, c.Create(Device{Name: n, Kind: "bridge", Settings: Settings{"vlan_filtering": digit(n == "br0"), "default_pvid": "1"}}))
	}
	veth(t, "vif5.0", "g5.0")
	veth(t, "vif6.0", "g6.0")
	require.NoError(t, c.SetMaster("vif5.0", "br0"))
	require.NoError(t, c.SetMaster("vif6.0", "plain"))
	one := PortVLAN{From: 1, To: 1, PVID: true, Untagged: true}
	h := hostOf(t, c)
	assert.Equal(t, []PortVLAN{one}, h.Device("vif5.0").PortVLANs, "the default PVID")
	assert.Equal(t, []PortVLAN{one}, h.Device("br0").PortVLANs, "of the host itself")
	assert.Empty(t, h.Device("vif6.0").PortVLANs, "its bridge does not filter")
	assert.Empty(t, h.Device("plain").PortVLANs)

	many := PortVLAN{From: 100, To: 200}
	access := PortVLAN{From: 13, To: 13, PVID: true, Untagged: true}
	for _, n := range []Name{"vif5.0", "br0"} {
		require.NoError(t, c.DeletePortVLAN(n, one))
		require.NoError(t, c.AddPortVLAN(n, many))
		require.NoError(t, c.AddPortVLAN(n, access))
		assert.Equal(t, []PortVLAN{access, many}, deviceOf(t, c, n).PortVLANs)
		require.NoError(t, c.AddPortVLAN(n, PortVLAN{From: 13, To: 13}), "tagged from now on")
		assert.Equal(t, []PortVLAN{{From: 13, To: 13}, many}, deviceOf(t, c, n).PortVLANs)
		require.NoError(t, c.DeletePortVLAN(n, many))
		require.NoError(t, c.DeletePortVLAN(n, many), "gone already is fine")
		assert.Equal(t, []PortVLAN{{From: 13, To: 13}}, deviceOf(t, c, n).PortVLANs)
	}
	require.NoError(t, c.SetMaster("vif5.0", ""))
	require.NoError(t, c.DeletePortVLAN("vif5.0", access), "it has left")
	require.NoError(t, c.DeletePortVLAN("nobody", access))
	require.ErrorIs(t, c.AddPortVLAN("vif5.0", access), ErrNotFound)
	require.ErrorIs(t, c.AddPortVLAN("br0", PortVLAN{From: 13, To: 12}), ErrInvalid)
	require.ErrorIs(t, c.AddPortVLAN("br0", PortVLAN{From: 0, To: 12}), ErrInvalid)
	require.ErrorIs(t, c.AddPortVLAN("br0", PortVLAN{From: 1, To: 4095}), ErrInvalid)
}
