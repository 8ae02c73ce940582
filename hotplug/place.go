package hotplug

import (
	"cmp"
	"fmt"
	"strings"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// placeSteps are the steps that concern the port's place: its mark, its bridge, its VLAN there. A port gets its VLAN after it has joined, so
// one that is to have a VLAN of its own is down meanwhile: up, it would for a moment be in the bridge's default VLAN.
func placeSteps(f Facts, m Memory) (steps []Step) {
	l, joining, vlan := f.Link, f.Link.Master != f.Bridge.Index, wantedVLAN(f, m)
	tag := vlan != asItIs && (joining || !alone(f.VLANs, vlan))
	if joining && tag && f.Node.VLAN != 0 && l.Up {
		steps = append(steps, linkStep("take the port down until it has its VLAN", bridge.Change{Up: ptr(false)}))
	}
	if a := portAlias(f); l.Alias != a && markable(f, joining) {
		steps = append(steps, linkStep("mark it", bridge.Change{Alias: &a}))
	}
	if joining {
		steps = append(steps, linkStep(masterText(f), bridge.Change{Master: ptr(f.Bridge.Index)}))
	}
	if tag {
		steps = append(steps, Step{Op: OpVLAN, VLAN: vlan, Text: vlanText(vlan)})
	}
	return steps
}

// markable says whether the port's mark may be written: it is nobody else's. A port that stands unmarked was adopted, and stays as it is; the
// name of a domain that is just going is no news.
func markable(f Facts, joining bool) bool {
	mine := strings.HasPrefix(f.Link.Alias, aliasPrefix)
	return joining && (mine || f.Link.Alias == "") || mine && f.Domain.Name != ""
}

func masterText(f Facts) string {
	if f.Link.Master != 0 {
		return fmt.Sprintf("move from %s to %s", f.Master, f.Bridge.Name)
	}
	return fmt.Sprintf("put on %s", f.Bridge.Name)
}

// asItIs stands for the VLANs that the bridge, or somebody, has given the port.
const asItIs = -1

// wantedVLAN is the VLAN that the port is to take part in alone; 0: in none.
func wantedVLAN(f Facts, m Memory) int {
	n := f.Node
	switch {
	case !f.Bridge.Filtering:
		return asItIs
	case n.VLAN != 0:
		return n.VLAN
	case n.Network != nil:
		return n.Network.PVID
	case m.VLAN != 0 && f.Link.Master == f.Bridge.Index: // the node no longer names it
		return firstVLAN
	}
	return asItIs
}

// alone says that a port takes part in one VLAN, untagged both ways, and in no other; 0: in none.
func alone(have []bridge.PortVLAN, vlan int) bool {
	if vlan == 0 {
		return len(have) == 0
	}
	return len(have) == 1 && have[0] == ownVLAN(vlan)
}

// ownVLAN is how a port has a VLAN of its own.
func ownVLAN(vlan int) bridge.PortVLAN {
	return bridge.PortVLAN{From: vlan, To: vlan, PVID: true, Untagged: true}
}

func vlanText(vlan int) string {
	if vlan == 0 {
		return "take part in no VLAN"
	}
	return fmt.Sprintf("take part in VLAN %d alone, untagged", vlan)
}

// portAlias says whose port it is, within the kernel's 255 bytes (linux: IFALIASZ), as [network.ParseAlias] reads it. The name is dom0's text, but
// checked all the same.
func portAlias(f Facts) string {
	name := printable(f.Domain.Name, 64)
	if name == "" {
		name = "?"
	}
	on := cmp.Or(f.Node.networkName(), string(f.Bridge.Name))
	if f.Key.Tap {
		return network.TapAlias(name, uint16(f.Key.Front), int(f.Key.Device), on, string(madeFor(f.Link)))
	}
	return network.PortAlias(name, uint16(f.Key.Front), int(f.Key.Device), on)
}
