package network

import (
	"net/netip"
	"slices"

	"vifplug/bridge"
)

// unicast is the ordinary type of a route (linux: RTN_UNICAST).
const unicast = 1

// wantRoutes says which routes the host should have: the declared default routes, and all others that are there, by the device that takes the
// place of theirs. A declared one takes the place of who has it.
func (g *goal) wantRoutes() {
	declared := g.gateways(&g.in.Want)
	var before []bridge.Route
	if g.in.Before != nil {
		before = g.gateways(g.in.Before)
	}
	met := make([]bool, len(declared))
	for _, r := range g.have.routes {
		i := slices.IndexFunc(declared, func(o bridge.Route) bool { return samePlace(r, o) })
		was := slices.ContainsFunc(before, func(o bridge.Route) bool { return samePlace(r, o) && r.Via == o.Via })
		d := g.have.device(r.Device)
		switch {
		case r.Multipath || d == nil || d.Loopback || isGuests(d):
			g.routes = append(g.routes, r)
		case i >= 0 && r.Via == declared[i].Via && r.Type == unicast:
			if r.Device = declared[i].Device; !met[i] {
				g.routes, met[i] = append(g.routes, g.withSource(r)), true
			}
		case i >= 0:
			g.drop(r.Device, routeWhat(&r), "the declared gateway takes its place")
		case was || r.Protocol == bridge.OwnProtocol:
			g.drop(r.Device, routeWhat(&r), "it is no longer declared")
		default:
			g.inheritRoute(r)
		}
	}
	for i, r := range declared {
		if !met[i] {
			g.routes = append(g.routes, r)
		}
	}
}

// gateways are the default routes of a declaration.
func (g *goal) gateways(s *Spec) (out []bridge.Route) {
	for i := range s.Networks {
		n := &s.Networks[i]
		holder := g.holder(n)
		for _, via := range n.Gateway {
			r := bridge.Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via, Device: holder, Table: mainTable, Protocol: bridge.OwnProtocol, Type: unicast}
			if via.Is6() {
				r.To, r.Metric = netip.PrefixFrom(netip.IPv6Unspecified(), 0), metric6
			}
			if holder != "" {
				out = append(out, r)
			}
		}
	}
	return out
}

// inheritRoute keeps a route that nobody declared, by the device that its own is followed by. One whose gateway or source the host will no
// longer reach goes.
func (g *goal) inheritRoute(r bridge.Route) {
	was := r
	heir := g.heir(r.Device)
	if moved := g.movedGateway(r); moved != "" {
		heir = moved
	}
	if heir == "" {
		g.note("the %s goes with the device, which is no longer declared", routeWhat(&was))
		g.drop(was.Device, routeWhat(&was), "the device goes")
		return
	}
	r.Device = heir
	r = g.withSource(r)
	lost := r.Source != was.Source && r.To.Addr().Is4()
	if r.Via.IsValid() && !r.OnLink && !g.reachable(heir, r.Via, g.addresses[heir]) {
		lost = lost || heir != was.Device || g.reachable(was.Device, r.Via, g.have.device(was.Device).Addresses)
		r.OnLink = true // should the kernel take it away, it comes back only so
	}
	if r.To.Addr().Is4() && !g.has4(heir) && g.has4Now(was.Device) {
		lost = true
	}
	if lost {
		g.note("the %s goes: no address of the host reaches it any more", routeWhat(&was))
		g.drop(was.Device, routeWhat(&was), "no address of the host reaches it any more")
		return
	}
	if !slices.ContainsFunc(g.routes, func(o bridge.Route) bool { return samePlace(r, o) }) {
		g.routes = append(g.routes, r)
	}
}

// has4 says that a device will have an IPv4 address, without which the kernel keeps none of its routes.
func (g *goal) has4(name bridge.Name) bool {
	return slices.ContainsFunc(g.addresses[name], func(a bridge.Address) bool { return a.Prefix.Addr().Is4() })
}

func (g *goal) has4Now(name bridge.Name) bool {
	return slices.ContainsFunc(g.have.device(name).Addresses, func(a bridge.Address) bool { return a.Prefix.Addr().Is4() })
}

// movedGateway is the device to which the address has moved that reaches a route's gateway, where the route's own device keeps none that does;
// "": none.
func (g *goal) movedGateway(r bridge.Route) bridge.Name {
	if !r.Via.IsValid() || g.reachable(r.Device, r.Via, g.addresses[r.Device]) {
		return ""
	}
	for _, a := range g.have.device(r.Device).Addresses {
		if !a.Prefix.Masked().Contains(r.Via) {
			continue
		}
		for _, w := range g.devices {
			if slices.ContainsFunc(g.addresses[w.name], a.Same) {
				return w.name
			}
		}
	}
	return ""
}

// reachable says that a gateway is on the link of a device that has some addresses, or by another route of it.
func (g *goal) reachable(name bridge.Name, via netip.Addr, addresses []bridge.Address) bool {
	return g.have.reaches(&bridge.Device{Name: name, Addresses: addresses}, via)
}

// withSource forgets a source address that the host will not have.
func (g *goal) withSource(r bridge.Route) bridge.Route {
	if !r.Source.IsValid() {
		return r
	}
	for _, list := range g.addresses {
		if slices.ContainsFunc(list, func(a bridge.Address) bool { return a.Prefix.Addr() == r.Source }) {
			return r
		}
	}
	r.Source = netip.Addr{}
	return r
}
