package network

import (
	"fmt"
	"slices"

	"vifplug/bridge"
)

// wantLink wants the port that a network is on, unless it is a bond, or another network's already.
func (g *goal) wantLink(n *Network) {
	w := g.by[n.On]
	switch {
	case n.On == "":
		return
	case w == nil && g.have.device(n.On) == nil:
		g.note("%s, on which %s stands, does not exist: the rest of the network is made when it appears", n.On, networkText(n))
		return
	case w == nil:
		w = g.want(&wanted{name: n.On, networks: g.standingOn(n.On), set: bridge.Settings{bridge.KeyUp: "1"}})
		w.why = standText(w.networks)
	}
	if n.VLAN == 0 {
		g.uplink(w, n)
	}
}

// uplink has a device carry a network: as the port of its bridge, or by itself. Of two networks on one segment the one with a bridge decides.
func (g *goal) uplink(w *wanted, n *Network) {
	switch {
	case w.mastered && w.master != "" && n.HasBridge():
		g.refuse("%s cannot be a port of %s for %s, for it is one of %s", w.name, n.ID, networkText(n), w.master)
		return
	case w.mastered && w.master != "":
		return
	}
	w.mastered, w.master = true, n.BridgeName()
	if n.HasBridge() && n.VLANFiltering {
		w.vlans = trunk(n)
	}
}

// trunk is what the uplink of a VLAN-filtering bridge takes part in: all VLANs, and untagged the one of untagged frames.
func trunk(n *Network) []bridge.PortVLAN {
	var t vlanTable
	pvid := 1
	if v, declared := n.Bridge["default_pvid"]; declared {
		_, _ = fmt.Sscan(v, &pvid)
	}
	for id := 1; id < len(t); id++ {
		t[id].in, t[id].pvid, t[id].untagged = true, id == pvid, id == pvid
	}
	return t.list()
}

// wantSegment wants a network's VLAN device. One that exists under another name is it.
func (g *goal) wantSegment(n *Network) {
	if n.On == "" || n.VLAN == 0 || g.by[n.On] == nil {
		return
	}
	name := g.segment(n)
	if known := g.by[name]; known != nil && known.kind == "vlan" {
		known.networks = append(known.networks, n)
		g.uplink(known, n)
		return
	}
	w := g.want(&wanted{name: name, kind: "vlan", on: n.On, vlan: n.VLAN, networks: []*Network{n}, why: standText([]*Network{n})})
	w.set[bridge.KeyUp] = "1"
	if w.ours {
		w.set[bridge.KeyAlias] = NetworkAlias(n)
	}
	g.uplink(w, n)
}

// segment is the name of the device that a network stands on; "" where it stands on nothing.
func (g *goal) segment(n *Network) bridge.Name {
	if n.VLAN != 0 {
		for _, upper := range g.have.uppers[n.On] {
			if d := g.have.device(upper); d.Kind == "vlan" && d.VLAN == n.VLAN {
				return upper
			}
		}
	}
	return n.Segment()
}

// holder is the device that a network's addresses live on: the top of what it is built of; "" where there is none yet.
func (g *goal) holder(n *Network) bridge.Name {
	if n.HasBridge() {
		return n.ID
	}
	if name := g.segment(n); g.by[name] != nil {
		return g.top(name)
	}
	return ""
}

// top climbs from a device to the last that it is, or will be, a port of.
func (g *goal) top(name bridge.Name) bridge.Name {
	for range 4 {
		w := g.by[name]
		if w == nil || !w.mastered || w.master == "" {
			return name
		}
		name = w.master
	}
	return name
}

func (g *goal) wantBridge(n *Network) {
	if !n.HasBridge() {
		return
	}
	w := g.want(&wanted{name: n.ID, kind: "bridge", networks: []*Network{n}, why: networkText(n) + " is for guests"})
	w.set[bridge.KeyUp] = "1"
	g.bridgeOptions(w, n)
	if w.ours {
		w.set[bridge.KeyAlias] = NetworkAlias(n)
	}
}

// bridgeOptions are, of a bridge of ours, all that a network means; of another's only what is declared.
func (g *goal) bridgeOptions(w *wanted, n *Network) {
	was := g.before(n)
	if was != nil {
		for key := range was.Bridge {
			if o := bridge.BridgeOption(key); o != nil {
				w.set[key] = o.Default
			}
		}
	}
	if w.ours {
		w.set["stp_state"], w.set["forward_delay"] = "0", "0"
		if on(n.Bridge["stp_state"]) {
			w.set["forward_delay"] = "15" // IEEE 802.1D's, as the kernel has it
		}
	}
	switch {
	case n.VLANFiltering:
		w.set["vlan_filtering"] = "1"
	case (w.ours || was != nil && was.VLANFiltering) && w.have != nil && w.have.Settings["vlan_filtering"] == "1":
		w.set["vlan_filtering"] = "0" // a kernel without it refuses even this
	}
	for key, v := range n.Bridge {
		if o := bridge.BridgeOption(key); o != nil {
			w.set[key] = canonical(o, v)
		}
	}
}

// before is a network as it was declared: the one with the same bridge.
func (g *goal) before(n *Network) *Network {
	if g.in.Before == nil {
		return nil
	}
	for i := range g.in.Before.Networks {
		if b := &g.in.Before.Networks[i]; b.HasBridge() && b.ID == n.ID {
			return b
		}
	}
	return nil
}

// wantReleases wants those ports released that a bond or bridge has and must not have: of a bond all that are not declared, of a bridge those
// by which the network reached the wire before. A bridge's other ports are guests' and strangers'.
func (g *goal) wantReleases() {
	for _, m := range slices.Clone(g.devices) {
		if m.have == nil || m.kind != "bond" && m.kind != "bridge" {
			continue
		}
		for _, port := range g.have.ports[m.name] {
			d := g.have.device(port)
			if w := g.by[port]; w != nil && w.mastered {
				continue
			}
			switch {
			case m.kind == "bond":
				g.letGo(port, fmt.Sprintf("it is no declared port of %s", m.name))
			case isOurs(d) || g.wasUplink(port, m.name):
				g.letGo(port, fmt.Sprintf("%s stands on it no longer", networkText(m.networks[0])))
			}
		}
	}
}

func (g *goal) letGo(port bridge.Name, why string) {
	if w := g.by[port]; w != nil {
		w.mastered = true
		return
	}
	g.want(&wanted{name: port, mastered: true, why: why})
}

// wasUplink says that a bridge's port was declared to be its uplink.
func (g *goal) wasUplink(port, of bridge.Name) bool {
	was := g.before(&Network{ID: of})
	return was != nil && was.On != "" && g.segment(was) == port
}

// freeLinks has ports that carry networks of their own leave what is not declared: a bond's port cannot carry them, and a bridge that goes
// must not take them along.
func (g *goal) freeLinks() {
	for _, w := range g.devices {
		if w.mastered || w.have == nil || w.have.Master == "" {
			continue
		}
		m := g.have.device(w.have.Master)
		w.mastered = m != nil && m.Kind == "bond" || g.going[w.have.Master]
	}
}
