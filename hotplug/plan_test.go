package hotplug

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
)

// born is a NIC as netback leaves it: node in state 2, netdev down and on no bridge, its bridge there.
func born() Facts {
	return Facts{
		Key:    Key{Front: 5, Device: 0},
		Node:   &Node{State: StateInitWait, Online: true, Bridge: "xenbr0", Type: "vif", Script: "/etc/xen/scripts/vif-plug"},
		Link:   &bridge.Link{Index: 10, Name: "vif5.0", MAC: portMAC, MTU: 1500, MaxMTU: 65517},
		Bridge: &bridge.Link{Index: 3, Name: "xenbr0", Kind: "bridge", MTU: 1500},
		Domain: Domain{ID: 5, Name: "web01"},
	}
}

// settled is the same NIC after vifplug's work.
func settled() Facts {
	f := born()
	f.Node.State, f.Node.Status = StateConnected, statusConnected
	f.Link.Master, f.Link.Up, f.Link.NoAddrGen, f.Link.Alias, f.Master = 3, true, true, portAlias(f), "xenbr0"
	return f
}

func with(f Facts, change func(*Facts)) Facts {
	change(&f)
	return f
}

func text(d Decision) string {
	lines := []string{d.State.String()}
	if d.Reason != nil {
		lines[0] += " " + string(d.Reason.Code)
	}
	if d.Final {
		lines[0] += " final"
	}
	if d.Again > 0 {
		lines[0] += " again " + d.Again.String()
	}
	for _, s := range d.Steps {
		lines = append(lines, s.Text)
	}
	for _, n := range d.Notes {
		lines = append(lines, "note: "+n)
	}
	return strings.Join(lines, "\n")
}

var epoch = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// The numbers in the names are the rows of section 9 of the specification of Xen's hotplug.
func TestDecide(t *testing.T) {
	adopted := Memory{State: Plugged, Ifindex: 10, MTU: 1500}
	for _, c := range []struct {
		name string
		f    Facts
		m    Memory
		want string
	}{
		{"plain plug", born(), Memory{}, `plugged
ignore router advertisements
no IPv6 address of its own
mark it
put on xenbr0
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"28 right already", settled(), Memory{}, "plugged"},
		{"28 every live state is adopted", with(settled(), func(f *Facts) { f.Node.State = StateReconfigured }), Memory{}, "plugged"},
		{"28 connected but not plugged", with(settled(), func(f *Facts) { f.Link.Master, f.Master = 0, "" }), Memory{}, `plugged
put on xenbr0
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"1 state 2 without netdev", with(born(), func(f *Facts) { f.Link = nil }), Memory{}, "seen netdev-missing again 10s"},
		{"1 state 2 without netdev, too long", with(born(), func(f *Facts) { f.Link = nil }), Memory{NetdevSince: epoch.Add(-10 * time.Second)}, "failed netdev-missing final"},
		{"2 netdev with state 1", with(born(), func(f *Facts) { f.Node.State = StateInitialising }), Memory{}, "seen backend-not-ready"},
		{"2 netdev without node", with(born(), func(f *Facts) { f.Node, f.Bridge = nil, nil }), Memory{}, "gone"},
		{"22 node vanished under a plugged NIC", with(settled(), func(f *Facts) { f.Node, f.Bridge = nil, nil }), adopted, "draining backend-gone"},
		{"both gone", Facts{Key: Key{Front: 5, Device: 0}}, adopted, "gone"},
		{"4 rename, device down", with(born(), func(f *Facts) { f.Node.VIFName = "web-eth0" }), Memory{}, `plugged
rename vif5.0 to web-eth0
ignore router advertisements
no IPv6 address of its own
mark it
put on xenbr0
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"4 rename, device up", with(settled(), func(f *Facts) { f.Node.VIFName = "web-eth0" }), Memory{}, `plugged
take the device down to rename it
rename vif5.0 to web-eth0
up
read the port back`},
		{"5 the name is taken", with(born(), func(f *Facts) {
			f.Node.VIFName, f.NameOwner = "web-eth0", &bridge.Link{Index: 99, Name: "web-eth0", Kind: "vif"}
		}), Memory{}, "failed name-taken final"},
		{"3 renamed already", with(settled(), func(f *Facts) { f.Node.VIFName, f.Link.Name = "web-eth0", "web-eth0" }), Memory{}, "plugged"},
		{"8 bridge missing", with(born(), func(f *Facts) { f.Bridge = nil }), Memory{}, "ready bridge-missing again 30s"},
		{"8 bridge missing for 12 s", with(born(), func(f *Facts) { f.Bridge = nil }), Memory{BridgeSince: epoch.Add(-12 * time.Second)}, "ready bridge-missing again 18s"},
		{"8 bridge missing for too long", with(born(), func(f *Facts) { f.Bridge = nil }), Memory{BridgeSince: epoch.Add(-30 * time.Second)}, "failed bridge-missing final"},
		{"no bridge is guessed", with(born(), func(f *Facts) { f.Node.Bridge, f.Bridge = "", nil }), Memory{}, "failed no-bridge-named final"},
		{"10 not a bridge", with(born(), func(f *Facts) { f.Bridge.Kind = "bond" }), Memory{}, "failed not-a-bridge final"},
		{"10 not a bridge, hardware", with(born(), func(f *Facts) { f.Bridge.Kind = "" }), Memory{}, "failed not-a-bridge final"},
		{"11 a port elsewhere, not ours", with(born(), func(f *Facts) { f.Link.Master, f.Master = 7, "br7" }), Memory{}, "failed port-elsewhere final"},
		{"11 a port elsewhere, ours by mark", with(settled(), func(f *Facts) { f.Link.Master, f.Master = 7, "br7" }), Memory{}, `plugged
move from br7 to xenbr0
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"11 a port elsewhere, ours by memory", with(settled(), func(f *Facts) { f.Link.Master, f.Master, f.Link.Alias = 7, "br7", "somebody's" }), adopted, `plugged
move from br7 to xenbr0
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"17 the guest closed its side, online", with(settled(), func(f *Facts) { f.Node.State = StateClosed }), adopted, "plugged"},
		{"38 online 0", with(settled(), func(f *Facts) { f.Node.Online = false }), adopted, "draining"},
		{"38 online 0, closed, the port left behind", with(settled(), func(f *Facts) { f.Node.Online, f.Node.State = false, StateClosed }), adopted, `draining
take the port down
release the port from xenbr0`},
		{"offline asked", with(settled(), func(f *Facts) { f.Node.Online, f.Node.State = false, StateClosing }), Memory{State: Draining, OfflineAsked: true}, `draining
take the port down
release the port from xenbr0`},
		{"27 netdev made anew", with(settled(), func(f *Facts) {
			f.Link = &bridge.Link{Index: 11, Name: "vif5.0", MAC: portMAC, MTU: 1500, MaxMTU: 65517}
		}), adopted, `plugged
ignore router advertisements
no IPv6 address of its own
mark it
put on xenbr0
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{
			"29 the stock script acts too", with(settled(), func(f *Facts) { f.Node.Script = "/etc/xen/scripts/vif-bridge" }),
			Memory{},
			"plugged\nnote: the toolstack also runs /etc/xen/scripts/vif-bridge for this NIC: say script=vif-plug instead",
		},
		{"left to vif-route", with(born(), func(f *Facts) { f.Node.Script = "/etc/xen/scripts/vif-route-qubes" }), Memory{}, "seen other-script final"},
		{"33 MTU of the node", with(born(), func(f *Facts) { f.Node.MTU, f.Bridge.MTU = 9000, 9000 }), Memory{}, `plugged
ignore router advertisements
no IPv6 address of its own
MTU 9000 (was 1500)
mark it
put on xenbr0
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"33 MTU of the bridge", with(born(), func(f *Facts) { f.Bridge.MTU = 1400; f.Link.NoAddrGen = true }), Memory{}, `plugged
MTU 1400 (was 1500)
mark it
put on xenbr0
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{
			"33 the clamp is not fought", with(settled(), func(f *Facts) { f.Node.MTU = 9000 }), adopted,
			"plugged\nnote: the guest takes no scatter-gather, so netback holds the MTU at 1500 instead of 9000",
		},
		{"33 a netdev that refused is asked for no more", with(born(), func(f *Facts) { f.Node.MTU, f.Link.MTU, f.Link.NoAddrGen = 9000, 1400, true }), Memory{Clamped: 10}, `plugged
MTU 1500 (was 1400)
mark it
put on xenbr0
up
read the port back
tell the guest its MTU, write hotplug-status = connected
note: the guest takes no scatter-gather, so netback holds the MTU at 1500 instead of 9000`},
		{"33 MTU changed by the toolstack: the guest is told", with(settled(), func(f *Facts) { f.Node.MTU = 1400 }), adopted, `plugged
MTU 1400 (was 1500)
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{"33 MTU drift", with(settled(), func(f *Facts) { f.Node.MTU, f.Link.MTU = 9000, 1400 }), Memory{State: Plugged, Ifindex: 10, MTU: 9000}, `plugged
MTU 9000 (was 1400)
read the port back
note: MTU 9000 is more than the 1500 of its bridge xenbr0, which is the narrow link: longer frames are lost there`},
		{
			"33 the bridge follows its smallest port, the others do not", with(settled(), func(f *Facts) { f.Bridge.MTU = 1280 }), adopted,
			"plugged\nnote: MTU 1500 is more than the 1280 of its bridge xenbr0, which is the narrow link: longer frames are lost there",
		},
		{"33 MTU set at plugging is kept", with(settled(), func(f *Facts) { f.Link.MTU = 1280 }), adopted, "plugged\nMTU 1500 (was 1280)\nread the port back"},
		{"33 MTU above the device's", with(born(), func(f *Facts) { f.Node.MTU, f.Link.MaxMTU = 9000, 1500 }), Memory{}, "failed mtu-too-big final"},
		{"34 a MAC that the bridge would adopt", with(settled(), func(f *Facts) { f.Link.MAC = bridge.MAC{2, 0, 0, 0, 0, 1} }), adopted, `plugged
MAC fe:ff:ff:ff:ff:ff (was 02:00:00:00:00:01)
read the port back`},
		{"35 addresses on the port", with(settled(), func(f *Facts) { f.Addresses = []netip.Prefix{netip.MustParsePrefix("169.254.1.1/16")} }), adopted, `plugged
remove the address 169.254.1.1/16
read the port back`},
		{"set down", with(settled(), func(f *Facts) { f.Link.Up = false }), adopted, "plugged\nup\nread the port back"},
		{"6 a value that fits no grammar", with(born(), func(f *Facts) {
			f.NodeProblem = &Problem{Node: "vifname", Value: "a/b", Err: fmt.Errorf("has a slash")}
		}), Memory{}, "failed node-invalid final"},
		{"probe failure", with(born(), func(f *Facts) {
			f.Node.State, f.Link, f.KernelError = StateClosing, nil, "2 xenbus_dev_probe on backend/vif/5/0"
		}), Memory{}, "failed netback-error final"},
		{"alias of somebody else is kept", with(born(), func(f *Facts) { f.Link.Alias, f.Link.NoAddrGen = "mine", true }), Memory{}, `plugged
put on xenbr0
up
read the port back
tell the guest its MTU, write hotplug-status = connected`},
		{
			"an error of before is replaced", with(settled(), func(f *Facts) { f.Node.Status = "error" }), adopted,
			"plugged\ntell the guest its MTU, write hotplug-status = connected",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, text(Decide(c.f, c.m, epoch, DefaultPolicy())))
		})
	}
}

// Every reason has a remedy, and every sentence is one that can stand before it.
func TestReasonsHaveRemedies(t *testing.T) {
	for code, remedy := range remedies {
		r := because(code, "the cause")
		assert.Equal(t, "the cause. "+remedy, r.Error())
		assert.True(t, strings.HasSuffix(remedy, "."), remedy)
	}
}

// apply does to the facts what the kernel and the store would do.
func apply(f Facts, steps []Step) Facts {
	link := *f.Link
	f.Link = &link
	if f.Node != nil {
		node := *f.Node
		f.Node = &node
	}
	for _, b := range batches(steps) {
		switch b[0].Op {
		case OpLink:
			applyLink(&f, merged(b))
		case OpVLAN:
			f.VLANs = nil
			if b[0].VLAN != 0 {
				f.VLANs = []bridge.PortVLAN{ownVLAN(b[0].VLAN)}
			}
		case OpFlush:
			f.Addresses = without(f.Addresses, b[0].Address)
		case OpConnect:
			f.Node.Status = statusConnected
		}
	}
	return f
}

func applyLink(f *Facts, c bridge.Change) {
	if c.Name != "" {
		f.Link.Name = c.Name
	}
	if c.MAC != nil {
		f.Link.MAC = *c.MAC
	}
	if c.MTU != 0 {
		f.Link.MTU = c.MTU
	}
	if c.Alias != nil {
		f.Link.Alias = *c.Alias
	}
	if c.Master != nil {
		f.Link.Master, f.Master = *c.Master, ""
		if f.Bridge != nil && *c.Master == f.Bridge.Index {
			f.Master = string(f.Bridge.Name)
		}
	}
	if c.Up != nil {
		f.Link.Up = *c.Up
	}
	f.Link.NoAddrGen = f.Link.NoAddrGen || c.NoAddrGen
}

// Whatever the facts: doing what was decided and deciding again gives nothing more to do; a device is never renamed while it is up; nothing is
// up before it is on its bridge; and no decision speaks of another bridge than the node's.
func TestDecideSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFacts(t)
		m := Memory{State: State(rapid.IntRange(0, int(Failed)).Draw(t, "state"))}
		if rapid.Bool().Draw(t, "ours") {
			m.Ifindex, m.MTU = 10, rapid.SampledFrom([]int{0, 1500, 9000}).Draw(t, "set MTU")
		}
		d := Decide(f, m, epoch, DefaultPolicy())
		if len(d.Steps) == 0 {
			return
		}
		checkOrder(t, f, d.Steps)
		again := Decide(apply(f, d.Steps), d.Memory, epoch, DefaultPolicy())
		require.Empty(t, again.Steps, "first: %s\nthen: %s", text(d), text(again))
		require.Equal(t, d.State, again.State)
	})
}

func drawFacts(t *rapid.T) Facts {
	f := born()
	f.Node.State = XenbusState(rapid.IntRange(0, 8).Draw(t, "xenbus"))
	f.Node.Online = rapid.IntRange(0, 4).Draw(t, "online") > 0
	f.Node.MTU = rapid.SampledFrom([]int{0, 0, 1400, 1500, 9000}).Draw(t, "node MTU")
	f.Node.VIFName = bridge.Name(rapid.SampledFrom([]string{"", "", "web0"}).Draw(t, "vifname"))
	f.Node.Status = rapid.SampledFrom([]string{"", "connected", "error"}).Draw(t, "status")
	f.Link.Up = rapid.Bool().Draw(t, "up")
	f.Link.NoAddrGen = rapid.Bool().Draw(t, "addrgen")
	f.Link.MTU = rapid.SampledFrom([]int{1280, 1500, 9000}).Draw(t, "MTU")
	f.Link.MAC = rapid.SampledFrom([]bridge.MAC{portMAC, {2}}).Draw(t, "MAC")
	f.Link.Alias = rapid.SampledFrom([]string{"", "mine", "vifplug: x"}).Draw(t, "alias")
	f.Link.Master = rapid.SampledFrom([]int{0, 3, 7}).Draw(t, "master")
	f.Master = map[int]string{0: "", 3: "xenbr0", 7: "br7"}[f.Link.Master]
	f.Bridge.MTU = rapid.SampledFrom([]int{1400, 1500, 9000}).Draw(t, "bridge MTU")
	if rapid.Bool().Draw(t, "address") {
		f.Addresses = []netip.Prefix{netip.MustParsePrefix("fe80::1/64")}
	}
	return f
}

func checkOrder(t *rapid.T, f Facts, steps []Step) {
	up, master := f.Link.Up, f.Link.Master
	for _, s := range steps {
		if s.Op != OpLink {
			continue
		}
		if s.Change.Name != "" {
			require.False(t, up, "renamed while up")
		}
		if s.Change.Master != nil {
			master = *s.Change.Master
			require.Contains(t, []int{0, f.Bridge.Index}, master)
		}
		if s.Change.Up != nil {
			up = *s.Change.Up
			require.False(t, up && master != f.Bridge.Index, "up before it is on its bridge")
		}
	}
}

func TestBatchesKeepOrder(t *testing.T) {
	steps := []Step{
		linkStep("down", bridge.Change{Up: ptr(false)}), linkStep("rename", bridge.Change{Name: "a"}),
		linkStep("mac", bridge.Change{MAC: &portMAC}), linkStep("mtu", bridge.Change{MTU: 1400}), linkStep("master", bridge.Change{Master: ptr(3)}),
		linkStep("up", bridge.Change{Up: ptr(true)}),
		{Op: OpVerify, Text: "verify"},
		{Op: OpConnect, Text: "connect"},
	}
	var got []string
	for _, b := range batches(steps) {
		got = append(got, batchText(b))
	}
	assert.Equal(t, []string{"down", "rename", "mac, mtu, master", "up", "verify", "connect"}, got)
	c := merged(steps[2:5])
	assert.Equal(t, bridge.Change{MAC: &portMAC, MTU: 1400, Master: ptr(3)}, c)
}
