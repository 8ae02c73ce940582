package view

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// labels are a view's labels by the names of things.
func labels(v Logical) map[string]string {
	out := map[string]string{}
	for _, n := range v.Nodes {
		out[n.Name] = n.Label
	}
	return out
}

func TestLabelsOfTheWorkedExample(t *testing.T) {
	got := labels(New(worked()).Logical())
	for name, want := range map[string]string{
		"eth0": "1-4", "eth1": "1-4", "bond0": "1-4", "untagged": "1", "bond0.11": "2a", "vif23.0": "4a", "21D1F8E": "4b", "bond0.13": "4c",
		"bond1": "5-7", "vif23.1": "5a", "AB8E18E": "5b", "bond1.21": "5c", "9F86D08": "6a", "bond1.22": "6b", "bond2": "8", "eth5": "8", "vif23.2": "8a",
	} {
		assert.Equal(t, want, got[name], name)
	}
}

// A line in one view is found in the others.
func TestViewsAgreeOnLabels(t *testing.T) {
	for _, in := range []Input{worked(), troubled(), crowd(60)} {
		m := New(in)
		logical, used := labels(m.Logical()), map[string]string{}
		for _, d := range m.Devices().Devices {
			assert.Equal(t, logical[d.Name], d.Label, d.Name)
			if d.Label != "" && len(d.Networks) == 1 && d.Label[len(d.Label)-1] > '9' {
				assert.Empty(t, used[d.Label], "%s is the label of two", d.Label)
				used[d.Label] = d.Name
			}
		}
		for _, n := range m.Manager().Networks {
			for _, g := range n.Guests {
				assert.Equal(t, logical[g.Device], g.Label)
			}
		}
	}
}

func TestLetters(t *testing.T) {
	for i, want := range map[int]string{0: "a", 25: "z", 26: "aa", 27: "ab", 51: "az", 52: "ba", 701: "zz", 702: "aaa"} {
		assert.Equal(t, want, letters(i))
	}
}

func TestRanges(t *testing.T) {
	for want, in := range map[string][]int{"": nil, "3": {3}, "1-4": {1, 2, 3, 4}, "5-7,9": {5, 6, 7, 9}, "1,2": {1, 2}, "1,3,5,6": {1, 3, 5, 6}} {
		assert.Equal(t, want, ranges(in))
	}
}

func TestAmounts(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0B", 999: "999B", 1000: "1.00kB", 9994: "9.99kB", 9996: "10.0kB", 99_960: "100kB", 999_499: "999kB", 999_500: "1.00MB", 1_234_567_890: "1.23GB",
		1<<64 - 1: "18.4EB",
	} {
		assert.Equal(t, want, amount(n), "%d", n)
	}
}

func TestGuestOf(t *testing.T) {
	for name, want := range map[bridge.Name]network.Guest{
		"vif23.0": {ID: 23, Device: "vif23.0"}, "tap5.2": {ID: 5, NIC: 2, Tap: true, Device: "tap5.2"}, "vif5.2-emu": {ID: 5, NIC: 2, Tap: true, Device: "vif5.2-emu"},
	} {
		got, ok := guestOf(name)
		assert.True(t, ok, name)
		assert.Equal(t, want, got)
	}
	for _, name := range []bridge.Name{"eth0", "vif", "vif1", "vif1.", "vif.1", "vif70000.0", "tap0", "tap1.2-emu", "vif-1.0", "vifx.y"} {
		_, ok := guestOf(name)
		assert.False(t, ok, name)
	}
}

func node(t *testing.T, v Logical, name string) Node {
	t.Helper()
	for _, n := range v.Nodes {
		if n.Name == name {
			return n
		}
	}
	require.Failf(t, "no node", "%s", name)
	return Node{}
}

func TestMarks(t *testing.T) {
	v := New(troubled()).Logical()
	for name, want := range map[string][]Mark{
		"eth0": nil, "eth1": {Down}, "eth5": {Missing}, "eth4": {Drifted}, "bond1.22": {Missing}, "54D00D8": {Down}, "bond0.13": {Drifted},
		"xenbr0": {Foreign}, "veth9": {Foreign}, "nosuchbr": {Missing, Foreign}, "vif31.0": {Missing, Failed}, "vif7.0": nil,
	} {
		assert.Equal(t, want, node(t, v, name).Marks, name)
	}
	assert.Equal(t, []Stand{{Key: "eth4", Missing: true}, {Key: "eth5", Missing: true}}, node(t, v, "bond2").On)
	assert.Equal(t, "no carrier", node(t, v, "eth1").Notes[0])
	for _, n := range v.Nodes {
		assert.NotContains(t, []string{"lo", "wg0", "docker0"}, n.Name, "irrelevant")
	}
}

func TestStates(t *testing.T) {
	var got []State
	for _, n := range New(troubled()).Manager().Networks {
		got = append(got, n.State)
	}
	assert.Equal(t, []State{
		StateDegraded, StateDegraded, StateDegraded, StateDegraded, StateUp, StateMissing, StateDown, StateDown, StateUp, StateMissing,
	}, got)
	for _, n := range New(worked()).Manager().Networks {
		assert.Equal(t, StateUp, n.State, n.Name)
	}
}

// Of an HVM guest's two devices for a NIC the vif comes first; a guest is one node with an edge from each.
// A bond says who carries its traffic, in the picture and in the list of devices.
func TestBondsTellWhoCarries(t *testing.T) {
	partner := bridge.MAC{0x02, 0, 0, 0, 0, 9}
	for _, tc := range []struct {
		mode  string
		state *bridge.BondState
		want  []string
	}{
		{"balance-rr", nil, []string{"balance-rr"}},
		{"balance-rr", &bridge.BondState{}, []string{"balance-rr"}},
		{"active-backup", &bridge.BondState{ActivePort: "eth1"}, []string{"active-backup", "active eth1"}},
		{"802.3ad", &bridge.BondState{Aggregator: 3, Ports: 1}, []string{"802.3ad", "no partner"}},
		{"802.3ad", &bridge.BondState{Aggregator: 3, Ports: 1, PartnerMAC: partner}, []string{"802.3ad", "aggregator 3 of 1 port", "partner 02:00:00:00:00:09"}},
		{"802.3ad", &bridge.BondState{Aggregator: 3, Ports: 2, PartnerMAC: partner}, []string{"802.3ad", "aggregator 3 of 2 ports", "partner 02:00:00:00:00:09"}},
	} {
		m := New(Input{Host: bridge.Host{Devices: []bridge.Device{{Index: 2, Name: "bond0", Kind: "bond", Settings: bridge.Settings{"mode": tc.mode}, BondState: tc.state}}}})
		assert.Equal(t, tc.want, m.Devices().Devices[0].Bond)
		assert.Equal(t, tc.want, m.Logical().Nodes[0].Detail)
		assert.Contains(t, write(t, m.Devices(), "text", Options{}), strings.Join(tc.want, ", "))
	}
}

func TestVifBeforeTap(t *testing.T) {
	v := New(troubled()).Logical()
	assert.Equal(t, "5b", node(t, v, "vif24.0").Label)
	assert.Equal(t, "5c", node(t, v, "tap24.0").Label)
	assert.Equal(t, []Stand{{Key: "vif24.0"}, {Key: "tap24.0"}}, node(t, v, "win2022").On)
}

// A guest's port that nobody told of is known by its name; one that is on another bridge than it asks for is drifted.
func TestPortsThatNobodyToldOf(t *testing.T) {
	in := worked()
	in.Guests = in.Guests[:1]
	in.Guests[0].Network = "AB8E18E"
	v := New(in).Logical()
	assert.Equal(t, "domain 23", func() string {
		in := in
		in.Guests = nil
		return node(t, New(in).Logical(), "vif23.1").Guest
	}())
	assert.Equal(t, "web01", node(t, v, "vif23.1").Guest)
	moved := node(t, v, "vif23.0")
	assert.Equal(t, "4a", moved.Label)
	assert.Equal(t, []Mark{Drifted}, moved.Marks)
	assert.Equal(t, []string{"asks for AB8E18E"}, moved.Notes)
}

// Nothing is declared: the bridges with guests, and those with a way out, are shown all the same.
func TestNothingDeclared(t *testing.T) {
	in := worked()
	in.Spec = network.Spec{}
	m := New(in)
	var names []string
	for _, n := range m.Manager().Networks {
		assert.True(t, n.Foreign())
		names = append(names, n.Name)
	}
	assert.Equal(t, []string{"21D1F8E", "AB8E18E", "9F86D08", "54D00D8", "A51146D"}, names)
	assert.Equal(t, "1c", node(t, m.Logical(), "bond0.13").Label)
	assert.Empty(t, node(t, m.Logical(), "bond0.11").Label, "a segment that no network uses")
}

func TestDriftOfADeviceThatIsNotThere(t *testing.T) {
	in := worked()
	in.Drift = map[bridge.Name]string{"br9": "it should not be gone"}
	devices := New(in).Devices().Devices
	last := devices[len(devices)-1]
	assert.Equal(t, "br9", last.Name)
	assert.Equal(t, []Mark{Missing, Drifted}, last.Marks)
}

// What stands on two things is drawn under the first, and under the second it is only named.
func TestTwoUplinks(t *testing.T) {
	in := troubled()
	in.Host.Device("eth7").Master = "xenbr0"
	text := write(t, New(in).Logical(), "text", Options{})
	assert.Equal(t, 1, strings.Count(text, "vif7.0"))
	assert.Equal(t, 2, strings.Count(text, "─ xenbr0"))
	assert.Contains(t, text, "(see above)")
}
