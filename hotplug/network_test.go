package hotplug

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// declared are the networks of these tests: management without a bridge, guests with one, a trunk whose bridge filters.
func declared() Networks {
	return Networks{
		{Number: 1, Name: "management", ID: "10.11.10.0", Roles: "server-management, storage", PVID: 1},
		{Number: 4, Name: "guests-of-the-second-floor", ID: "4B", Roles: "virtual-machine", Guests: true, PVID: 1},
		{Number: 5, Name: "trunk", ID: "5C", Roles: "virtual-machine", Guests: true, Filtering: true, PVID: 1, MTU: 9000},
	}
}

func TestNetworksOf(t *testing.T) {
	spec := network.Spec{Networks: []network.Network{
		{Name: "management", On: "bond0", Roles: network.ServerManagement | network.Storage},
		{Name: "guests", On: "bond0", VLAN: 13, Roles: network.VirtualMachine, ID: "4b", MTU: 1400},
		{
			Name: "trunk", On: "bond1", Roles: network.VirtualMachine, ID: "5c", VLANFiltering: true,
			Bridge: bridge.Settings{"default_pvid": "0"},
		},
	}}
	spec, err := network.Resolve(spec, nil)
	require.NoError(t, err)
	assert.Equal(t, Networks{
		{Number: 1, Name: "management", ID: spec.Networks[0].ID, Roles: "server-management, storage", PVID: 1},
		{Number: 2, Name: "guests", ID: "4b", Roles: "virtual-machine", Guests: true, MTU: 1400, PVID: 1},
		{Number: 3, Name: "trunk", ID: "5c", Roles: "virtual-machine", Guests: true, Filtering: true},
	}, NetworksOf(spec))
	assert.Empty(t, NetworksOf(network.Spec{}))
}

func TestFindNetwork(t *testing.T) {
	nets := append(declared(), Network{Number: 6, Name: "4B", ID: "6D"})
	for text, want := range map[string]int{
		"management": 1, "10.11.10.0": 1, "guests-of-the-second-floor": 4, "5C": 5, "trunk": 5, "4B": 6, "6D": 6,
		"": 0, "Trunk": 0, "xenbr0": 0,
	} {
		got := 0
		if n := nets.Find(text); n != nil {
			got = n.Number
		}
		assert.Equal(t, want, got, text)
	}
}

// A declared network may have a name that no device can have; only such names pass, and only as they are declared.
func TestParseNodeTakesDeclaredNames(t *testing.T) {
	n, err := parseNode(Key{Front: 5, Device: 0}, values("bridge", "guests-of-the-second-floor"), declared())
	require.NoError(t, err)
	assert.Equal(t, "4B", n.bridgeName())
	assert.Equal(t, "guests-of-the-second-floor", n.networkName())
	n, err = parseNode(Key{Front: 5, Device: 0}, values("bridge", "xenbr0"), declared())
	require.NoError(t, err)
	assert.Equal(t, "xenbr0", n.bridgeName())
	assert.Empty(t, n.networkName())
	_, err = parseNode(Key{Front: 5, Device: 0}, values("bridge", "guests-of-the-third-floor"), declared())
	require.ErrorContains(t, err, `backend node bridge = "guests-of-the-third-floor": names no declared network, and is no legal device name`)
}

// on gives the facts of a NIC whose bridge is a declared network's.
func on(f Facts, name string) Facts {
	f.Node.Network = declared().Find(name)
	f.Node.Bridge, f.Bridge.Name, f.Bridge.Filtering = name, f.Node.Network.ID, f.Node.Network.Filtering
	if f.Master != "" {
		f.Master = string(f.Bridge.Name)
		f.Link.Alias = portAlias(f)
	}
	return f
}

func own(vlans ...int) (out []bridge.PortVLAN) {
	for _, v := range vlans {
		out = append(out, ownVLAN(v))
	}
	return out
}

func TestDecideOnNetworks(t *testing.T) {
	const guests, trunk = "guests-of-the-second-floor", "trunk"
	adopted := Memory{State: Plugged, Ifindex: 10, MTU: 1500}
	for _, c := range []struct {
		name string
		f    Facts
		m    Memory
		want string
	}{
		{"by the network's name", on(born(), guests), Memory{}, `plugged
ignore router advertisements
no IPv6 address of its own
mark it
put on 4B
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"right already", on(settled(), guests), Memory{}, "plugged"},
		{"no role", with(on(born(), guests), func(f *Facts) { f.Node.Network = declared().Find("management") }), Memory{}, "failed network-role final"},
		{"no role, and no bridge", with(on(born(), guests), func(f *Facts) {
			f.Node.Network, f.Bridge = declared().Find("management"), nil
		}), Memory{}, "failed network-role final"},
		{"no role any more", with(on(settled(), guests), func(f *Facts) {
			f.Node.Network = &Network{Number: 4, Name: guests, ID: "4B", Roles: "storage"}
		}), adopted, "failed network-role final\nnote: its port stays on 4B until the NIC is moved or detached"},
		{"the bridge is not there yet", with(on(born(), guests), func(f *Facts) { f.Bridge = nil }), Memory{}, "ready bridge-missing again 30s"},
		{"the network has another name", with(on(settled(), guests), func(f *Facts) {
			f.Node.Network = &Network{Number: 4, Name: "guests", ID: "4B", Guests: true}
		}), adopted, "plugged\nmark it\nread the port back"},
		{"another name, but the guest is just going", with(on(settled(), guests), func(f *Facts) { f.Domain.Name = "" }), adopted, "plugged"},
		{"adopted without a mark", with(on(settled(), guests), func(f *Facts) { f.Link.Alias = "" }), Memory{}, "plugged"},
		{"the mark is somebody else's", with(on(settled(), guests), func(f *Facts) { f.Link.Alias = "mine" }), adopted, "plugged"},

		{"MTU follows a declared bridge down", with(on(settled(), guests), func(f *Facts) { f.Bridge.MTU = 1400 }), adopted, `plugged
MTU 1400 (was 1500)
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"MTU follows a declared bridge up", with(on(settled(), guests), func(f *Facts) { f.Bridge.MTU = 9000 }), adopted, `plugged
MTU 9000 (was 1500)
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{
			"MTU cannot follow", with(on(settled(), guests), func(f *Facts) { f.Bridge.MTU = 9000 }),
			Memory{State: Plugged, Ifindex: 10, MTU: 1500, Clamped: 10},
			"plugged\nnote: the guest takes no scatter-gather, so netback holds the MTU at 1500 instead of 9000",
		},
		{
			"MTU of the node against the narrow link", with(on(settled(), guests), func(f *Facts) { f.Node.MTU, f.Link.MTU, f.Bridge.MTU = 1500, 1500, 1400 }), adopted,
			"plugged\nnote: MTU 1500 is more than the 1400 of its bridge 4B, which is the narrow link: longer frames are lost there",
		},

		{"VLAN of its own", with(on(born(), trunk), func(f *Facts) { f.Node.VLAN, f.Link.NoAddrGen = 13, true }), Memory{}, `plugged
mark it
put on 5C
take part in VLAN 13 alone, untagged
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"VLAN, right already", with(on(settled(), trunk), func(f *Facts) { f.Node.VLAN, f.VLANs = 13, own(13) }), Memory{}, "plugged"},
		{
			"VLAN changed, standing", with(on(settled(), trunk), func(f *Facts) { f.Node.VLAN, f.VLANs = 14, own(13) }), adopted,
			"plugged\ntake part in VLAN 14 alone, untagged\nread the port back",
		},
		{
			"VLAN among others", with(on(settled(), trunk), func(f *Facts) { f.Node.VLAN, f.VLANs = 13, own(1, 13) }), adopted,
			"plugged\ntake part in VLAN 13 alone, untagged\nread the port back",
		},
		{
			"VLAN, but tagged", with(on(settled(), trunk), func(f *Facts) { f.Node.VLAN, f.VLANs = 13, []bridge.PortVLAN{{From: 13, To: 13}} }), adopted,
			"plugged\ntake part in VLAN 13 alone, untagged\nread the port back",
		},
		{"a port that is up is down until it has its VLAN", with(on(settled(), trunk), func(f *Facts) {
			f.Node.VLAN, f.Link.Master, f.Master = 13, 7, "br7"
		}), adopted, `plugged
take the port down until it has its VLAN
move from br7 to 5C
take part in VLAN 13 alone, untagged
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"no VLAN said: the bridge's own, no flap", with(on(settled(), trunk), func(f *Facts) { f.Link.Master, f.Master = 7, "br7" }), adopted, `plugged
move from br7 to 5C
take part in VLAN 1 alone, untagged
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"no VLAN said, the bridge has no VLAN of its own", with(on(settled(), trunk), func(f *Facts) {
			f.Node.Network = &Network{Number: 5, Name: "trunk", ID: "5C", Guests: true, Filtering: true}
			f.VLANs = own(1)
		}), adopted, "plugged\ntake part in no VLAN\nread the port back"},
		{
			"the node's VLAN was taken away", with(settled(), func(f *Facts) { f.Bridge.Filtering, f.VLANs = true, own(13) }),
			Memory{State: Plugged, Ifindex: 10, MTU: 1500, VLAN: 13},
			"plugged\ntake part in VLAN 1 alone, untagged\nread the port back",
		},
		{"a bridge that nobody declared: its VLANs are its owner's", with(settled(), func(f *Facts) { f.Bridge.Filtering, f.VLANs = true, own(30, 31) }), adopted, "plugged"},
		{"VLAN on a declared network that does not filter", with(on(born(), guests), func(f *Facts) { f.Node.VLAN = 13 }), Memory{}, "failed network-vlan final"},
		{"VLAN, the declared bridge does not filter yet", with(on(born(), trunk), func(f *Facts) { f.Node.VLAN, f.Bridge.Filtering = 13, false }), Memory{}, "failed network-vlan final"},
		{"VLAN on a bridge that does not filter", with(born(), func(f *Facts) { f.Node.VLAN = 13 }), Memory{}, "failed network-vlan final"},
		{"VLAN and no bridge yet", with(on(born(), trunk), func(f *Facts) { f.Node.VLAN, f.Bridge = 13, nil }), Memory{}, "ready bridge-missing again 30s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, text(Decide(c.f, c.m, epoch, DefaultPolicy())))
		})
	}
}

func TestNetworkSentences(t *testing.T) {
	nets := declared()
	assert.Equal(t, "network management (1) has the roles server-management, storage only; guests need a network with the virtual-machine role. "+
		"Name another network in the guest's vif line or by vifctl move, or give this one the role and apply.", nets[0].Refusal().Error())
	assert.Nil(t, nets[1].Refusal())
	assert.Equal(t, "network guests-of-the-second-floor (4) does not filter VLANs, so that a NIC cannot have VLAN 13 there", nets[1].NoVLAN(13).Cause)
	assert.Nil(t, nets[2].NoVLAN(13))
	f := with(on(born(), "trunk"), func(f *Facts) { f.Node.VLAN, f.Bridge.Filtering = 13, false })
	assert.Equal(t, "the bridge 5C does not filter VLANs, so that a NIC cannot have VLAN 13 there", Decide(f, Memory{}, epoch, DefaultPolicy()).Reason.Cause)
	f = with(on(born(), "trunk"), func(f *Facts) { f.Bridge = nil })
	assert.Equal(t, "waiting for the bridge 5C of network trunk (5), which does not exist", Decide(f, Memory{}, epoch, DefaultPolicy()).Reason.Cause)
	assert.Equal(t, "vifplug: domain web01 (5) eth0 on trunk", portAlias(on(born(), "trunk")))
	assert.Contains(t, on(born(), "trunk").String(), `bridge "trunk" (network trunk (5), bridge 5C)`)
}

// vlansOf is what the kernel in memory has of a port.
func (w *world) vlansOf(index int) []bridge.PortVLAN {
	v, _ := w.kernel.PortVLANs(index)
	return v
}

func (w *world) link(index int) bridge.Link {
	l, _ := w.kernel.Link(index)
	return l
}

// A NIC follows its node from network to network, the declaration's names, and says so.
func TestEngineServesNetworks(t *testing.T) {
	p := DefaultPolicy()
	p.Networks = declared()
	w := newWorld(t, func(c *Config) { c.Policy = p })
	br4 := w.kernel.bridge("4B")
	br5 := w.kernel.add(bridge.Link{Name: "5C", Kind: "bridge", MTU: 9000, Up: true, Filtering: true})
	port := w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("guests-of-the-second-floor")
	ev := w.next(NICPlugged)
	assert.Equal(t, []string{"4B", "guests-of-the-second-floor"}, []string{ev.Bridge, ev.Network})
	assert.Equal(t, br4, w.link(port).Master)
	x, _ := w.Explain("vif5.0")
	assert.Equal(t, "guests-of-the-second-floor", x.Network)
	assert.Contains(t, w.log.String(), "network=guests-of-the-second-floor")

	w.write(back+"/bridge", "trunk", back+"/vlan", "13")
	require.NoError(t, w.Follow(within(t, 20*time.Second), Key{Front: 5, Device: 0}))
	ev = w.next(NICChanged)
	assert.Equal(t, "trunk", ev.Network)
	l := w.link(port)
	assert.Equal(t, br5, l.Master)
	assert.Equal(t, 9000, l.MTU)
	assert.True(t, l.Up)
	assert.Equal(t, "9000", w.read(front+"/mtu"), "the guest is told")
	assert.Equal(t, own(13), w.vlansOf(port))

	w.write(back+"/vlan", "14")
	assert.Equal(t, "take part in VLAN 14 alone, untagged", w.next(NICChanged).Detail)
	w.eventually(func() bool { return assert.ObjectsAreEqual(own(14), w.vlansOf(port)) })

	// The declaration gives the network another name: its mark follows, and nothing is told.
	p.Networks = declared()
	p.Networks[2].Name = "all-vlans"
	w.write(back+"/bridge", "5C")
	w.SetPolicy(p)
	w.eventually(func() bool { return w.link(port).Alias == "vifplug: domain web01 (5) eth0 on all-vlans" })

	w.write(back+"/bridge", "management", back+"/vlan", "14")
	r := w.next(NICFailed).Reason
	assert.Equal(t, CodeNetworkRole, r.Code)
	w.eventually(func() bool { return w.read(back+"/hotplug-error") == r.Error() })
	assert.Equal(t, br5, w.link(port).Master, "it stays where it was")

	p.Networks = slices.Clone(p.Networks)
	p.Networks[0].Guests, p.Networks[0].Filtering = true, true
	mgmt := w.kernel.add(bridge.Link{Name: "10.11.10.0", Kind: "bridge", MTU: 1500, Up: true})
	w.SetPolicy(p)
	assert.Equal(t, CodeNetworkVLAN, w.next(NICFailed).Reason.Code)
	w.kernel.mu.Lock() // the bridge filters from now on, which the NIC hears
	l = w.kernel.links[mgmt]
	l.Filtering = true
	w.kernel.put(l)
	w.kernel.mu.Unlock()
	w.next(NICBack)
	assert.Equal(t, mgmt, w.link(port).Master)
}

// The bridge of a declared network appears later than the NIC that names the network.
func TestEngineWaitsForTheBridgeOfANetwork(t *testing.T) {
	p := DefaultPolicy()
	p.Networks = declared()
	w := newWorld(t, func(c *Config) { c.Policy = p })
	w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("guests-of-the-second-floor")
	w.eventually(func() bool { x, ok := w.Explain("vif5.0"); return ok && x.State == Ready })
	w.kernel.bridge("4B")
	w.next(NICPlugged)
	all, err := w.Bridges()
	require.NoError(t, err)
	var names []bridge.Name
	for _, b := range all {
		names = append(names, b.Name)
	}
	assert.ElementsMatch(t, []bridge.Name{"xenbr0", "4B"}, names)
}

// Who has changed the nodes is answered by what came of the change, not by how the NIC stood.
func TestFollowIsNotAnsweredByWhatWas(t *testing.T) {
	w := newWorld(t, nil)
	w.kernel.bridge("xenbr1")
	port := w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("xenbr0")
	require.NoError(t, w.Follow(within(t, 20*time.Second), Key{Front: 5, Device: 0}))
	for i := range 40 {
		name := []string{"xenbr1", "xenbr0"}[i%2]
		w.write(back+"/bridge", name)
		require.NoError(t, w.Follow(within(t, 20*time.Second), Key{Front: 5, Device: 0}))
		m, err := w.kernel.Link(w.link(port).Master)
		require.NoError(t, err)
		require.Equal(t, name, string(m.Name))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, w.Follow(ctx, Key{Front: 6, Device: 0}))
}

func TestNetworkInJSON(t *testing.T) {
	b, err := json.Marshal(NICStatus{VIF: "vif5.0", Network: "guests", Backend: &BackendStatus{VLAN: 13}})
	require.NoError(t, err)
	for _, want := range []string{`"network":"guests"`, `"vlan":13`} {
		assert.True(t, strings.Contains(string(b), want), "%s", b)
	}
}
