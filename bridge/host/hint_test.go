package host

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"vifplug/bridge"
)

func TestGuestsAreNoHint(t *testing.T) {
	g := guestIndexes{}
	names := func(n ...bridge.Name) []bridge.Name { return n }
	for _, tc := range []struct {
		what   string
		change bridge.HostChange
		only   bool
	}{
		{"a guest comes", bridge.HostChange{Links: true, Devices: []int{7}, Names: names("vif1.0")}, true},
		{"it gets its link-local address", bridge.HostChange{Addresses: true, Devices: []int{7}}, true},
		{"an address of another", bridge.HostChange{Addresses: true, Devices: []int{7, 8}}, false},
		{"an HVM guest comes", bridge.HostChange{Links: true, Devices: []int{9, 10}, Names: names("tap2.0", "vif2.0-emu")}, true},
		{"a guest and a bridge", bridge.HostChange{Links: true, Devices: []int{3, 7}, Names: names("4b", "vif1.0")}, false},
		{"a bridge goes", bridge.HostChange{Links: true, Devices: []int{3}, Names: names("4b")}, false},
		{"a route", bridge.HostChange{Routes: true}, false},
		{"a guest and a route", bridge.HostChange{Links: true, Routes: true, Devices: []int{7}, Names: names("vif1.0")}, false},
		{"a guest, and an address of another", bridge.HostChange{Links: true, Addresses: true, Devices: []int{11, 12}, Names: names("vif3.0")}, false},
		{"the other again", bridge.HostChange{Addresses: true, Devices: []int{11}}, false},
		{"nobody in particular", bridge.HostChange{Addresses: true}, false},
		{"a name that only looks alike", bridge.HostChange{Links: true, Devices: []int{13}, Names: names("vif1")}, false},
		{"a tunnel of somebody", bridge.HostChange{Links: true, Devices: []int{14}, Names: names("tap0")}, false},
	} {
		assert.Equal(t, tc.only, g.only(tc.change), tc.what)
	}
}

// Of two devices and one name, the known guest accounts for its own index alone.
func TestGuestsOfWhichOneIsKnown(t *testing.T) {
	g := guestIndexes{}
	assert.True(t, g.only(bridge.HostChange{Links: true, Devices: []int{7}, Names: []bridge.Name{"vif1.0"}}))
	assert.False(t, g.only(bridge.HostChange{Links: true, Addresses: true, Devices: []int{7, 8}, Names: []bridge.Name{"vif1.0"}}),
		"the name is that of 7, so 8 is somebody else")
	for i := range guestsAtMost + 10 {
		g.only(bridge.HostChange{Links: true, Devices: []int{100 + i}, Names: []bridge.Name{"vif1.0"}})
	}
	assert.LessOrEqual(t, len(g), guestsAtMost+1)
}
