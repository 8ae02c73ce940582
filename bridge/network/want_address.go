package network

import (
	"fmt"
	"net/netip"
	"slices"

	"vifplug/bridge"
)

// wantAddresses says where each address of the host belongs: a declared one on its network's top device; any other where it is, or, when that
// device becomes a port or goes, on what takes its place.
func (g *goal) wantAddresses() {
	declared := g.declared(&g.in.Want)
	before := map[netip.Prefix]bridge.Name{}
	if g.in.Before != nil {
		before = g.declared(g.in.Before)
	}
	for i := range g.have.devices {
		d := &g.have.devices[i]
		for _, a := range d.Addresses {
			holder, is := declared[a.Prefix]
			_, was := before[a.Prefix]
			switch {
			case d.Loopback || isGuests(d) || is && holder == "":
				g.keep(d.Name, a)
			case is:
				g.keep(holder, a)
			case was || a.Protocol == bridge.OwnProtocol:
				g.drop(d.Name, a.Prefix.String(), "it is no longer declared")
			default:
				g.inherit(d, a)
			}
		}
	}
	for i := range g.in.Want.Networks {
		n := &g.in.Want.Networks[i]
		if holder := g.holder(n); holder != "" {
			for _, p := range n.Address {
				g.keep(holder, bridge.Address{Prefix: p, Protocol: bridge.OwnProtocol})
			}
		}
	}
}

// declared are the addresses of a declaration, with the device that has each according to what is wanted; "": none yet.
func (g *goal) declared(s *Spec) map[netip.Prefix]bridge.Name {
	out := map[netip.Prefix]bridge.Name{}
	for i := range s.Networks {
		n := &s.Networks[i]
		for _, p := range n.Address {
			out[p] = g.holder(n)
		}
	}
	return out
}

// keep puts an address on a device, once.
func (g *goal) keep(name bridge.Name, a bridge.Address) {
	if !slices.ContainsFunc(g.addresses[name], a.Same) {
		g.addresses[name] = append(g.addresses[name], a)
	}
}

func (g *goal) drop(name bridge.Name, what, why string) { g.dropped[string(name)+" "+what] = why }

// inherit puts an address that nobody declared where it belongs.
func (g *goal) inherit(d *bridge.Device, a bridge.Address) {
	heir := g.heir(d.Name)
	if heir == "" {
		g.note("%s goes with %s, which is no longer declared", a.Prefix, d.Name)
		g.drop(d.Name, a.Prefix.String(), "the device goes")
		return
	}
	g.keep(heir, a)
}

// heir is the device that takes the place of another as the one with the addresses: what it becomes a port of, or, where a bridge or bond goes
// or loses its way to the wire, that by itself. It is the device itself where nothing changes, "" where it goes and nothing is left.
func (g *goal) heir(name bridge.Name) bridge.Name {
	for range 8 {
		if w := g.by[name]; w != nil && !g.going[name] {
			return g.top(name)
		}
		d := g.have.device(name)
		if d == nil {
			return ""
		}
		wire := g.wireOf(d)
		if !g.going[name] && (d.Kind != "bridge" || wire == "" || !g.leaves(wire, name)) {
			return name
		}
		if name = wire; name == "" || g.going[name] && d.Kind == "bridge" {
			return ""
		}
	}
	return ""
}

// wantHeirs wants undeclared ports up and free that take over addresses from a bond or bridge which goes.
func (g *goal) wantHeirs() {
	for _, name := range g.gone {
		heir := g.heir(name)
		d := g.have.device(name)
		if heir == "" || g.by[heir] != nil && !g.going[heir] || len(d.Addresses) == 0 && !slices.ContainsFunc(g.have.routes, func(r bridge.Route) bool { return r.Device == name }) {
			continue
		}
		why := fmt.Sprintf("it takes over the addresses of %s", name)
		if lower := g.have.device(heir).On; lower != "" && g.by[lower] == nil {
			g.want(&wanted{name: lower, set: bridge.Settings{bridge.KeyUp: "1"}, why: fmt.Sprintf("%s stands on it", heir)})
		}
		g.want(&wanted{name: heir, mastered: true, set: bridge.Settings{bridge.KeyUp: "1"}, why: why})
	}
}

// wireOf is the port by which a bridge or bond reaches the wire; "": none, or several of a bridge, of which some stay.
func (g *goal) wireOf(d *bridge.Device) bridge.Name {
	if d.Kind != "bridge" && d.Kind != "bond" {
		return ""
	}
	var found bridge.Name
	for _, port := range g.have.ports[d.Name] {
		p := g.have.device(port)
		switch {
		case isGuests(p) || p.Kind != "" && p.Kind != "bond" && p.Kind != "vlan" && g.by[port] == nil:
		case !g.going[d.Name] && !g.leaves(port, d.Name):
			return ""
		case found == "" || g.by[found] == nil && g.by[port] != nil:
			found = port
		}
	}
	if found == "" && g.going[d.Name] {
		if was := g.before(&Network{ID: d.Name}); was != nil && g.by[g.segment(was)] != nil {
			return g.segment(was)
		}
	}
	return found
}

// leaves says that a port will not be one of its master any more.
func (g *goal) leaves(port, master bridge.Name) bool {
	w := g.by[port]
	return w != nil && w.mastered && w.master != master || g.going[port]
}
