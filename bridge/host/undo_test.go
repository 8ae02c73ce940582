package host

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
)

func TestStillOurs(t *testing.T) {
	made := func(change func(*bridge.Device)) bridge.Host {
		d := bridge.Device{Name: "4b", Kind: "bridge", Settings: bridge.Settings{bridge.KeyAlias: "vifplug: network guests (2)", bridge.KeyMAC: "02:00:00:00:00:01"}}
		change(&d)
		return bridge.Host{Devices: []bridge.Device{d}}
	}
	unmarked := func(d *bridge.Device) { d.Settings[bridge.KeyAlias] = "" }
	step := network.Step{Op: network.OpCreate, Device: "4b", Create: &network.Create{Kind: "bridge", Settings: bridge.Settings{
		bridge.KeyAlias: "vifplug: network guests (2)", bridge.KeyMAC: "02:00:00:00:00:01",
	}}}
	for name, tc := range map[string]struct {
		host bridge.Host
		last bool
		want bool
	}{
		"as it was made":                     {made(func(*bridge.Device) {}), false, true},
		"gone":                               {bridge.Host{}, true, false},
		"of another kind":                    {made(func(d *bridge.Device) { d.Kind = "bond" }), true, false},
		"of another name's mark":             {made(func(d *bridge.Device) { d.Settings[bridge.KeyAlias] = "uplink" }), true, false},
		"without a mark, by the last step":   {made(unmarked), true, true},
		"without a mark, by an earlier step": {made(unmarked), false, false},
		"without a mark, and another's MAC address": {made(func(d *bridge.Device) {
			unmarked(d)
			d.Settings[bridge.KeyMAC] = "02:00:00:00:00:99"
		}), true, false},
	} {
		assert.Equal(t, tc.want, stillOurs(&tc.host, step, tc.last), name)
	}
	host := made(func(*bridge.Device) {})
	assert.False(t, stillOurs(&host, network.Step{Op: network.OpSet, Device: "4b"}, true), "what no step made is never deleted")
}

// What is said to be left is what is left, and the errors that led there; that something was gone already is no error.
func TestUndoSaysWhatIsLeft(t *testing.T) {
	k := hosttest.New(bare())
	steps, _, err := prepare(bare(), []network.Step{
		{Op: network.OpSet, Device: "eth1", Set: bridge.Settings{bridge.KeyMTU: "1400"}},
		{Op: network.OpAddAddress, Device: "eth2", Address: &bridge.Address{Prefix: declared().Networks[0].Address[0]}},
		{Op: network.OpSet, Device: "eth2", Set: bridge.Settings{bridge.KeyMTU: "1300"}},
	})
	require.NoError(t, err)
	var rec record
	rec.extend(bare(), steps)
	for _, s := range steps {
		require.NoError(t, Do(k, s.Step))
	}
	k.Change(func(h *bridge.Host) { h.Device("eth2").Addresses = nil })
	gate := &hosttest.Gate{Changer: k}
	refuse(gate, "eth1")
	left := undo(gate, rec, 3)
	require.Len(t, left, 2)
	assert.Equal(t, `eth1 has mtu "1400" instead of "1500"`, left[0])
	assert.Contains(t, left[1], "injected")
	h, err := k.Host()
	require.NoError(t, err)
	assert.Equal(t, "1500", h.Device("eth2").Settings[bridge.KeyMTU], "the rest is undone all the same")

	refuse(gate)
	assert.Empty(t, undo(gate, rec, 3), "it can be tried again")
	assert.Empty(t, undo(gate, rec, 3), "and again")
}

func TestLeftover(t *testing.T) {
	was := bare()
	was.Devices = append(was.Devices, port(9, "eth9"))
	was.Devices[1].PortVLANs = []bridge.PortVLAN{{From: 13, To: 13}}
	route := was.Routes[0]
	route.Metric = 7
	address := bridge.Address{Prefix: declared().Networks[0].Address[0]}
	now := bare()
	now.Devices[0].Addresses = nil
	now.Devices[1].Master = "4b"
	now.Devices[1].Addresses = []bridge.Address{address}
	now.Devices = append(now.Devices, port(10, "4b"))
	now.Routes = []bridge.Route{route}
	steps := []undoable{
		{Step: network.Step{Op: network.OpCreate, Device: "4b"}},
		{Step: network.Step{Op: network.OpAddAddress, Device: "4b", Address: &address}},
		{Step: network.Step{Op: network.OpAddAddress, Device: "eth1", Address: &address}},
		{Step: network.Step{Op: network.OpAddRoute, Device: "eth1", Route: &route}},
		{Step: network.Step{Op: network.OpDelete, Device: "5c"}},
	}
	assert.Equal(t, []string{
		"4b is still there",
		"eth0 lacks its address 10.0.0.2/24",
		"eth1 is a port of 4b instead of none",
		"eth1 lacks its VLANs 13 to 13",
		"eth1 still has the address 10.0.0.2/24",
		"eth9 is missing",
		"the route to 0.0.0.0/0 by eth0 is missing",
		"the route to 0.0.0.0/0 by eth1 is still there",
	}, leftover(was, now, steps))
	assert.Empty(t, leftover(was, was, steps[:1]))
}

func TestDoRefusesWhatIsNoStep(t *testing.T) {
	k := hosttest.New(bare())
	for _, s := range []network.Step{
		{Op: network.OpCreate, Device: "4b"},
		{Op: network.OpAddAddress, Device: "eth0"},
		{Op: network.OpDeleteAddress, Device: "eth0"},
		{Op: network.OpAddRoute, Device: "eth0"},
		{Op: network.OpDeleteRoute, Device: "eth0"},
		{Op: network.OpAddVLAN, Device: "eth0"},
		{Op: network.OpDeleteVLAN, Device: "eth0"},
		{Op: "burn", Device: "eth0"},
		{},
	} {
		require.ErrorIs(t, Do(k, s), errStep, "%v", s)
	}
	assert.Empty(t, k.Steps())
}

// Each step arrives at the kernel as it was meant.
func TestDo(t *testing.T) {
	h := bare()
	h.Devices = append(h.Devices, bridge.Device{Index: 9, Name: "4b", Kind: "bridge", Settings: bridge.Settings{"vlan_filtering": "1", "up": "1", "mtu": "1500"}})
	k := hosttest.New(h)
	route := bridge.Route{To: h.Routes[0].To, Via: h.Routes[0].Via, Device: "eth0", Table: 7, Protocol: 4, Type: 1}
	steps := []network.Step{
		{Op: network.OpCreate, Device: "5c", Create: &network.Create{Kind: "bridge", Settings: bridge.Settings{bridge.KeyUp: "1"}}},
		{Op: network.OpSet, Device: "eth1", Set: bridge.Settings{bridge.KeyMTU: "1400"}},
		{Op: network.OpMaster, Device: "eth1", Master: "4b"},
		{Op: network.OpAddVLAN, Device: "eth1", PortVLAN: &bridge.PortVLAN{From: 5, To: 6}},
		{Op: network.OpDeleteVLAN, Device: "eth1", PortVLAN: &bridge.PortVLAN{From: 5, To: 6}},
		{Op: network.OpMaster, Device: "eth1"},
		{Op: network.OpAddRoute, Device: "eth0", Route: &route},
		{Op: network.OpDeleteRoute, Device: "eth0", Route: &route},
		{Op: network.OpAddAddress, Device: "5c", Address: &bridge.Address{Prefix: declared().Networks[0].Address[0]}},
		{Op: network.OpDeleteAddress, Device: "5c", Address: &bridge.Address{Prefix: declared().Networks[0].Address[0]}},
		{Op: network.OpDelete, Device: "5c"},
	}
	for _, s := range steps {
		require.NoError(t, Do(k, s), "%v", s)
	}
	assert.Equal(t, steps, k.Steps())
}

func TestPrepareKnowsBeforehand(t *testing.T) {
	h := bare()
	h.Devices = append(h.Devices, port(50, "vif1.0"))
	out, end, err := prepare(h, moving())
	require.NoError(t, err)
	require.Len(t, out, len(moving()))
	assert.Equal(t, network.OpDelete, out[0].Undo[0].Op)
	assert.NotNil(t, end.Device("mgmt"))
	assert.Nil(t, end.Device("vif1.0"), "guests' devices are no affair of plans")
	assert.NotNil(t, h.Device("vif1.0"))

	_, _, err = prepare(h, []network.Step{{Op: network.OpMaster, Device: "eth0", Master: "absent"}})
	require.ErrorIs(t, err, bridge.ErrNotFound)
	assert.ErrorContains(t, err, "cannot be carried out")
}
