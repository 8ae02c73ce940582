package network

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

func TestStepsInWords(t *testing.T) {
	route := &bridge.Route{To: prefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.1"), Device: "4b", Table: mainTable}
	for want, s := range map[string]Step{
		"create bridge 4B, MTU 1500, VLAN filtering: why":   {Op: OpCreate, Device: "4B", Reason: "why", Create: &Create{Kind: "bridge", Settings: bridge.Settings{"mtu": "1500", "vlan_filtering": "1"}}},
		"create bond bond0, 802.3ad":                        {Op: OpCreate, Device: "bond0", Create: &Create{Kind: "bond", Settings: bridge.Settings{"mode": "802.3ad"}}},
		"create vlan a.5, VLAN 5 on a, port of b":           {Op: OpCreate, Device: "a.5", Create: &Create{Kind: "vlan", On: "a", VLAN: 5, Master: "b"}},
		"delete vlan a.5":                                   {Op: OpDelete, Device: "a.5", Create: &Create{Kind: "vlan"}},
		"delete a":                                          {Op: OpDelete, Device: "a"},
		"set a up":                                          {Op: OpSet, Device: "a", Set: bridge.Settings{"up": "1"}},
		"set a down":                                        {Op: OpSet, Device: "a", Set: bridge.Settings{"up": "0"}},
		`set a alias "x y" mtu 9000`:                        {Op: OpSet, Device: "a", Set: bridge.Settings{"mtu": "9000", "alias": "x y"}},
		"make a a port of b":                                {Op: OpMaster, Device: "a", Master: "b"},
		"release a":                                         {Op: OpMaster, Device: "a"},
		"add 10.0.0.1/24 to a":                              {Op: OpAddAddress, Device: "a", Address: &bridge.Address{Prefix: prefix("10.0.0.1/24")}},
		"delete 10.0.0.1/24 from a":                         {Op: OpDeleteAddress, Device: "a", Address: &bridge.Address{Prefix: prefix("10.0.0.1/24")}},
		"add default route via 10.0.0.1 on 4b":              {Op: OpAddRoute, Device: "4b", Route: route},
		"delete route to 10.9.0.0/16 on a metric 7 table 5": {Op: OpDeleteRoute, Device: "a", Route: &bridge.Route{To: prefix("10.9.0.0/16"), Device: "a", Metric: 7, Table: 5}},
		"add VLANs 2-4094 to port a":                        {Op: OpAddVLAN, Device: "a", PortVLAN: &bridge.PortVLAN{From: 2, To: 4094}},
		"delete VLAN 1 untagged from port a":                {Op: OpDeleteVLAN, Device: "a", PortVLAN: &bridge.PortVLAN{From: 1, To: 1, Untagged: true}},
	} {
		assert.Equal(t, want, s.String())
		text, err := json.Marshal(s)
		require.NoError(t, err)
		var again Step
		require.NoError(t, json.Unmarshal(text, &again))
		assert.Equal(t, want, again.String(), "a step can be kept in a file")
	}
}

func TestDifferencesInWords(t *testing.T) {
	for want, d := range map[string]Difference{
		"4b: the bridge is missing": {Device: "4b", What: whatMissing, Want: "bridge"},
		"4b: the bridge is left over, for nothing that is declared stands on it": {Device: "4b", What: whatLeftOver, Have: "bridge"},
		"4b: is a bond, declared a bridge":                                       {Device: "4b", What: whatKind, Want: "bridge", Have: "a bond"},
		"a: is a port of b, declared of c":                                       {Device: "a", What: whatMaster, Want: "c", Have: "b"},
		"a: is no port of c":                                                     {Device: "a", What: whatMaster, Want: "c"},
		"a: is a port of b, declared of none":                                    {Device: "a", What: whatMaster, Have: "b"},
		"a: is down":                                                             {Device: "a", What: "up", Want: "1", Have: "0"},
		"a: mtu is 1500, declared 9000":                                          {Device: "a", What: "mtu", Want: "9000", Have: "1500"},
		"a: mtu is not set, declared 9000":                                       {Device: "a", What: "mtu", Want: "9000"},
		"a: alias is x, declared empty":                                          {Device: "a", What: "alias", Have: "x"},
		"a: 10.0.0.1/24 is missing":                                              {Device: "a", What: whatAddress, Want: "10.0.0.1/24"},
		"a: 10.0.0.1/24 does not belong there":                                   {Device: "a", What: whatAddress, Have: "10.0.0.1/24"},
		"a: default via 10.0.0.1 does not belong there: a DHCP client made it":   {Device: "a", What: whatRoute, Have: "default via 10.0.0.1", By: "a DHCP client"},
	} {
		assert.Equal(t, want, d.String())
	}
}

// The kernel notes who made a route: a DHCP client that puts its gateway beside the declared one is told of.
func TestDifferencesSayWho(t *testing.T) {
	gateway := netip.MustParseAddr("10.0.0.1")
	spec := Spec{Networks: []Network{{
		Number: 1, Name: "m", ID: "m", On: "eth0", Roles: ServerManagement, Address: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}, Gateway: []netip.Addr{gateway},
	}}}
	h := bareHost(1)
	plan, err := Make(Input{Want: spec, Have: h})
	require.NoError(t, err)
	for _, s := range plan.Steps {
		h, err = Simulate(h, s)
		require.NoError(t, err)
	}
	require.Empty(t, Compare(Input{Want: spec, Before: &spec, Have: h}))
	for i := range h.Routes {
		h.Routes[i].Via, h.Routes[i].Protocol = netip.MustParseAddr("10.0.0.9"), 16
	}
	var told []string
	for _, d := range Compare(Input{Want: spec, Before: &spec, Have: h}) {
		told = append(told, d.String())
	}
	assert.Contains(t, strings.Join(told, "\n"), "default route via 10.0.0.9 on eth0 does not belong there: a DHCP client made it")
}
