package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
)

func TestCheckWorkedExample(t *testing.T) {
	warnings, err := Check(worked(t))
	require.NoError(t, err)
	assert.Empty(t, warnings)
	warnings, err = Check(Spec{})
	require.NoError(t, err, "nothing declared, nothing wrong")
	assert.Empty(t, warnings)
}

// managed is what every declaration below has beside what it is about.
const managed = `
[[network]]
name    = "m"
on      = "m0"
roles   = ["server-management"]
address = ["192.0.2.2/24"]
`

func network(lines string) string { return "[[network]]\n" + lines + "\n" }

func bond(lines string) string { return "[[bond]]\n" + lines + "\n" }

// Every rule of networks, with the sentence that teaches it.
func TestCheckErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		// Roles.
		{network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]"), "1:3: no network has the role server-management. Exactly one must: the one by which this host is managed\n    [[network]]"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"server-management\"]"), "10:9: network a: m has the role server-management already, and exactly one network has it. Take it off one of them\n    roles"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = []"), "10:9: network a: it has no role, so nothing may use it. Say what it carries: server-management, cluster-heartbeat, live-migrate, storage, virtual-machine"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\naddress = [\"10.0.0.1/24\"]"), "11:11: network a: a network for guests alone (virtual-machine) takes no address of the host, for guests would reach the host by it. Take the address away, or say host-address = true\n    address"},
		{managed + network("name = \"a\"\nroles = []"), "9:9: network a: it has no role, so nothing may use it."},
		// What it stands on.
		{managed + network("name = \"a\"\nroles = [\"storage\"]"), "9:9: network a: it stands on no port or bond, so only guests can use it among themselves: its one role can be virtual-machine."},
		{managed + network("name = \"a\"\nroles = [\"storage\", \"virtual-machine\"]"), "it stands on no port or bond"},
		{managed + network("name = \"a\"\nvlan = 5\nroles = [\"virtual-machine\"]"), "9:8: network a: VLAN 5 of what? Say on which port or bond: on = \"bond0\""},
		{managed + network("name = \"a\"\non = \"m0\"\nroles = [\"storage\"]"), "9:6: network a: m has the untagged segment of m0 already, and a segment carries one network. Give one of them a vlan"},
		{managed + network("name = \"a\"\non = \"e0\"\nvlan = 5\nroles = [\"storage\"]") + network("name = \"b\"\non = \"e0\"\nvlan = 5\nroles = [\"storage\"]"), "15:8: network b: a has VLAN 5 of e0 already, and a segment carries one network"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]") + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]"), "12:6: network a: e0 is a port of the bond b0, so nothing can stand on it alone. Say on = \"b0\""},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]") + network("name = \"a\"\non = \"b0.5\"\nroles = [\"storage\"]"), "12:6: network a: b0.5 looks like VLAN 5 of the bond b0. Say on = \"b0\" and vlan = 5"},
		{managed + network("name = \"a\"\non = \"enp129s0f1np\"\nvlan = 100\nroles = [\"storage\"]"), "10:8: network a: its segment would be called enp129s0f1np.100, which is longer than the 15 bytes of a device's name. Rename enp129s0f1np"},
		{managed + network("name = \"a\"\non = \"lo\"\nroles = [\"storage\"]"), "9:6: network a: the loopback device is no port"},
		// VLAN filtering.
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\nvlan-filtering = true"), "11:18: network a: it has no bridge to filter in: only networks with the role virtual-machine have one"},
		{managed + network("name = \"a\"\non = \"e0\"\nvlan = 5\nroles = [\"virtual-machine\"]\nvlan-filtering = true"), "10:8: network a: with vlan-filtering its bridge has the VLANs, so it stands on the untagged segment. Leave vlan out, or vlan-filtering"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nvlan-filtering = true") + network("name = \"b\"\non = \"e0\"\nvlan = 5\nroles = [\"storage\"]"), "15:8: network b: the network a takes all VLANs of e0 into its bridge (vlan-filtering), so none of them can be a network beside it"},
		// What needs a bridge.
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\nstp = true"), "11:7: network a: stp is about a bridge, and only networks with the role virtual-machine have one"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\nmac = \"02:00:00:00:00:01\""), "11:7: network a: mac is about a bridge"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nstp = true\nforward-delay = 1.5"), "12:17: network a: with stp a port must wait for 2 seconds or more before it forwards: the kernel takes no 1.5"},
		// Ids.
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nid = \"m0\""), "11:6: network a: its id m0 is the name of the port m0. It is the name of its bridge, so it must be no other device's"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nid = \"x\"") + network("name = \"b\"\non = \"e1\"\nroles = [\"virtual-machine\"]\nid = \"x\""), "16:6: network b: its id x is the name of the network a."},
		{managed + network("name = \"a\"\non = \"e0\"\nvlan = 5\nroles = [\"virtual-machine\"]\nid = \"e0.5\""), "12:6: network a: its id e0.5 is the name of the segment of VLAN 5 on e0."},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]") + network("name = \"a\"\non = \"b0\"\nroles = [\"virtual-machine\"]\nid = \"b0\""), "its id b0 is the name of the bond b0."},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nid = \"m\""), "11:6: network a: its id m is the name of another network, so a guest's bridge = m could mean either"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nid = \"lo\""), "11:6: network a: its id lo is a name that other devices have: the loopback device, or a guest's NIC"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nid = \"vif1.0\""), "its id vif1.0 is a name that other devices have"},
		// Addresses.
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"192.0.2.2/28\"]"), "11:11: network a: the network m has the address 192.0.2.2 already"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"10.0.0.2/24\"]\ngateway = [\"10.0.1.1\"]"), "12:11: network a: the gateway 10.0.1.1 is in no subnet of the network's addresses (10.0.0.2/24), so it cannot be reached"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\ngateway = [\"10.0.1.1\"]"), "11:11: network a: the gateway 10.0.1.1 is in no subnet of the network's addresses (it has none), so"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"10.0.0.2/24\"]\ngateway = [\"10.0.0.2\"]"), "12:11: network a: the gateway 10.0.0.2 is this host's own address"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"fd00::1/64\"]\nmtu = 1279"), "12:7: network a: 1279 bytes are too few for its IPv6 address fd00::1/64: IPv6 needs 1280"},
		// Bonds.
		{managed + bond("name = \"b0\"\nports = [\"e0\"]") + bond("name = \"b1\"\nports = [\"e1\", \"e0\"]"), "12:9: bond b1: the port e0 is one of the bond b0 already\n    ports"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]") + bond("name = \"b1\"\nports = [\"b0\"]"), "12:9: bond b1: b0 is a bond, and the kernel takes no bond into another"},
		{managed + bond("name = \"b0\"\nports = [\"b0\"]"), "9:9: bond b0: it cannot be a port of itself"},
		{managed + bond("name = \"tap3.1\"\nports = [\"e0\"]"), "8:8: bond tap3.1: other devices are called so"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\nlacp-rate = \"fast\""), "10:13: bond b0: lacp-rate is not an option of mode active-backup, but of 802.3ad"},
		{managed + bond("name = \"b0\"\nports = [\"e0\", \"eth1\"]\nprimary = \"eth0\""), "10:11: bond b0: primary \"eth0\" is none of its ports. Did you mean \"eth1\"?"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\nmiimon = 100\narp-interval = 100\narp-ip-target = [\"10.0.0.1\"]"), "11:16: bond b0: miimon and arp-interval exclude each other: the kernel watches links in one way. Leave one out"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\narp-interval = 100"), "10:16: bond b0: arp-interval asks for somebody to answer. Say whom: arp-ip-target = [\"...\"]"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\nupdelay = 250"), "10:11: bond b0: updelay 250 is no multiple of miimon (100), and the kernel would make it 200"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\narp-interval = 100\narp-ip-target = [\"10.0.0.1\"]\ndowndelay = 100"), "12:13: bond b0: downdelay counts in steps of miimon, which is off"},
		// MTU.
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\nmtu = 1500") + network("name = \"a\"\non = \"b0\"\nvlan = 5\nroles = [\"storage\"]\nmtu = 9000"), "16:7: network a: MTU 9000 does not fit the bond b0 (1500). Raise the bond's mtu, or lower the network's"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\nmtu = 1500") + network("name = \"b\"\non = \"e0\"\nvlan = 5\nroles = [\"storage\"]\nmtu = 9000"), "17:7: network b: MTU 9000 does not fit e0, which has the MTU of the network a on its untagged segment (1500). Raise that network's mtu, or leave it out"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\nmtu = 9000") + network("name = \"a\"\non = \"b0\"\nroles = [\"storage\"]\nmtu = 1500"), "15:7: network a: MTU 1500 is not that of the bond b0 (9000), which carries it untagged. Leave one of the two out"},
	} {
		s, err := parse(tc.text)
		require.NoError(t, err, tc.text)
		warnings, err := Check(s)
		if assert.Error(t, err, tc.text) {
			assert.Contains(t, err.Error(), "a.toml:", tc.text)
			assert.Contains(t, err.Error(), tc.want, tc.text)
			assert.Len(t, Errors(err), 1, "one slip, one error:\n%s\n%s", tc.text, err)
		}
		assert.NotContains(t, strings.Join(warnings, ""), "\x1b")
	}
}

// What is accepted, and yet hardly meant.
func TestCheckWarnings(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"cluster-heartbeat\"]") + network("name = \"b\"\non = \"e1\"\nroles = [\"cluster-heartbeat\", \"storage\"]"), "a.toml:14:9: network b: cluster-heartbeat has no effect here, since the heartbeat has one subnet only, and a has the role already\n    roles"},
		{managed + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"192.0.2.9/28\"]"), "a.toml:11:11: network a: its subnet 192.0.2.0/28 overlaps with 192.0.2.0/24 of the network m: the host may answer by either"},
		{managed + "gateway = [\"192.0.2.1\"]\n" + network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"10.0.0.2/24\"]\ngateway = [\"10.0.0.1\"]"), "a.toml:13:11: network a: the network m has a gateway for IPv4 already: the host will use one of the two, hardly both"},
		{managed + bond("name = \"b0\"\nports = [\"e0\"]\nmiimon = 0"), "a.toml:10:10: bond b0: nothing tells it when a port has lost its link, so traffic stays on a dead port. Say miimon = 100"},
	} {
		s, err := parse(tc.text)
		require.NoError(t, err, tc.text)
		warnings, err := Check(s)
		require.NoError(t, err, tc.text)
		if assert.Len(t, warnings, 1, tc.text) {
			assert.Contains(t, warnings[0], tc.want)
		}
	}
}

// These are fine, however near to what is not.
func TestCheckAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"an internal network":                        network("name = \"a\"\nroles = [\"virtual-machine\"]"),
		"two of them":                                network("name = \"a\"\nroles = [\"virtual-machine\"]") + network("name = \"b\"\nroles = [\"virtual-machine\"]"),
		"the host on an internal network":            network("name = \"a\"\nroles = [\"virtual-machine\"]\naddress = [\"10.0.0.1/24\"]\nhost-address = true"),
		"guests beside another role":                 network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\", \"storage\"]\naddress = [\"10.0.0.1/24\"]"),
		"the same VLAN of two ports":                 network("name = \"a\"\non = \"e0\"\nvlan = 5\nroles = [\"storage\"]") + network("name = \"b\"\non = \"e1\"\nvlan = 5\nroles = [\"storage\"]"),
		"a segment of fifteen bytes":                 network("name = \"a\"\non = \"enp129s0f1n\"\nvlan = 100\nroles = [\"storage\"]"),
		"an id that is its own name":                 network("name = \"4b\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nid = \"4b\""),
		"an id almost like a guest's NIC":            network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nid = \"vif1\"") + network("name = \"b\"\non = \"e1\"\nroles = [\"virtual-machine\"]\nid = \"tapes.0\""),
		"vlan-filtering on another port":             network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nvlan-filtering = true") + network("name = \"b\"\non = \"e1\"\nvlan = 5\nroles = [\"storage\"]"),
		"a gateway by its link-local address":        network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\ngateway = [\"fe80::1\"]"),
		"gateways of two families on two networks":   network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"10.0.0.2/24\"]\ngateway = [\"10.0.0.1\"]") + network("name = \"b\"\non = \"e1\"\nroles = [\"storage\"]\naddress = [\"fd00::2/64\"]\ngateway = [\"fd00::1\"]"),
		"two addresses of one subnet on one network": network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"10.0.0.2/24\", \"10.0.0.3/24\"]"),
		"a narrow network on a wide bond":            bond("name = \"b0\"\nports = [\"e0\"]\nmtu = 9000") + network("name = \"a\"\non = \"b0\"\nvlan = 5\nroles = [\"storage\"]\nmtu = 1500"),
		"a network as wide as its bond":              bond("name = \"b0\"\nports = [\"e0\"]\nmtu = 9000") + network("name = \"a\"\non = \"b0\"\nroles = [\"storage\"]\nmtu = 9000"),
		"a narrow bridge on a wide bond":             bond("name = \"b0\"\nports = [\"e0\"]\nmtu = 9000") + network("name = \"a\"\non = \"b0\"\nroles = [\"virtual-machine\"]\nmtu = 1500"),
		"a wide network on a bond that says nothing": bond("name = \"b0\"\nports = [\"e0\"]") + network("name = \"a\"\non = \"b0\"\nvlan = 5\nroles = [\"storage\"]\nmtu = 9000"),
		"IPv6 on its least MTU":                      network("name = \"a\"\non = \"e0\"\nroles = [\"storage\"]\naddress = [\"fd00::1/64\"]\nmtu = 1280"),
		"ARP instead of miimon":                      bond("name = \"b0\"\nports = [\"e0\"]\narp-interval = 100\narp-ip-target = [\"10.0.0.1\"]"),
		"miimon off for ARP":                         bond("name = \"b0\"\nports = [\"e0\"]\nmiimon = 0\narp-interval = 100\nns-ip6-target = [\"fd00::1\"]"),
		"delays in steps":                            bond("name = \"b0\"\nports = [\"e0\"]\nupdelay = 300\ndowndelay = 0"),
		"stp with its delay":                         network("name = \"a\"\non = \"e0\"\nroles = [\"virtual-machine\"]\nstp = true\nforward-delay = 2"),
	} {
		s, err := parse(managed + text)
		require.NoError(t, err, name)
		warnings, err := Check(s)
		assert.NoError(t, err, name)
		assert.Empty(t, warnings, name)
	}
}

// What Parse would have refused, Check refuses too: a Spec may come from elsewhere.
func TestCheckOfASpecFromElsewhere(t *testing.T) {
	_, err := Check(Spec{
		Bonds: []Bond{{Name: "b0", Mode: "active-backup", Options: bridge.Settings{"miimon": "100"}}},
		Networks: []Network{
			{Name: "a", On: "e0", Roles: ServerManagement, Address: prefixes("10.0.0.0/24", "10.0.1.1/24"), Gateway: []netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("10.0.1.3")}},
			{Name: "a", On: "e1", Roles: Storage},
		},
	})
	assert.EqualError(t, err, `bond b0: a bond is made of one port or more
network a: 10.0.0.0/24 is the address of the subnet itself
network a: 10.0.1.3 is a second gateway of its family
network a: there are two networks of this name`)
}

// All errors come at once, by their places.
func TestAllCheckErrorsAtOnce(t *testing.T) {
	s, err := parse(network("name = \"a\"\non = \"e0\"\nroles = []") + network("name = \"b\"\non = \"e0\"\nroles = [\"storage\"]\nid = \"e0\"") + bond("name = \"b0\"\nports = [\"e0\"]"))
	require.NoError(t, err)
	_, err = Check(s)
	var places []string
	for _, e := range Errors(err) {
		places = append(places, e.At.String())
	}
	assert.Equal(t, []string{"a.toml:1:3", "a.toml:3:6", "a.toml:4:9", "a.toml:7:6", "a.toml:7:6", "a.toml:9:6"}, places, err)
}

// Where Check finds nothing, Resolve finds ids.
func TestCheckedIsResolved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		if _, err := Check(s); err != nil {
			return
		}
		_, err := Resolve(s, nil)
		require.NoError(t, err)
	})
}

func TestMovesManagement(t *testing.T) {
	at := func(name string, on bridge.Name, roles Roles) Network {
		return Network{Name: name, On: on, Roles: roles}
	}
	spec := func(n ...Network) Spec { return Spec{Networks: n} }
	a := spec(at("a", "e0", ServerManagement), at("b", "e1", Storage))
	for name, tc := range map[string]struct {
		before, after Spec
		want          string
	}{
		"the first":              {Spec{}, a, ""},
		"the same":               {a, a, ""},
		"moved below the name":   {a, spec(at("a", "e9", ServerManagement)), ""},
		"renamed":                {a, spec(at("z", "e0", ServerManagement)), ""},
		"moved":                  {a, spec(at("a", "e0", Storage), at("b", "e1", ServerManagement)), "server-management would move from the network a to b. Once set it stays where it is: say --force if this is meant"},
		"another on another":     {a, spec(at("z", "e1", ServerManagement)), "server-management would move from the network a to z."},
		"swapped":                {a, spec(at("a", "e1", Storage), at("z", "e0", ServerManagement)), "server-management would move from the network a to z."},
		"gone":                   {a, spec(at("b", "e1", Storage)), "server-management would leave the network a, and no other would have it. Say --force if this is meant"},
		"everything is gone":     {a, Spec{}, "server-management would leave the network a"},
		"there was none, is one": {spec(at("b", "e1", Storage)), a, ""},
	} {
		got := MovesManagement(tc.before, tc.after)
		if tc.want == "" {
			assert.Empty(t, got, name)
		} else {
			assert.Contains(t, got, tc.want, name)
		}
	}
}
