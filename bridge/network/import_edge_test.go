package network_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// importOf imports a host that is written down.
func importOf(t *testing.T, host string) (network.Spec, string, []string) {
	t.Helper()
	h, err := readHost(host)
	require.NoError(t, err)
	text, notes := network.Import(h)
	s := imported(t, h)
	nothingToDo(t, s, h)
	return s, text, notes
}

// names are the networks', in order, each with its number's place.
func names(s network.Spec) (out []string) {
	for _, n := range s.Networks {
		out = append(out, n.Name)
	}
	return out
}

func TestImportChoosesWhoCarriesManagement(t *testing.T) {
	for name, c := range map[string]struct{ host, want, why string }{
		"the default route": {
			"eth0 port\n  address 192.0.2.1/24\neth1 port\n  address 198.51.100.1/24\nroute default via 198.51.100.2 dev eth1",
			"eth1", "the default route goes by it",
		},
		"a default route of DHCP, too": {
			"eth0 port\n  address 192.0.2.1/24\neth1 port\n  address 198.51.100.1/24 for 1h\nroute default via 198.51.100.2 dev eth1 proto 16 metric 100",
			"eth1", "the default route goes by it",
		},
		"not one of another table":                     {"eth0 port\n  address 192.0.2.1/24\neth1 port\n  address 198.51.100.1/24\nroute default via 198.51.100.2 dev eth1 table 7", "eth0", "as the first that has an address"},
		"not guests among themselves, who have no way": {"br0 bridge\n  address 192.0.2.1/24\neth0 port master br1\nbr1 bridge\nroute default via 192.0.2.2 dev br0", "eth0", "None that could have it has an address"},
	} {
		t.Run(name, func(t *testing.T) {
			s, text, _ := importOf(t, c.host)
			for _, n := range s.Networks {
				assert.Equal(t, string(n.On) == c.want, n.Roles.Has(network.ServerManagement), "%s\n%s", n.Name, text)
			}
			assert.Contains(t, strings.ReplaceAll(text, "\n# ", " "), c.why)
		})
	}
}

// A bridge whose last guest has left has no address of its own until the next comes: a declaration cannot want that.
func TestImportOfABridgeThatHasLostItsLastPort(t *testing.T) {
	_, text, _ := importOf(t, "eth0 port\n  address 192.0.2.1/24\nbr0 bridge mac 00:00:00:00:00:00")
	assert.Regexp(t, `(?m)^id +  = "br0"$`, text)
	assert.NotRegexp(t, `(?m)^mac `, text)
}

// Exactly one network must carry server-management, so a host on which none can has nothing to declare.
func TestImportOfBridgesWithoutUplinkAlone(t *testing.T) {
	s, text, notes := importOf(t, "br0 bridge\nbr1 bridge\n  address 192.0.2.1/24")
	assert.Empty(t, s.Networks)
	assert.Contains(t, text, "# - br0: no network has the role server-management")
	assert.Len(t, notes, 2)
}

func TestImportNames(t *testing.T) {
	s, _, _ := importOf(t, `
management bridge
eth0       port
  address 192.0.2.1/24
eth0.13    vlan 13 on eth0
  address 198.51.100.1/24
eth1       port
  address 203.0.113.1/24
eth1.13    vlan 13 on eth1
  address 10.0.0.1/24
network-eth1 bridge
a=b,c      bridge`)
	assert.Equal(t, []string{"management", "network-eth0", "network-13", "network-eth1-0", "network-eth1-13", "network-eth1", "a-b-c"}, names(s))
	assert.Equal(t, bridge.Name("a=b,c"), s.Network("a-b-c").ID)
}

// Marks of earlier times give names and numbers; the gaps are filled.
func TestImportKeepsNumbers(t *testing.T) {
	s, text, _ := importOf(t, `
eth0     port
  address 192.0.2.1/24
eth0.4   vlan 4 on eth0 alias "vifplug: network storage (4)"
eth0.1   vlan 1 on eth0 master 1b alias "vifplug: network guests (2)"
1b       bridge forward_delay 0 alias "vifplug: network guests (2)"
eth1     port master xenbr1
xenbr1   bridge forward_delay 0
route default via 192.0.2.254 dev eth0`)
	require.Equal(t, []string{"management", "guests", "xenbr1", "storage"}, names(s), text)
	assert.Equal(t, bridge.Name("1b"), s.Network("guests").ID)
}

// Two devices with the mark of one network, as after a rename by hand: the second falls back on its own name, and the plan mends its mark.
func TestImportOfTwoWithOneMark(t *testing.T) {
	h, err := readHost(`
eth0   port
  address 192.0.2.1/24
1b     bridge forward_delay 0 alias "vifplug: network guests (2)"
2b     bridge forward_delay 0 alias "vifplug: network guests (2)"`)
	require.NoError(t, err)
	s := imported(t, h)
	assert.Equal(t, []string{"management", "guests", "2b"}, names(s))
	plan, err := network.Make(network.Input{Want: s, Have: h})
	require.NoError(t, err)
	require.Len(t, plan.Steps, 1)
	assert.Equal(t, bridge.Settings{bridge.KeyAlias: "vifplug: network 2b (3)"}, plan.Steps[0].Set)
}

// What is ours and cannot be declared would be deleted by the next apply, which must be said.
func TestImportWarnsOfWhatIsOursAndLeftOut(t *testing.T) {
	h, err := readHost("eth0 port\n  address 192.0.2.1/24\n1b bridge down alias \"vifplug: network guests (2)\"")
	require.NoError(t, err)
	_, notes := network.Import(h)
	require.Len(t, notes, 1)
	assert.Contains(t, notes[0], "1b: the bridge is down, and what is declared is set up. It has vifplug's mark, so to apply this as it stands would delete it.")
}

// What the rules forbid beside what is declared already is left out with the rule's own sentence.
func TestImportObeysTheRules(t *testing.T) {
	s, text, notes := importOf(t, `
eth0    port master br0
eth0.13 vlan 13 on eth0
  address 192.0.2.1/24
br0     bridge vlan_filtering 1
eth1    port
  address 192.0.2.1/25`)
	require.Len(t, s.Networks, 1, text)
	assert.Equal(t, "management", s.Networks[0].Name)
	require.Len(t, notes, 2)
	assert.Contains(t, text, "br0: ")
	assert.Contains(t, text, "eth1: ")
}

func TestImportOfBonds(t *testing.T) {
	s, text, _ := importOf(t, `
eth0  port master bond0 mtu 9000
eth1  port master bond0 mtu 9000
bond0 bond mode 802.3ad miimon 100 lacp_rate fast lacp_active off mtu 9000 mac 52:54:00:00:00:02
eth2  port master bond1
bond1 bond mode balance-rr packets_per_slave 4 primary "" mac 9a:00:00:00:00:01
eth3  port master bond2
bond2 bond mode active-backup arp_interval 500 arp_ip_target 192.0.2.1,192.0.2.2
eth4  port
  address 192.0.2.1/24`)
	require.Len(t, s.Bonds, 3, text)
	assert.Equal(t, network.Bond{
		Name: "bond0", Ports: []bridge.Name{"eth1", "eth0"}, Mode: "802.3ad", MTU: 9000,
		Options: bridge.Settings{"lacp_rate": "fast", "lacp_active": "off", "miimon": "100"},
	}, s.Bare().Bonds[0], "the port that lends its address goes first")
	assert.Equal(t, "0", s.Bonds[1].Options["miimon"], "the kernel's own default is not vifplug's")
	assert.Equal(t, "4", s.Bonds[1].Options["packets_per_slave"])
	assert.Equal(t, "9a:00:00:00:00:01", s.Bonds[1].MAC.String())
	assert.Equal(t, bridge.Settings{"arp_interval": "500", "arp_ip_target": "192.0.2.1,192.0.2.2"}, s.Bonds[2].Options)
}

func TestImportRoundsTimesAsTheKernelDoes(t *testing.T) {
	s, text, _ := importOf(t, "eth0 port master br0\nbr0 bridge forward_delay 0 multicast_startup_query_interval 31.24 ageing_time 299.5")
	assert.Equal(t, bridge.Settings{"ageing_time": "299.5"}, s.Networks[0].Bridge, text)
}

// Guests, containers and their bridges are nobody's business here.
func TestImportLeavesOthersAlone(t *testing.T) {
	for _, line := range []string{
		"vif1.0 port bus xen-backend", "web-front port bus xen-backend", "tap1.0 tun", "vpn7 tun", "vif1.0-emu tun", "vnet3 tun", "vethab12 veth", "fwpr100p0 veth", "lxc1 veth",
		`eth9 veth alias "vifplug: domain web (1) eth0 on guests"`,
	} {
		s, text, notes := importOf(t, line+" master br0\n  address 192.0.2.7/24\neth0 port master br0\nbr0 bridge forward_delay 0")
		require.Len(t, s.Networks, 1, text)
		assert.Equal(t, bridge.Name("eth0"), s.Networks[0].On, line)
		assert.Empty(t, notes, line)
		assert.NotContains(t, text, "192.0.2.7")
	}
	for _, name := range []string{"docker0", "br-0123456789ab", "virbr0", "lxcbr0", "lxdbr0", "incusbr0", "podman0", "cni0", "fwbr100i0"} {
		s, text, notes := importOf(t, "eth0 port\n  address 192.0.2.1/24\n"+name+" bridge")
		assert.Len(t, s.Networks, 1)
		assert.Contains(t, text, "# - "+name+": it is kept by")
		assert.Empty(t, notes)
	}
}

// A person can read it: no line is longer than a terminal that is a little wide.
func TestImportIsReadable(t *testing.T) {
	for _, file := range hostFiles(t) {
		text, _ := network.Import(hostFile(t, file))
		for line := range strings.Lines(text) {
			assert.LessOrEqual(t, len(line), 101, line)
		}
	}
}

// What is declared is set up, so what is down is not declared.
func TestImportLeavesOutWhatIsDown(t *testing.T) {
	const rest = "\neth9 port\n  address 192.0.2.1/24\nroute default via 192.0.2.2 dev eth9"
	for host, why := range map[string]string{
		"eth0 port down\n  address 10.0.0.1/24":                                     "eth0: it is down",
		"eth0 port down\neth0.13 vlan 13 on eth0\n  address 10.0.0.1/24":            "eth0.13: eth0, on which it stands, is down",
		"eth0 port\neth0.13 vlan 13 on eth0 down\n  address 10.0.0.1/24":            "eth0.13: its VLAN device eth0.13 is down",
		"eth0 port\neth0.13 vlan 13 on eth0 down master br0\nbr0 bridge":            "br0: its VLAN device eth0.13 is down",
		"eth0 port down master br0\nbr0 bridge":                                     "br0: eth0, on which it stands, is down",
		"br0 bridge down":                                                           "br0: the bridge is down",
		"eth0 port master bond0\nbond0 bond mode balance-rr down":                   "bond0: the bond is down",
		"eth0 port master bond0 down\nbond0 bond mode balance-rr":                   "bond0: its port eth0 is down",
		"eth0 port master bond0\nbond0 bond mode balance-rr master v\nv vrf":        "bond0: the bond belongs to v, a device of the kind vrf",
		"eth0.3 vlan 3 on away\n  address 10.0.0.1/24":                              "eth0.3: eth0.3 is a VLAN device of a device that is not in this network namespace",
		"eth0 port\neth0.3 vlan 3 on eth0 master bond0\nbond0 bond mode balance-rr": "bond0: its port eth0.3 is a VLAN device",
	} {
		s, text, notes := importOf(t, host+rest)
		assert.Equal(t, []string{"management"}, names(s), text)
		require.Len(t, notes, 1, text)
		assert.Contains(t, notes[0], why)
	}
}

// A route with several next hops is shown whole, and no gateway is made of one of them.
func TestImportOfMultipath(t *testing.T) {
	s, text, notes := importOf(t, "eth0 port\n  address 192.0.2.1/24\nroute default via 192.0.2.2 dev eth0 multipath")
	assert.Empty(t, s.Networks[0].Gateway, text)
	require.Len(t, notes, 1)
	assert.Contains(t, notes[0], "several next hops")
}

// A gateway is declared where a declared one would be the same route, and nothing else.
func TestImportOfGateways(t *testing.T) {
	for route, want := range map[string]bool{
		"default via 192.0.2.2 dev eth0":            true,
		"default via 192.0.2.2 dev eth0 proto 4":    true,
		"default via fe80::1 dev eth0":              true,
		"default via 2001:db8::2 dev eth0":          true,
		"default via 192.0.2.2 dev eth0 metric 100": false,
		"default via 192.0.2.2 dev eth0 proto 16":   false,
		"default via fe80::1 dev eth0 proto 9":      false,
		"default via 192.0.2.2 dev eth0 table 5":    false,
		"default via 198.51.100.2 dev eth0":         false,
		"10.0.0.0/8 via 192.0.2.2 dev eth0":         false,
	} {
		s, text, notes := importOf(t, "eth0 port\n  address 192.0.2.1/24\n  address 2001:db8::1/64\nroute "+route)
		assert.Equal(t, want, len(s.Networks[0].Gateway) == 1, "%s\n%s", route, text)
		assert.Equal(t, want, len(notes) == 0, "%s: %q", route, notes)
	}
	// Of two in one place (ip route append) a declared one would take both places.
	h, err := readHost("eth0 port\n  address 192.0.2.1/24\nroute default via 192.0.2.2 dev eth0\nroute default via 192.0.2.3 dev eth0")
	require.NoError(t, err)
	assert.Empty(t, imported(t, h).Networks[0].Gateway)
}
