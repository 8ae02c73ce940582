package network

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"vifplug/bridge"
)

func TestGuestsOf(t *testing.T) {
	alias := func(text string) bridge.Settings { return bridge.Settings{bridge.KeyAlias: text} }
	h := bridge.Host{Devices: []bridge.Device{
		{Name: "eth0"},
		{Name: "vif23.0", Settings: alias(PortAlias("web01", 23, 0, "guests"))},
		{Name: "vif23.0-emu", Kind: "tun", Settings: alias(TapAlias("web01", 23, 0, "guests", ""))},
		{Name: "tap23.1", Kind: "tun", Settings: alias(TapAlias("web01", 23, 1, NoBridge, ""))},
		{Name: "db", Settings: alias(PortAlias("db (1)", 24, 3, "xenbr0"))},
		{Name: "4b", Settings: alias("vifplug: network guests (4)")},
		{Name: "vif25.0", Settings: alias("somebody's")},
	}}
	assert.Equal(t, []Guest{
		{Domain: "web01", ID: 23, Device: "vif23.0", Network: "guests"},
		{Domain: "web01", ID: 23, Device: "vif23.0-emu", Tap: true, Network: "guests"},
		{Domain: "web01", ID: 23, NIC: 1, Device: "tap23.1", Tap: true},
		{Domain: "db (1)", ID: 24, NIC: 3, Device: "db", Network: "xenbr0"},
	}, GuestsOf(h))
}
