package network

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

// worked is the worked example of the specification.
func worked(t testing.TB) Spec {
	t.Helper()
	text, err := os.ReadFile("testdata/worked.toml")
	require.NoError(t, err)
	s, err := Parse([]File{{"worked.toml", text}})
	require.NoError(t, err)
	return s.Bare()
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func parse(texts ...string) (Spec, error) {
	var files []File
	for i, s := range texts {
		files = append(files, File{fmt.Sprintf("%c.toml", 'a'+i), []byte(s)})
	}
	return Parse(files, "hotplug", "control")
}

func bondOf(name bridge.Name, ports ...bridge.Name) Bond {
	return Bond{Name: name, Ports: ports, Mode: "active-backup", Options: bridge.Settings{"miimon": "100"}}
}

func TestParseWorkedExample(t *testing.T) {
	vm := func(name string, on bridge.Name, vlan int) Network {
		return Network{Name: name, On: on, VLAN: vlan, Roles: VirtualMachine}
	}
	assert.Equal(t, Spec{
		Bonds: []Bond{bondOf("bond0", "eth0", "eth1"), bondOf("bond1", "eth2", "eth3"), bondOf("bond2", "eth4", "eth5")},
		Networks: []Network{
			{Name: "management", On: "bond0", Roles: ServerManagement, Address: prefixes("10.11.10.22/24")},
			{Name: "heartbeat", On: "bond0", VLAN: 11, Roles: ClusterHeartbeat, Address: prefixes("10.11.11.22/24")},
			{Name: "migration", On: "bond0", VLAN: 12, Roles: LiveMigrate, Address: prefixes("10.11.12.22/24")},
			{Name: "guests", On: "bond0", VLAN: 13, Roles: VirtualMachine, Address: prefixes("10.11.13.22/24"), HostAddress: true},
			vm("production", "bond1", 21), vm("test", "bond1", 22), vm("backup", "bond1", 23), vm("lab", "bond2", 31),
		},
	}, worked(t))
}

func TestParseEveryKey(t *testing.T) {
	s, err := parse(`
		[hotplug]
		bridge-wait = "1s"     # not ours
		[[bond]]
		name = "bond0"
		ports = ["eth0", "eth1"]
		mode = "802.3ad"
		mtu = 9_000
		mac = "00:16:3E:00:00:01"
		lacp-rate = "fast"
		miimon = 50
		ad-actor-system = "00:00:00:00:00:00"
		xmit-hash-policy = "layer3+4"
		ad-user-port-key = 0x10
		[[bond]]
		name = "bond1"
		ports = ["eth2"]
		arp-interval = 200
		arp-ip-target = ["10.0.0.1", "10.0.0.2"]
		primary = "eth2"
		use-carrier = false
		[[network]]
		name = "VM Network"
		on = "bond0"
		vlan = 13
		roles = ["virtual-machine", "storage"]
		address = ["10.0.0.2/24", "fd00::2/64"]
		gateway = ["10.0.0.1", "fe80::1"]
		host-address = true
		id = "4b"
		mtu = 1500
		mac = "02:00:00:00:00:02"
		vlan-filtering = false
		stp = true
		ageing = 12.5
		forward-delay = 4
		priority = 4096
		multicast-snooping = false
		[control]
		readers = "adm"`)
	require.NoError(t, err)
	lacp, own := bridge.MAC{0, 0x16, 0x3e, 0, 0, 1}, bridge.MAC{2, 0, 0, 0, 0, 2}
	assert.Equal(t, Spec{
		Bonds: []Bond{
			{
				Name: "bond0", Ports: []bridge.Name{"eth0", "eth1"}, Mode: "802.3ad", MTU: 9000, MAC: &lacp,
				Options: bridge.Settings{"lacp_rate": "fast", "miimon": "50", "ad_actor_system": "00:00:00:00:00:00", "xmit_hash_policy": "layer3+4", "ad_user_port_key": "16"},
			},
			{
				Name: "bond1", Ports: []bridge.Name{"eth2"}, Mode: "active-backup",
				Options: bridge.Settings{"arp_interval": "200", "arp_ip_target": "10.0.0.1,10.0.0.2", "primary": "eth2", "use_carrier": "0"},
			},
		},
		Networks: []Network{{
			Name: "VM Network", On: "bond0", VLAN: 13, Roles: VirtualMachine | Storage, Address: prefixes("10.0.0.2/24", "fd00::2/64"),
			Gateway: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")}, HostAddress: true, ID: "4b", MTU: 1500, MAC: &own,
			Bridge: bridge.Settings{"stp_state": "1", "ageing_time": "12.5", "forward_delay": "4", "priority": "4096", "multicast_snooping": "0"},
		}},
	}, s.Bare())
	n := s.Networks[0]
	assert.Equal(t, "a.toml:22:5", n.At.String()[:11], "the table")
	assert.Equal(t, Place{"a.toml", 25, 10, "\t\tvlan = 13"}, n.Keys["vlan"])
	assert.Equal(t, Place{"a.toml", 27, 13, "\t\taddress = [\"10.0.0.2/24\", \"fd00::2/64\"]"}, n.Keys["address"])
}

// Tables may be written in any way that TOML has.
func TestParseOtherForms(t *testing.T) {
	want := Spec{Bonds: []Bond{bondOf("b0", "p0")}, Networks: []Network{{Name: "a", On: "p1", Roles: Storage}, {Name: "b", Roles: VirtualMachine}}}
	for _, text := range []string{
		"bond = [{name = \"b0\", ports = [\"p0\"]}]\nnetwork = [{name = \"a\", on = \"p1\", roles = [\"storage\"]}, {name = \"b\", roles = [\"virtual-machine\"]}]",
		"[[network]]\r\nname='a'\r\n\"on\" = \"p1\"\r\nroles = [ # why\r\n 'storage',\r\n]\r\n[[ bond ]]\r\nname=\"\"\"b0\"\"\"\r\nports=[\"p\\u0030\"]\r\n[['network']]\r\nname='b'\r\nroles=['virtual-machine']",
	} {
		s, err := parse(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, s.Bare(), text)
	}
	s, err := parse("", "# nothing", "network = []")
	require.NoError(t, err)
	assert.Equal(t, Spec{}, s)
}

// A later file replaces a bond or network of the same name, whole; the position in the order, which numbers networks, stays.
func TestLaterFilesReplace(t *testing.T) {
	s, err := parse(
		"[[network]]\nname = \"a\"\non = \"p0\"\nvlan = 5\nroles = [\"storage\"]\n[[network]]\nname = \"b\"\nroles = [\"virtual-machine\"]\n[[bond]]\nname = \"b0\"\nports = [\"p1\"]\nmtu = 9000",
		"[[network]]\nname = \"c\"\nroles = [\"virtual-machine\"]\n[[network]]\nname = \"a\"\non = \"p9\"\nroles = [\"live-migrate\"]",
		"[[bond]]\nname = \"b0\"\nports = [\"p2\"]",
	)
	require.NoError(t, err)
	assert.Equal(t, Spec{
		Bonds:    []Bond{bondOf("b0", "p2")},
		Networks: []Network{{Name: "a", On: "p9", Roles: LiveMigrate}, {Name: "b", Roles: VirtualMachine}, {Name: "c", Roles: VirtualMachine}},
	}, s.Bare())
	assert.Equal(t, "b.toml:4:3", s.Networks[0].At.String(), "where it is declared now")
}

// Each error has its place, the offending text, and what would be right.
func TestParseErrors(t *testing.T) {
	const net, bond = "[[network]]\nname = \"a\"\nroles = [\"storage\"]\n", "[[bond]]\nname = \"b\"\nports = [\"p\"]\n"
	for _, tc := range []struct{ text, want string }{
		// What stands where.
		{"[[netwrk]]\nname = 1", "1:3: unknown key netwrk. Did you mean network?"},
		{"contrl.readers = 5", "1:1: unknown key contrl. Did you mean control?"},
		{"[network]\nname = \"a\"\nroles = []", "1:2: network: there may be several, so each begins with two brackets: [[network]]"},
		{"network = 5", "1:1: network: want tables, each begun with [[network]]"},
		{"bond = [5]", "1:1: bond: want tables, each begun with [[bond]]"},
		{"bond.name = \"x\"", "1:1: bond: want tables, each begun with [[bond]]"},
		{net + "[network.gateway]\nx = 1", "4:10: unknown key network.gateway"},
		{net + "adress = []", "4:1: unknown key network.adress. Did you mean network.address?\n    adress = []"},
		{bond + "lacp_rate = \"fast\"", "4:1: unknown key bond.lacp_rate. Did you mean bond.lacp-rate?"},
		{net + "ports = []", "4:1: unknown key network.ports. It is one of [[bond]]"},
		{bond + "vlan = 5", "4:1: unknown key bond.vlan. It is one of [[network]]"},
		{net + "mtu.x = 5", "4:1: unknown key network.mtu.x. Did you mean network.mtu?"},
		{net + "mtu = 1500\nmtu = 1500", "5:1: network.mtu: it is there already, in line 4"},
		{"[[network]]\nname = \"a\"\nname = \"b\"\nroles = [\"storage\"]", "3:1: network.name: it is there already, in line 2"},
		{"network = [{name = \"a\", roles = [], mtu = 1500, mtu = 2}]", "1:49: network.mtu: it is there already, in line 1"},
		{net + net, "5:8: network a is declared already, in line 1. Only another file may replace it\n    name = \"a\""},
		{bond + bond, "5:8: bond b is declared already, in line 1."},
		{"[[network]]\nroles = [\"storage\"]", "1:3: network.name: it is missing. Want a name such as \"guests\"\n    [[network]]"},
		{"[[network]]\nname = \"a\"", "1:3: network.roles: it is missing. Want a list of roles"},
		{"[[bond]]\nports = [\"p\"]", "1:3: bond.name: it is missing. Want a device's name such as \"bond0\""},
		{"[[bond]]\nname = \"b\"", "1:3: bond.ports: it is missing. Want a list of ports"},
		// No TOML.
		{net + "mtu 1500", "4:5: expected '=' after key\n    mtu 1500"},
		{net + "on = \"eth0", "4:"},
		{"[[network]\nname = \"a\"", "1:10: expected ']]' to close array table name"},
		{"[control]\nreaders = 1\nreaders = 2", "3:1: key readers is already defined"},
		{net + "mtu = 0099", "4:"},
		{"\xff\xfe", "1:1: "},
		// Kinds of values.
		{"[[network]]\nname = 5\nroles = []", "2:8: network.name: want a name such as \"guests\", not 5"},
		{net + "mtu = \"1500\"", "4:7: network.mtu: want a number of bytes from 68 to 65535, not \"1500\""},
		{net + "host-address = 1", "4:16: network.host-address: want true or false, not 1"},
		{net + "address = \"10.0.0.1/24\"", "4:11: network.address: want a list of addresses with prefix lengths such as [\"10.11.10.22/24\"], not \"10.0.0.1/24\""},
		{net + "address = [5]", "4:12: network.address: want a list of addresses"},
		{net + "on = {x = 1}", "4:6: network.on: want a port or a bond such as \"bond0\", not {x = 1}"},
		{net + "gateway = [[\"x\"]]", "4:11: network.gateway: want a list of addresses such as [\"10.11.10.1\"], not a table"},
		{net + "mac = 5", "4:7: network.mac: want a MAC address such as \"00:16:3e:12:34:56\", not 5"},
		{net + "stp = \"on\"", "4:7: network.stp: want true or false, not \"on\""},
		{net + "hello-time = \"2s\"", "4:14: network.hello-time: want a number of seconds from 1 to 10, not \"2s\""},
		{bond + "lacp-rate = 1", "4:13: bond.lacp-rate: want one of slow, fast, not 1"},
		{bond + "primary = 1", "4:11: bond.primary: want a port such as \"eth0\", not 1"},
		{bond + "arp-ip-target = \"10.0.0.1\"", "4:17: bond.arp-ip-target: want a list of addresses such as [\"10.11.10.1\"], not \"10.0.0.1\""},
		// Names.
		{"[[network]]\nname = \"\"\nroles = [\"storage\"]", "2:8: network.name: a network needs a name"},
		{"[[network]]\nname = \"a,b\"\nroles = [\"storage\"]", "2:8: network.name: \"a,b\" is no network's name: it has the byte 0x2c"},
		{"[[network]]\nname = \"ü\"\nroles = [\"storage\"]", "is no network's name: it has the byte 0xc3"},
		{"[[network]]\nname = \" a\"\nroles = [\"storage\"]", "2:8: network.name: \" a\" begins or ends with a space"},
		{"[[network]]\nname = \"" + strings.Repeat("a", 65) + "\"\nroles = []", "is longer than 64 bytes"},
		{"[[bond]]\nname = \"bond/0\"\nports = [\"p\"]", "2:8: bond.name: \"bond/0\" is no legal device name: it has the byte 0x2f"},
		{"[[bond]]\nname = \"a-very-long-name\"\nports = [\"p\"]", "is no legal device name: it is longer than 15 bytes"},
		{net + "id = \"all\"", "4:6: network.id: \"all\" is no legal device name"},
		{net + "on = \"\"", "4:6: network.on: \"\" is no legal device name: it is empty"},
		// Bonds.
		{"[[bond]]\nname = \"b\"\nports = []", "3:9: bond.ports: a bond is made of one port or more"},
		{"[[bond]]\nname = \"b\"\nports = [\"p\", \"q\", \"p\"]", "3:20: bond.ports: p is there twice"},
		{bond + "mode = \"active_backup\"", "4:8: bond.mode: \"active_backup\" is none of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb. Did you mean \"active-backup\"?"},
		{bond + "mode = 1", "4:8: bond.mode: want the name of a mode, not 1"},
		{bond + "lacp-rate = \"fats\"", "4:13: bond.lacp-rate: \"fats\" is none of slow, fast. Did you mean \"fast\"?"},
		{bond + "miimon = -1", "4:10: bond.miimon: -1 is not within 0 and 2147483647"},
		{bond + "miimon = 99999999999999999999", "4:10: bond.miimon: 99999999999999999999 is not within 0 and 2147483647"},
		{bond + "arp-ip-target = [\"fd00::1\"]", "4:18: bond.arp-ip-target: fd00::1 is of the wrong family: want IPv4"},
		{bond + "ns-ip6-target = [\"10.0.0.1\"]", "4:18: bond.ns-ip6-target: 10.0.0.1 is of the wrong family: want IPv6"},
		{bond + "arp-ip-target = [\"10.0.0.1\", \"10.0.0.1\"]", "4:30: bond.arp-ip-target: 10.0.0.1 is there twice"},
		{bond + "arp-ip-target = [" + strings.Repeat("\"10.0.0.1\", ", 1) + manyAddresses(17) + "]", "up to 16 different IPv4 addresses"},
		{bond + "primary = \"e/0\"", "4:11: bond.primary: \"e/0\" is no legal device name"},
		// Numbers.
		{net + "vlan = 0", "4:8: network.vlan: 0 is no VLAN. Leave the key out for the untagged segment, or say 1 to 4094"},
		{net + "vlan = 4095", "4:8: network.vlan: 4095 is not within 1 and 4094"},
		{net + "vlan = \"13\"", "4:8: network.vlan: want a number from 1 to 4094, not \"13\""},
		{net + "vlan = \"0\"", "4:8: network.vlan: want a number from 1 to 4094, not \"0\""},
		{net + "mtu = 67", "4:7: network.mtu: 67 is not within 68 and 65535"},
		{bond + "mtu = 65536", "4:7: bond.mtu: 65536 is not within 68 and 65535"},
		{net + "hello-time = 11", "4:14: network.hello-time: 11 is not within 1 and 10 seconds"},
		{net + "hello-time = nan", "4:14: network.hello-time: nan is not within 1 and 10 seconds"},
		{net + "hello-time = 1.005", "4:14: network.hello-time: 1.005 is finer than a hundredth of a second"},
		// MAC addresses.
		{net + "mac = \"01:00:5e:00:00:01\"", "4:7: network.mac: \"01:00:5e:00:00:01\" is the address of a group: the second digit must be even"},
		{net + "mac = \"00:00:00:00:00:00\"", "4:7: network.mac: \"00:00:00:00:00:00\" is nobody's address"},
		{bond + "mac = \"00-16-3e-00-00-01\"", "4:7: bond.mac: \"00-16-3e-00-00-01\" is no MAC address: want six pairs"},
		{bond + "ad-actor-system = \"01:00:00:00:00:00\"", "4:19: bond.ad-actor-system: \"01:00:00:00:00:00\" is the address of a group"},
		// Roles.
		{"[[network]]\nname = \"a\"\nroles = [\"storage\", \"virtual machine\"]", "3:21: network.roles: \"virtual machine\" is no role. Did you mean virtual-machine?"},
		{"[[network]]\nname = \"a\"\nroles = [\"storage\", \"storage\"]", "3:21: network.roles: storage is there twice"},
		{"[[network]]\nname = \"a\"\nroles = [5]", "3:10: network.roles: want a list of roles such as [\"virtual-machine\"], not 5"},
		// Addresses.
		{net + "address = [\"10.0.0.1\"]", "4:12: network.address: \"10.0.0.1\" has no prefix length: say for example \"10.0.0.1/24\""},
		{net + "address = [\"fd00::1\"]", "4:12: network.address: \"fd00::1\" has no prefix length: say for example \"fd00::1/64\""},
		{net + "address = [\"10.0.0.256/24\"]", "\"10.0.0.256/24\" is no address with a prefix length such as \"10.11.10.22/24\""},
		{net + "address = [\"10.0.0.1/33\"]", "\"10.0.0.1/33\" is no address with a prefix length"},
		{net + "address = [\"10.0.0.0/24\"]", "\"10.0.0.0/24\" is the address of the subnet itself"},
		{net + "address = [\"10.0.0.255/24\"]", "\"10.0.0.255/24\" is the subnet's broadcast address"},
		{net + "address = [\"10.0.1.255/22\", \"10.0.3.255/22\"]", "4:29: network.address: \"10.0.3.255/22\" is the subnet's broadcast address"},
		{net + "address = [\"fd00::/64\"]", "\"fd00::/64\" is the address of the subnet itself"},
		{net + "address = [\"224.0.0.5/24\"]", "\"224.0.0.5/24\" is the address of a group of hosts"},
		{net + "address = [\"127.0.0.2/8\"]", "\"127.0.0.2/8\" is the loopback device's"},
		{net + "address = [\"0.0.0.0/8\"]", "\"0.0.0.0/8\" is not the address of one host"},
		{net + "address = [\"10.0.0.1/0\"]", "\"10.0.0.1/0\" has every address there is in its subnet"},
		{net + "address = [\"fe80::1/64\"]", "\"fe80::1/64\" is a link-local address, which the kernel gives every device by itself"},
		{net + "address = [\"::ffff:10.0.0.1/120\"]", "\"::ffff:10.0.0.1/120\" is "},
		{net + "address = [\"10.0.0.1/24\", \"10.0.0.1/16\"]", "4:27: network.address: 10.0.0.1 is there twice"},
		{net + "gateway = [\"10.0.0.1/24\"]", "4:12: network.gateway: \"10.0.0.1/24\" is an address with a prefix length: want the address alone"},
		{net + "gateway = [\"router\"]", "4:12: network.gateway: \"router\" is no IP address"},
		{net + "gateway = [\"fe80::1%eth0\"]", "\"fe80::1%eth0\" is no IP address"},
		{net + "gateway = [\"::ffff:10.0.0.1\"]", "is an IPv4 address in IPv6's notation: say 10.0.0.1"},
		{net + "gateway = [\"255.255.255.255\"]", "is not the address of one host"},
		{net + "gateway = [\"10.0.0.1\", \"fd00::1\", \"10.0.0.2\"]", "4:35: network.gateway: 10.0.0.2 is a second gateway beside 10.0.0.1: a host has one default route for IPv4 and one for IPv6"},
		// What a terminal would obey.
		{net + "\"\\u001b[31m\" = 5", "4:1: unknown key network. [31m."},
	} {
		_, err := parse(tc.text)
		if assert.Error(t, err, tc.text) {
			assert.Contains(t, err.Error(), tc.want, tc.text)
			assert.True(t, strings.HasPrefix(err.Error(), "a.toml:"), err)
			assert.Len(t, Errors(err), 1, "one slip, one error:\n%s\n%s", tc.text, err)
		}
	}
}

func manyAddresses(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%q", netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)})))
	}
	return strings.Join(all, ", ")
}

// These are fine, however near to what is not.
func TestParseAccepts(t *testing.T) {
	const net = "[[network]]\nname = \"a\"\nroles = [\"storage\"]\n"
	for _, text := range []string{
		"address = [\"10.0.0.0/31\"]", "address = [\"10.0.0.255/32\"]", "address = [\"10.0.0.1/31\", \"10.0.0.5/32\"]", "address = [\"fd00::/127\", \"fd00::5/128\"]",
		"address = [\"fd00::ffff:ffff:ffff:ffff/64\"]", "address = [\"10.0.1.0/22\"]", "address = [\"169.254.0.1/16\"]", "vlan = 1", "vlan = 4094", "mtu = 68", "mtu = 65535",
		"ageing = 0", "ageing = 0.01", "hello-time = 1.00", "gateway = []", "address = []", "mac = \"fe:ff:ff:ff:ff:ff\"",
	} {
		_, err := parse(net + text)
		assert.NoError(t, err, text)
	}
}

// All errors of all files come at once, each file's by their places; a line that is no TOML hides neither those before nor the tables behind.
func TestAllParseErrorsAtOnce(t *testing.T) {
	s, err := parse(`x = 1
[[bond]]
name = "b"
ports = ["p" "q"]
mode = "lost"
[[network]]
name = "good"
roles = ["storage"]
[[network]]
name = "a"
vlan = 0
mtu = 5
roles = ["storrage", "virtual-machine", 5]`, `[[network]]
roles = []
adress = 1
`, "mtu = ")
	var got []string
	for _, e := range Errors(err) {
		got = append(got, e.At.String()+" "+strings.Fields(e.What)[0])
	}
	assert.Equal(t, []string{
		"a.toml:1:1 unknown", "a.toml:4:14 expected", "a.toml:11:8 network.vlan:", "a.toml:12:7 network.mtu:", "a.toml:13:10 network.roles:", "a.toml:13:41 network.roles:",
		"b.toml:1:3 network.name:", "b.toml:3:1 unknown", "c.toml:1:6 expected",
	}, got, "%v", err)
	assert.Equal(t, "good", s.Networks[0].Name, "what is right is there")
}

// A table that is worth nothing, and a line that ends too early, hide nothing behind them.
func TestFaultsHideNothing(t *testing.T) {
	s, err := parse("[[network]]\nroles = []\n[[network]]\nname =\n[[network]]\nname = \"a\"\nroles = [\"storage\"]\nmtu = 5")
	require.Error(t, err)
	var places []string
	for _, e := range Errors(err) {
		places = append(places, e.At.String())
	}
	assert.Equal(t, []string{"a.toml:1:3", "a.toml:4:7", "a.toml:8:7"}, places, err)
	assert.Equal(t, "a", s.Networks[0].Name)
}

// A text of any length or content makes errors that fit a terminal.
func TestErrorsAreBounded(t *testing.T) {
	_, err := parse("[[network]]\nname = \"a\"\nroles = [\"" + strings.Repeat("x", 1<<16) + "\"]\n" + strings.Repeat("y", 1<<16) + " = \"\u202e\"")
	require.Error(t, err)
	for _, line := range strings.Split(err.Error(), "\n") {
		assert.Less(t, len(line), 400)
	}
	assert.NotContains(t, err.Error(), "\u202e")
}

func TestErrors(t *testing.T) {
	assert.Empty(t, Errors(nil))
	assert.Empty(t, Errors(os.ErrNotExist))
	one := &Error{At: Place{File: "f", Line: 2, Col: 3, Text: "  \tx"}, What: "w"}
	assert.Equal(t, []*Error{one}, Errors(fmt.Errorf("config: %w", one)))
	assert.Equal(t, "f:2:3: w\n       x", one.Error())
	assert.Equal(t, "w", (&Error{What: "w"}).Error(), "nowhere")
	assert.Empty(t, Place{}.String())
}

// The errors of one long line share it: else these would be 30 GB.
func TestLongLine(t *testing.T) {
	_, err := parse("[[bond]]\nname = \"b\"\nports = [" + strings.Repeat("5, ", 100_000) + "]")
	assert.Len(t, Errors(err), 100_000)
}
