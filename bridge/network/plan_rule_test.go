package network

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

const small = `
[[network]]
name = "management"
on = "eth0"
roles = ["server-management", "virtual-machine"]
id = "mgmt"
address = ["10.0.0.2/24"]
gateway = ["10.0.0.1"]
[[network]]
name = "guests"
on = "eth1"
vlan = 13
roles = ["virtual-machine"]
id = "4b"
`

func plan(t *testing.T, in Input) Plan {
	t.Helper()
	p, err := Make(in)
	require.NoError(t, err)
	assert.Empty(t, Compare(Input{Want: in.Want, Before: in.Before, Have: carryOut(t, in.Have, p.Steps)}))
	return p
}

// done is a host on which a declaration has been carried out.
func done(t *testing.T, s Spec, h bridge.Host) bridge.Host {
	t.Helper()
	return carryOut(t, h, plan(t, Input{Want: s, Have: h}).Steps)
}

func withGuest(h bridge.Host, name, master bridge.Name) bridge.Host {
	w := newWorld(h)
	w.add(bridge.Device{Name: name, ParentBus: "xen-backend", Settings: bridge.Settings{"mtu": "1500", "up": "1", "alias": PortAlias("web01", 23, 0, "guests")}})
	w.joinBridge(name, master)
	return w.host()
}

func TestBridgeWithGuestsStays(t *testing.T) {
	spec := declare(t, small)
	have := withGuest(done(t, spec, bareHost(2)), "vif23.0", "4b")
	want := spec
	want.Networks = want.Networks[:1]
	p := plan(t, Input{Want: want, Before: &spec, Have: have})
	assert.Empty(t, p.Steps, "the guest's traffic goes on: its segment stays too")
	assert.Equal(t, []string{"bridge 4b is no longer declared, but stays: vif23.0 (eth0 of web01) is on it"}, p.Notes)
	gone := carryOut(t, have, []Step{{Op: OpMaster, Device: "vif23.0"}})
	p = plan(t, Input{Want: want, Before: &spec, Have: gone})
	assert.Equal(t, "release eth1.13\ndelete bridge 4b\ndelete vlan eth1.13", what(p))
}

// what is a plan's steps without their reasons.
func what(p Plan) string {
	lines := make([]string, len(p.Steps))
	for i, s := range p.Steps {
		lines[i] = s.what()
	}
	return strings.Join(lines, "\n")
}

// A device that was there before keeps its alias and its settings, and is never deleted.
func TestAdoptedDevicesStay(t *testing.T) {
	spec := declare(t, small)
	have := carryOut(t, bareHost(2), []Step{
		{Op: OpSet, Device: "eth1", Set: bridge.Settings{"up": "1"}},
		{Op: OpCreate, Device: "vlan13", Create: &Create{Kind: "vlan", On: "eth1", VLAN: 13, Settings: bridge.Settings{"up": "1"}}},
		{Op: OpCreate, Device: "4b", Create: &Create{Kind: "bridge", Settings: bridge.Settings{"stp_state": "1", "mac": "02:00:00:00:00:01", "alias": "mine"}}},
	})
	p := plan(t, Input{Want: spec, Have: have})
	assert.Contains(t, what(p), "make vlan13 a port of 4b")
	assert.NotContains(t, what(p), "eth1.13")
	end := carryOut(t, have, p.Steps)
	assert.Equal(t, "1", end.Device("4b").Settings["stp_state"])
	assert.Equal(t, "mine", end.Device("4b").Settings["alias"])
	p = plan(t, Input{Want: Spec{}, Before: &spec, Have: end})
	assert.NotContains(t, what(p), "delete bridge 4b")
	assert.NotContains(t, what(p), "delete vlan")
	assert.Contains(t, what(p), "delete bridge mgmt")
}

// The bonding module makes bond0 when it is loaded. Nobody's, it becomes ours; somebody's it stays.
func TestBondThatSpringsUp(t *testing.T) {
	spec := declare(t, workedExample)
	have := carryOut(t, bareHost(6), []Step{{Op: OpCreate, Device: "bond0", Create: &Create{Kind: "bond", Settings: bridge.Settings{"mac": "02:00:00:00:00:01"}}}})
	p := plan(t, Input{Want: spec, Have: have})
	assert.NotContains(t, what(p), "create bond bond0")
	end := carryOut(t, have, p.Steps)
	assert.Equal(t, "vifplug: bond bond0", end.Device("bond0").Settings["alias"])
	touched := carryOut(t, have, []Step{{Op: OpSet, Device: "bond0", Set: bridge.Settings{"up": "1"}}})
	end = done(t, spec, touched)
	assert.Empty(t, end.Device("bond0").Settings["alias"])
}

func TestStrangersNamesAreRefused(t *testing.T) {
	have := carryOut(t, bareHost(2), []Step{{Op: OpCreate, Device: "mgmt", Create: &Create{Kind: "bond", Settings: bridge.Settings{"up": "1"}}}})
	_, err := Make(Input{Want: declare(t, small), Have: have})
	assert.EqualError(t, err, "mgmt exists and is no bridge but a bond, which vifplug did not make. Rename or delete it, or give the bridge another name")
}

func TestNarrowPortIsNamed(t *testing.T) {
	have := bareHost(2)
	have.Devices[2].MaxMTU = 1600
	_, err := Make(Input{Want: declare(t, strings.Replace(small, `id = "4b"`, "id = \"4b\"\nmtu = 9000", 1)), Have: have})
	assert.EqualError(t, err, "network guests (2): MTU 9000 does not fit port eth1, which takes at most 1600. Lower the mtu, or build it on another port")
}

func TestMissingPortsAreNotes(t *testing.T) {
	spec := declare(t, small)
	p := plan(t, Input{Want: spec, Have: bareHost(1)})
	assert.Equal(t, []string{"eth1, on which network guests (2) stands, does not exist: the rest of the network is made when it appears"}, p.Notes)
	assert.Contains(t, what(p), "create bridge 4b", "guests can be plugged already")
	have := done(t, spec, bareHost(1))
	have.Devices = append(have.Devices, bareHost(2).Devices[2])
	p = plan(t, Input{Want: spec, Before: &spec, Have: have})
	assert.Equal(t, "set eth1 up\ncreate vlan eth1.13, VLAN 13 on eth1, MTU 1500, port of 4b\nset 4b mac 00:16:3e:00:00:01", what(p))
}

func TestManagementAndCuts(t *testing.T) {
	spec := declare(t, small)
	have := done(t, spec, bareHost(2))
	change := func(from, to string) Plan {
		return plan(t, Input{Want: declare(t, strings.Replace(small, from, to, 1)), Before: &spec, Have: have})
	}
	p := change("vlan = 13", "vlan = 14")
	assert.Empty(t, p.Management, "another network is no concern")
	assert.Empty(t, p.Cuts)
	p = change(`id = "mgmt"`, `id = "other"`)
	assert.Contains(t, p.Management, "which carries the server-management network management (1)")
	assert.Empty(t, p.Cuts)
	p = change(`name = "management"`, `name = "manager"`)
	assert.Empty(t, p.Management, "an alias cuts nobody off")
	assert.Len(t, p.Steps, 1)
	p = change("address = [\"10.0.0.2/24\"]\ngateway = [\"10.0.0.1\"]\n", "")
	assert.Equal(t, "after it network management (1) would not carry server-management: mgmt has no address", p.Cuts)
	p = plan(t, Input{Want: declare(t, strings.Replace(small, `on = "eth0"`, `on = "eth7"`, 1)), Before: &spec, Have: have})
	assert.Equal(t, "after it network management (1) would not carry server-management: eth7 does not exist", p.Cuts)
	p = plan(t, Input{Want: Spec{}, Before: &spec, Have: have})
	assert.Equal(t, "after it the host would have no default route via 10.0.0.1 on mgmt", p.Cuts)
	assert.NotEmpty(t, p.Management)
	p = plan(t, Input{Want: Spec{Networks: []Network{{Number: 1, Name: "x", ID: "x", On: "eth0", Roles: VirtualMachine}}}, Have: installed(t)})
	assert.Contains(t, p.Management, "changes eth0, which carries the default route via")
	assert.Empty(t, p.Cuts)
}

// The address of a network that nobody declares any more goes; one that somebody gave the bridge by hand goes to what is left.
func TestForeignAddressesFindANewHome(t *testing.T) {
	spec := declare(t, small)
	have := carryOut(t, done(t, spec, bareHost(2)), []Step{{Op: OpAddAddress, Device: "mgmt", Address: &bridge.Address{Prefix: prefix("192.0.2.7/24")}}})
	p := plan(t, Input{Want: Spec{}, Before: &spec, Have: have})
	end := carryOut(t, have, p.Steps)
	require.Len(t, end.Device("eth0").Addresses, 1)
	assert.Equal(t, prefix("192.0.2.7/24"), end.Device("eth0").Addresses[0].Prefix)
	assert.Nil(t, end.Device("mgmt"))
}

// The last address goes first: with the first of a subnet a kernel may delete the others, or make one of them first, and does not tell which.
func TestAddressesGoLastFirst(t *testing.T) {
	have := installed(t)
	have = carryOut(t, have, []Step{{Op: OpAddAddress, Device: "eth0", Address: &bridge.Address{Prefix: prefix("10.11.10.23/24")}}})
	p := plan(t, Input{Want: declare(t, workedExample), Have: have})
	assert.Contains(t, what(p), "delete 10.11.10.23/24 from eth0\ndelete 10.11.10.22/24 from eth0\n")
}
