package network

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"vifplug/bridge"
)

func TestAliases(t *testing.T) {
	for text, want := range map[string]Alias{
		"vifplug: bond bond0":                                        {Bond: "bond0"},
		"vifplug: network guests (4)":                                {Network: "guests", Number: 4},
		"vifplug: network a (b) (12)":                                {Network: "a (b)", Number: 12},
		"vifplug: domain web01 (23) eth0 on guests":                  {Domain: "web01", ID: 23, NIC: 0, On: "guests"},
		"vifplug: domain web01 (23) eth0 tap on guests":              {Domain: "web01", ID: 23, NIC: 0, Tap: true, On: "guests"},
		"vifplug: domain a (1) eth0 tap on tap (2) eth3 on tap on x": {Domain: "a (1) eth0 tap on tap", ID: 2, NIC: 3, On: "tap on x"},
		"vifplug: domain web01 (23) eth0 tap by socket on guests":    {Domain: "web01", ID: 23, NIC: 0, Tap: true, By: "socket", On: "guests"},
		"vifplug: domain web01 (23) eth1 tap by af-xdp on guests":    {Domain: "web01", ID: 23, NIC: 1, Tap: true, By: "af-xdp", On: "guests"},
		"vifplug: socket 23.0":                                       {ID: 23, Tap: true, By: "socket"},
		"vifplug: af-xdp 23.7":                                       {ID: 23, NIC: 7, Tap: true, By: "af-xdp"},
		"vifplug: domain a eth1 on b (7) eth2 on c d":                {Domain: "a eth1 on b", ID: 7, NIC: 2, On: "c d"},
	} {
		a, ours := ParseAlias(text)
		assert.True(t, ours, text)
		assert.Equal(t, want, a, text)
		assert.Equal(t, text, a.String())
	}
	for _, text := range []string{
		"", "vifplug:", "vifplug: ", "uplink", "vifplug: bond", "vifplug: bond a b", "vifplug: network guests", "vifplug: network (4)", "vifplug: network x (-4)",
		"vifplug: domain web01 (23)", "vifplug: domain web01 (70000) eth0 on x", "vifplug: domain web01 (2) ethx on x", "vifplug: domain web01 (2) eth tap on x", "vifplug: domain web01 (2) eth0 tap tap on x", "vifplug: domain web01 (2) eth1 on ", "vifplug: other x (1)",
		"vifplug: socket 70000.0", "vifplug: socket 5", "vifplug: socket 5.x", "vifplug: af-xdp -5.0", "vifplug: domain web01 (2) eth0 tap by hand on x",
	} {
		_, ours := ParseAlias(text)
		assert.False(t, ours, text)
	}
}

func FuzzParseAlias(f *testing.F) {
	f.Add("vifplug: domain web01 (23) eth0 on guests")
	f.Add("vifplug: domain web01 (23) eth0 tap on guests")
	f.Add("vifplug: network guests (4)")
	f.Add("vifplug: bond bond0")
	f.Add("vifplug: socket 23.0")
	f.Add("vifplug: domain web01 (23) eth1 tap by af-xdp on guests")
	f.Fuzz(func(t *testing.T, text string) {
		a, ours := ParseAlias(text)
		if !ours {
			assert.Equal(t, Alias{}, a)
			return
		}
		again, still := ParseAlias(a.String())
		assert.True(t, still)
		assert.Equal(t, a, again)
	})
}

func TestAliasesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z (0-9)]{0,20}[a-z]`).Draw(t, "name")
		n := Network{Name: name, Number: rapid.IntRange(0, 99).Draw(t, "number")}
		a, ours := ParseAlias(NetworkAlias(&n))
		assert.True(t, ours)
		assert.Equal(t, Alias{Network: name, Number: n.Number}, a)
	})
}

// What is ours may be deleted: nothing else must look so.
func TestOurs(t *testing.T) {
	for _, c := range []struct {
		kind, alias string
		ours        bool
	}{
		{"bridge", "vifplug: network guests (4)", true},
		{"vlan", "vifplug: network guests (4)", true},
		{"bond", "vifplug: bond bond0", true},
		{"bridge", "", false},
		{"bridge", "guests", false},
		{"", "vifplug: network guests (4)", false},
		{"veth", "vifplug: bond bond0", false},
		{"vlan", "vifplug: domain web01 (23) eth0 on guests", false},
	} {
		assert.Equal(t, c.ours, isOurs(&bridge.Device{Kind: c.kind, Settings: bridge.Settings{"alias": c.alias}}), "%v", c)
	}
}
