package network

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
)

// listed is a declaration's networks and devices as a person would note them.
func listed(s Spec) (out []string) {
	for i := range s.Networks {
		n := &s.Networks[i]
		out = append(out, fmt.Sprintf("%d %s: id %s, segment %s, bridge %s, addresses on %s", n.Number, n.Name, n.ID, n.Segment(), n.BridgeName(), n.Holder()))
	}
	return out
}

func TestResolveWorkedExample(t *testing.T) {
	s, err := Resolve(worked(t), nil)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"1 management: id 10.11.10.0, segment bond0, bridge , addresses on bond0",
		"2 heartbeat: id 6B20E9B, segment bond0.11, bridge , addresses on bond0.11",
		"3 migration: id 8A6CEAD, segment bond0.12, bridge , addresses on bond0.12",
		"4 guests: id 21D1F8E, segment bond0.13, bridge 21D1F8E, addresses on 21D1F8E",
		"5 production: id AB8E18E, segment bond1.21, bridge AB8E18E, addresses on AB8E18E",
		"6 test: id 9F86D08, segment bond1.22, bridge 9F86D08, addresses on 9F86D08",
		"7 backup: id 54D00D8, segment bond1.23, bridge 54D00D8, addresses on 54D00D8",
		"8 lab: id A51146D, segment bond2.31, bridge A51146D, addresses on A51146D",
	}, listed(s))
}

func TestResolve(t *testing.T) {
	guests := func(name string, id bridge.Name) Network {
		return Network{Name: name, ID: id, On: "eth0", Roles: VirtualMachine}
	}
	for name, tc := range map[string]struct {
		networks []Network
		kept     map[string]bridge.Name
		want     []bridge.Name
	}{
		"declared":                      {[]Network{guests("a", "4b")}, map[string]bridge.Name{"a": "old"}, []bridge.Name{"4b"}},
		"kept":                          {[]Network{guests("a", "")}, map[string]bridge.Name{"a": "old"}, []bridge.Name{"old"}},
		"another declares what it kept": {[]Network{guests("a", ""), guests("b", "old")}, map[string]bridge.Name{"a": "old"}, []bridge.Name{"CA97811", "old"}},
		"two kept the same":             {[]Network{guests("a", ""), guests("b", "")}, map[string]bridge.Name{"a": "old", "b": "old"}, []bridge.Name{"old", "3E23E81"}},
		"a port is called so":           {[]Network{guests("a", "")}, map[string]bridge.Name{"a": "eth0"}, []bridge.Name{"CA97811"}},
		"seven digits are taken":        {[]Network{guests("a", ""), guests("b", "CA97811")}, nil, []bridge.Name{"CA978112", "CA97811"}},
		"no subnet but IPv4's": {
			[]Network{{Name: "a", On: "bond0", Address: prefixes("fd00::1/64", "10.1.2.3/24")}, {Name: "b", On: "eth9", Address: prefixes("10.1.3.3/24")}},
			nil,
			[]bridge.Name{"10.1.2.0", "3E23E81"},
		},
		"a tagged network is not called by its subnet": {[]Network{{Name: "a", On: "bond0", VLAN: 5, Address: prefixes("10.1.2.3/24")}}, nil, []bridge.Name{"CA97811"}},
		"the subnet is taken":                          {[]Network{{Name: "a", On: "bond0", Address: prefixes("10.1.2.3/24")}, guests("b", "10.1.2.0")}, nil, []bridge.Name{"CA97811", "10.1.2.0"}},
	} {
		got, err := Resolve(Spec{Networks: tc.networks}, tc.kept)
		require.NoError(t, err, name)
		var ids []bridge.Name
		for i, n := range got.Networks {
			ids = append(ids, n.ID)
			assert.Equal(t, i+1, n.Number, name)
			assert.Zero(t, tc.networks[i].Number, "%s: what is given stays as it is", name)
		}
		assert.Equal(t, tc.want, ids, name)
	}
}

func TestResolveRefusesWhatIsTaken(t *testing.T) {
	_, err := Resolve(Spec{
		Bonds:    []Bond{{Name: "bond0", Ports: []bridge.Name{"eth0"}}},
		Networks: []Network{{Name: "a", ID: "bond0"}, {Name: "b", ID: "x"}, {Name: "c", ID: "x"}, {Name: "d", On: "bond0", VLAN: 5, ID: "bond0.5"}},
	}, nil)
	assert.EqualError(t, err, `network a: its id bond0 is the name of the bond bond0. Give it another
network c: its id x is the name of network b. Give it another
network d: its id bond0.5 is the name of the segment of VLAN 5 on bond0. Give it another`)
}

func TestResolveHasNoIdLeft(t *testing.T) {
	s := Spec{Networks: []Network{{Name: "a"}}}
	for _, id := range candidates(&s.Networks[0]) {
		s.Networks = append(s.Networks, Network{Name: "n" + string(id), ID: id})
	}
	_, err := Resolve(s, nil)
	assert.EqualError(t, err, "network a: every id that its name gives is taken. Declare one: id = \"...\"")
}

// Ids are legal, unique, of hexadecimal digits that are no decimal number, and the same on every host of a pool, whatever the order and whatever
// else is declared there, unless two names collide.
func TestResolveProperties(t *testing.T) {
	shape := regexp.MustCompile(`^[0-9A-F]{7,10}$`)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}[0-9]{0,3}`), 1, 30, rapid.ID[string]).Draw(t, "names")
		var s, other Spec
		for _, n := range names {
			s.Networks = append(s.Networks, Network{Name: n, Roles: VirtualMachine})
		}
		other.Networks = slices.Clone(s.Networks)
		slices.Reverse(other.Networks)
		got, err := Resolve(s, nil)
		require.NoError(t, err)
		there, err := Resolve(other, nil)
		require.NoError(t, err)
		seen := map[bridge.Name]bool{}
		kept := map[string]bridge.Name{}
		for _, n := range got.Networks {
			assert.Regexp(t, shape, n.ID)
			assert.Regexp(t, "[A-F]", n.ID)
			assert.False(t, seen[n.ID], "%s is there twice", n.ID)
			assert.Equal(t, n.ID, there.Network(n.Name).ID)
			seen[n.ID], kept[n.Name] = true, n.ID
		}
		again, err := Resolve(s, kept)
		require.NoError(t, err)
		assert.Equal(t, got, again)
		again, err = Resolve(got, nil)
		require.NoError(t, err)
		assert.Equal(t, got, again, "what is resolved stays")
	})
}

func TestNetworkByNameOrID(t *testing.T) {
	s := Spec{Bonds: []Bond{{Name: "bond0"}}, Networks: []Network{{Name: "a", ID: "b"}, {Name: "b", ID: "c"}, {Name: "d"}}}
	for text, want := range map[string]string{"a": "a", "b": "b", "c": "b", "d": "d"} {
		assert.Equal(t, want, s.Network(text).Name, text)
	}
	assert.Nil(t, s.Network("e"))
	assert.Nil(t, s.Network(""), "a network without an id is not meant by nothing")
	assert.Equal(t, &s.Bonds[0], s.Bond("bond0"))
	assert.Nil(t, s.Bond("bond1"))
}
