package hotplug

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vifplug/bridge"
)

// Facts are what one observation saw of a NIC: all that [Decide] may know of the world.
type Facts struct {
	Key         Key
	Node        *Node             // nil: there is no backend node
	NodeProblem error             // the first value in the node that fits no grammar
	Link        *bridge.Link      // nil: there is no netdev
	Addresses   []netip.Prefix    // on the netdev
	Bridge      *bridge.Link      // the device that the node's bridge names; nil: there is none
	VLANs       []bridge.PortVLAN // that the netdev takes part in as a port of Bridge, where that filters VLANs
	NameOwner   *bridge.Link      // another device that already has the wanted vifname
	Master      string            // name of the netdev's present master, "" for none
	KernelError string            // netback's own error text for the device, "" for none
	Domain      Domain            // whose NIC it is, as far as the store tells
	Awaited     bool              // somebody waits until the port is plugged
	Guard       bool              // the guest's frames are to be held to the node's MAC address
	Guarded     bool              // they are
	Elsewhere   bool              // of a tap that is not here: it is not to be
}

// wantedName is the name that the device is to have; "" for the one that it was made with.
func (f *Facts) wantedName() bridge.Name {
	if f.Node == nil || f.Node.VIFName == "" || !f.Key.Tap {
		return f.vifname()
	}
	return f.Node.VIFName + emuSuffix
}

func (f *Facts) vifname() bridge.Name {
	if f.Node == nil {
		return ""
	}
	return f.Node.VIFName
}

// Memory is what the engine remembers of a NIC between observations. All of it may be lost; then the NIC is adopted as it stands.
type Memory struct {
	State        State
	Ifindex      int       // of the netdev that was plugged; 0: none was, by this process
	MTU          int       // that was set at plugging where the node names none
	VLAN         int       // that the node named when the port was given it; 0: none
	NetdevSince  time.Time // since when the netdev is awaited
	BridgeSince  time.Time // since when the bridge is awaited
	OfflineAsked bool      // the toolstack ran `vif-plug offline`
	Clamped      int       // ifindex of a netdev that refused an MTU above Ethernet's; 0: none did
}

// Decision is what to do about a NIC.
type Decision struct {
	State  State         // the state after the steps have succeeded
	Reason *Reason       // why it is not plugged, or what is awaited
	Final  bool          // whoever waits for the NIC need not wait longer: tell the toolstack by hotplug-error
	Steps  []Step        // in order; the first that fails ends them
	Again  time.Duration // look again after this time even if nothing changes; 0: no need
	Memory Memory        // to remember; its State is still the old one
	Notes  []string      // worth showing, not worth failing
}

// Decide is the engine's whole judgement, a pure function: what to do about the NIC of these facts, now. Facts that are right already give
// no steps; doing the steps and observing again gives facts that are right.
func Decide(f Facts, m Memory, now time.Time, p Policy) Decision {
	if f.Key.Tap {
		return decideTap(f, m, now, p)
	}
	d := Decision{Memory: m}
	switch {
	case f.Node == nil && (f.Link == nil || m.State == Absent): // a netdev that no node ever named is not ours to judge
		d.State = Gone
		d.Memory = Memory{}
		return d
	case f.Node == nil:
		// A store that lost its content (a restarted xenstored) looks just like this. The kernel takes a netdev away by itself, so the
		// absence of a node is never an order to unplug.
		d.State, d.Reason = Draining, because(CodeBackendGone, "the backend node is gone, the device %s is still there and is left as it is", f.Link.Name)
		return d
	case f.Node.draining():
		return decideDraining(f, d)
	case f.Node.leftTo(p.LeaveScripts):
		d.State, d.Reason = Seen, because(CodeOtherScript, "left to its own script %s", printable(f.Node.scriptName(), 64))
		d.Final = true
		return d
	case f.NodeProblem != nil:
		return d.fail(because(CodeNodeInvalid, "%v", f.NodeProblem))
	}
	if strings.HasPrefix(f.Node.scriptName(), "vif-bridge") {
		d.Notes = append(d.Notes, "the toolstack also runs "+printable(f.Node.Script, 200)+" for this NIC: say script=vif-plug instead")
	}
	if f.Link == nil {
		return decideNetdevMissing(f, d, now, p)
	}
	d.Memory.NetdevSince = time.Time{}
	if f.Node.State < StateInitWait {
		// A netdev without a ready backend may be anybody's with a vif-like name.
		d.State, d.Reason = Seen, because(CodeBackendWait, "netback has not set the device up yet (state %d, %v)", uint8(f.Node.State), f.Node.State)
		return d
	}
	return decidePort(f, d, now, p)
}

// decidePort judges a device that is there, and that is to be a port.
func decidePort(f Facts, d Decision, now time.Time, p Policy) Decision {
	if r := objection(f, d.Memory); r != nil {
		if f.Master != "" && (r.Code == CodeNetworkRole || r.Code == CodeNetworkVLAN) {
			d.Notes = append(d.Notes, "its port stays on "+f.Master+" until the NIC is moved or detached")
		}
		return d.fail(r)
	}
	if f.Bridge == nil {
		return decideBridgeMissing(f, d, now, p)
	}
	d.Memory.BridgeSince = time.Time{}
	return decidePlug(f, d)
}

func (d Decision) fail(r *Reason) Decision {
	d.State, d.Reason, d.Final = Failed, r, true
	return d
}

// onlyMarks says that nothing but marks is to be written.
func (d Decision) onlyMarks() bool {
	return len(d.Steps) > 0 && !slices.ContainsFunc(d.Steps, func(s Step) bool { return !s.marks() && s.Op != OpVerify })
}

func decideDraining(f Facts, d Decision) Decision {
	d.State = Draining
	if f.Link == nil || f.Link.Master == 0 {
		return d
	}
	// netback takes the netdev away once the guest has closed; a port that outlives that, or whose toolstack asks, is released here.
	if f.Node.State == StateClosed || d.Memory.OfflineAsked {
		d.Steps = releaseSteps(f)
	}
	return d
}

func releaseSteps(f Facts) []Step {
	return []Step{linkStep("take the port down", bridge.Change{Up: ptr(false)}), linkStep("release the port from "+f.Master, bridge.Change{Master: ptr(0)})}
}

func decideNetdevMissing(f Facts, d Decision, now time.Time, p Policy) Decision {
	if f.KernelError != "" {
		return d.fail(because(CodeKernelError, "netback made no device: %s", f.KernelError))
	}
	if f.Node.State < StateInitWait {
		d.State, d.Memory.NetdevSince = Seen, time.Time{}
		d.Reason = because(CodeBackendWait, "netback has not set the device up yet (state %d, %v)", uint8(f.Node.State), f.Node.State)
		return d
	}
	if d.Memory.NetdevSince.IsZero() {
		d.Memory.NetdevSince = now
	}
	left := p.NetdevWait - now.Sub(d.Memory.NetdevSince)
	if left <= 0 {
		return d.fail(because(CodeNetdevMissing, "the device %s did not appear within %v of netback's state %d", f.Key.VIF(), p.NetdevWait, uint8(f.Node.State)))
	}
	d.State, d.Again = Seen, left
	d.Reason = because(CodeNetdevMissing, "waiting for the device %s, which netback has announced", f.Key.VIF())
	return d
}

// objection finds what stands against plugging whatever the bridge does.
func objection(f Facts, m Memory) *Reason {
	n, l := f.Node, f.Link
	switch {
	case n.Bridge == "":
		return because(CodeNoBridgeNamed, "the backend node names no bridge")
	case n.Network != nil && !n.Network.Guests:
		return n.Network.Refusal()
	case f.Bridge != nil && f.Bridge.Kind != "bridge":
		return because(CodeNotABridge, "%s is not a Linux bridge but %s", f.Bridge.Name, kindText(f.Bridge))
	case n.VLAN != 0 && f.Bridge != nil && !f.Bridge.Filtering:
		return noVLAN(f)
	case f.wantedName() != "" && l.Name != f.wantedName() && f.NameOwner != nil:
		return because(CodeNameTaken, "the wanted name %s belongs to another device (%s)", f.wantedName(), kindText(f.NameOwner))
	case n.MTU != 0 && l.MaxMTU > 0 && n.MTU > l.MaxMTU:
		return because(CodeMTUTooBig, "MTU %d does not fit %s, which takes at most %d", n.MTU, l.Name, l.MaxMTU)
	case l.Master != 0 && (f.Bridge == nil || l.Master != f.Bridge.Index) && !ours(l, m):
		return because(CodePortElsewhere, "%s is a port of %s, and not by vifplug", l.Name, f.Master)
	}
	return nil
}

// noVLAN says why the node's VLAN cannot be had. A network that declares filtering may have a bridge that does not do so yet, or no longer.
func noVLAN(f Facts) *Reason {
	if n := f.Node.Network; n != nil {
		if r := n.NoVLAN(f.Node.VLAN); r != nil {
			return r
		}
	}
	return because(CodeNetworkVLAN, "the bridge %s does not filter VLANs, so that a NIC cannot have VLAN %d there", f.Bridge.Name, f.Node.VLAN)
}

func kindText(l *bridge.Link) string {
	if l.Kind == "" {
		return "a device without a kind (hardware)"
	}
	return "a device of kind " + l.Kind
}

// aliasPrefix marks in the kernel what vifplug made its own (design.md, promise 3).
const aliasPrefix = "vifplug:"

func ours(l *bridge.Link, m Memory) bool {
	return m.Ifindex == l.Index || strings.HasPrefix(l.Alias, aliasPrefix)
}

func decideBridgeMissing(f Facts, d Decision, now time.Time, p Policy) Decision {
	if d.Memory.BridgeSince.IsZero() {
		d.Memory.BridgeSince = now
	}
	left := p.BridgeWait - now.Sub(d.Memory.BridgeSince)
	if left <= 0 {
		return d.fail(because(CodeBridgeMissing, "the bridge %s does not exist", missingText(f.Node)))
	}
	d.State, d.Again = Ready, left
	d.Reason = because(CodeBridgeMissing, "waiting for the bridge %s, which does not exist", missingText(f.Node))
	return d
}

// missingText names a bridge that is not there.
func missingText(n *Node) string {
	if n.Network != nil {
		return fmt.Sprintf("%s of network %v", n.Network.ID, n.Network)
	}
	return n.Bridge
}

// decidePlug gives the steps from what is to what should be, in the order of design.md: rename, port flags, MAC, MTU, master, up, read back,
// tell the guest its MTU, hotplug-status. A NIC that is right has none.
func decidePlug(f Facts, d Decision) Decision {
	steps, mtu, notes := portSteps(f, d.Memory)
	d.Notes = append(d.Notes, notes...)
	if len(steps) > 0 {
		steps = append(steps, Step{Op: OpVerify, Text: verifyText})
	}
	if !f.Key.Tap && (f.Node.Status != statusConnected || (len(steps) > 0 && f.Link.Master != f.Bridge.Index) || mtu != f.Link.MTU && mtu != d.Memory.MTU) {
		steps = append(steps, Step{Op: OpConnect, Text: "tell the guest its MTU, write hotplug-status = connected"})
	}
	d.Memory.Ifindex, d.Memory.MTU = f.Link.Index, mtu
	if f.Node.VLAN != 0 || !slices.ContainsFunc(steps, func(s Step) bool { return s.Op == OpVLAN }) {
		d.Memory.VLAN = f.Node.VLAN
	}
	d.State, d.Steps = Plugged, steps
	return d
}

const statusConnected = "connected"

// portMAC is the address of every vif in dom0: the highest there is, so that a bridge never adopts it as its own (xen: xen-network-common.sh).
var portMAC = bridge.MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}

// portSteps compares the port with what it should be. The returned MTU is what the port has after the steps.
func portSteps(f Facts, m Memory) (steps []Step, mtu int, notes []string) {
	l, name := f.Link, f.wantedName()
	add := func(text string, c bridge.Change) { steps = append(steps, linkStep(text, c)) }
	if name != "" && l.Name != name {
		if l.Up {
			add("take the device down to rename it", bridge.Change{Up: ptr(false)})
		}
		add(fmt.Sprintf("rename %s to %s", l.Name, name), bridge.Change{Name: name})
	}
	for _, a := range f.Addresses {
		steps = append(steps, Step{Op: OpFlush, Address: a, Text: "remove the address " + a.String()})
	}
	if !l.NoAddrGen {
		// A bridge takes router advertisements before IPv6 sees them, but a port may leave its bridge.
		steps = append(steps, Step{Op: OpIgnoreRA, Text: "ignore router advertisements"})
		add("no IPv6 address of its own", bridge.Change{NoAddrGen: true})
	}
	if l.MAC != portMAC {
		add(fmt.Sprintf("MAC %v (was %v)", portMAC, l.MAC), bridge.Change{MAC: &portMAC})
	}
	mtu, note := wantedMTU(f, m)
	if note != "" {
		notes = append(notes, note)
	}
	if mtu != l.MTU {
		add(fmt.Sprintf("MTU %d (was %d)", mtu, l.MTU), bridge.Change{MTU: mtu})
	}
	if f.Guard && !f.Guarded {
		steps = append(steps, Step{Op: OpGuard, Text: "let through frames from " + f.Node.MAC + " alone"})
	}
	steps = append(steps, placeSteps(f, m)...)
	if !l.Up || slices.ContainsFunc(steps, Step.takesDown) {
		add("up", bridge.Change{Up: ptr(true)})
	}
	return steps, mtu, notes
}

// wantedMTU is the node's MTU, or at plugging the bridge's. A port that stands keeps its own where the node names none, since a bridge's MTU
// follows its smallest port. A declared network's bridge does not, so its ports follow it. A guest without scatter-gather holds its netdev at 1500, which is not fought (linux: xen-netback clamps at connect).
func wantedMTU(f Facts, m Memory) (mtu int, note string) {
	mtu, note = askedMTU(f, m)
	if m.Clamped == f.Link.Index && mtu > ethernetMTU && mtu != f.Link.MTU {
		mtu, note = ethernetMTU, clampNote(mtu)
	}
	if b := f.Bridge; note == "" && b.MTU > 0 && mtu > b.MTU {
		note = fmt.Sprintf("MTU %d is more than the %d of its bridge %s, which is the narrow link: longer frames are lost there", mtu, b.MTU, b.Name)
	}
	return mtu, note
}

func askedMTU(f Facts, m Memory) (mtu int, note string) {
	n, l := f.Node, f.Link
	standing := l.Master == f.Bridge.Index && (f.Key.Tap || n.Status == statusConnected)
	clamped := !f.Key.Tap && n.State == StateConnected && l.MTU == ethernetMTU // perhaps
	switch {
	case n.MTU != 0 && standing && clamped && n.MTU > ethernetMTU:
		return l.MTU, clampNote(n.MTU)
	case n.MTU != 0:
		return n.MTU, ""
	case n.Network != nil:
	case standing && m.Ifindex == l.Index && m.MTU != 0 && !clamped:
		return m.MTU, ""
	case standing:
		return l.MTU, ""
	}
	mtu = f.Bridge.MTU
	if l.MaxMTU > 0 && mtu > l.MaxMTU {
		return l.MaxMTU, fmt.Sprintf("the bridge's MTU %d does not fit the device, which takes at most %d", mtu, l.MaxMTU)
	}
	return mtu, ""
}

// ethernetMTU is where netback holds a guest without scatter-gather.
const ethernetMTU = 1500

func clampNote(want int) string {
	return fmt.Sprintf("the guest takes no scatter-gather, so netback holds the MTU at %d instead of %d", ethernetMTU, want)
}

func ptr[T any](v T) *T { return &v }
