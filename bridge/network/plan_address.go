package network

import (
	"fmt"
	"maps"
	"slices"

	"vifplug/bridge"
)

// give adds an address, unless it is there.
func (p *planner) give(name bridge.Name, a bridge.Address, reason string) {
	d := p.w.device(name)
	if d == nil || slices.ContainsFunc(d.Addresses, a.Same) {
		return
	}
	if a.Prefix.Addr().Is6() {
		for _, b := range d.Addresses {
			if b.Prefix.Addr() == a.Prefix.Addr() {
				p.take(name, b, fmt.Sprintf("it is to be %s", a.Prefix))
			}
		}
	}
	p.do(Step{Op: OpAddAddress, Device: name, Address: &a, Reason: reason})
}

// take deletes an address. Others of its subnet, which the kernel may delete with it, come back at once; where they are still there, adding them
// changes nothing.
func (p *planner) take(name bridge.Name, a bridge.Address, reason string) {
	before := p.w.device(name).Addresses
	if p.err != nil || !slices.ContainsFunc(before, a.Same) {
		return
	}
	p.do(Step{Op: OpDeleteAddress, Device: name, Address: &a, Reason: reason})
	for _, b := range before {
		if !a.Same(b) && p.target(name, b) == name && !slices.ContainsFunc(p.w.device(name).Addresses, b.Same) {
			p.do(Step{Op: OpAddAddress, Device: name, Address: &b, Reason: fmt.Sprintf("the kernel may have deleted it with %s", a.Prefix)})
		}
	}
}

// fill adds what a device lacks of its addresses.
func (p *planner) fill(name bridge.Name) {
	d := p.w.device(name)
	if d == nil || isGuests(d) {
		return
	}
	for _, a := range p.g.addresses[name] {
		p.give(name, a, p.addressReason(name, a))
	}
}

func (p *planner) addressReason(name bridge.Name, a bridge.Address) string {
	for i := range p.g.in.Want.Networks {
		if n := &p.g.in.Want.Networks[i]; slices.Contains(n.Address, a.Prefix) {
			return "address of " + networkText(n)
		}
	}
	if d := p.g.have.device(name); d != nil && slices.ContainsFunc(d.Addresses, a.Same) {
		return "the kernel took it away"
	}
	return "it moves along"
}

// strip deletes what a device has of addresses that do not belong there and are where they belong, the last first.
func (p *planner) strip(name bridge.Name) {
	d := p.w.device(name)
	if d == nil || isGuests(d) {
		return
	}
	for _, a := range slices.Backward(slices.Clone(d.Addresses)) {
		t := p.target(name, a)
		if t == name {
			continue
		}
		if to := p.w.device(t); t != "" && (to == nil || !slices.ContainsFunc(to.Addresses, a.Same)) {
			continue
		}
		reason := fmt.Sprintf("it has moved to %s", t)
		if t == "" {
			reason = p.g.dropped[string(name)+" "+a.Prefix.String()]
		}
		p.take(name, a, reason)
	}
}

// restore gives devices and the segments on them back what the kernel forgot when they were down or lost an address, and brings the routes that
// can be now.
func (p *planner) restore(names ...bridge.Name) {
	for _, name := range names {
		if d := p.w.device(name); d == nil || d.Settings[bridge.KeyUp] != "1" {
			continue
		}
		p.refill(name)
		for _, upper := range p.w.uppers[name] {
			p.restore(upper)
		}
	}
	p.route()
}

// refill adds the addresses that a device had and has lost.
func (p *planner) refill(name bridge.Name) {
	was := p.g.have.device(name)
	if was == nil {
		return
	}
	for _, a := range p.g.addresses[name] {
		if slices.ContainsFunc(was.Addresses, a.Same) {
			p.give(name, a, "the kernel took it away")
		}
	}
}

// place puts every address and route where it belongs.
func (p *planner) place() {
	names := map[bridge.Name]bool{}
	for name := range p.g.addresses {
		names[name] = true
	}
	for i := range p.w.devices {
		if d := &p.w.devices[i]; len(d.Addresses) > 0 {
			names[d.Name] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	for _, name := range sorted {
		p.fill(name)
	}
	p.dropRoutes()
	for _, name := range sorted {
		p.strip(name)
	}
	p.route()
}

// route adds the routes that are missing and can be now. Of IPv4 one takes the place of another by that; of IPv6 the other goes right after.
func (p *planner) route() {
	for _, r := range p.g.routes {
		d := p.w.device(r.Device)
		there := slices.ContainsFunc(p.w.routes, func(o bridge.Route) bool { return sameRoute(r, o) })
		if there || r.Multipath || d == nil || d.Settings[bridge.KeyUp] != "1" || isGuests(d) {
			continue
		}
		if r.Via.IsValid() && !r.OnLink && !p.w.reaches(d, r.Via) || r.Source.IsValid() && !p.w.isLocal(r.Source) {
			continue
		}
		p.do(Step{Op: OpAddRoute, Device: r.Device, Route: &r, Reason: p.routeReason(r)})
		for _, o := range slices.Clone(p.w.routes) {
			if samePlace(r, o) && !p.g.wantsRoute(o) {
				p.dropRoute(o)
			}
		}
	}
}

// dropRoutes deletes the routes that must not be, unless another will take their place: that goes by route.
func (p *planner) dropRoutes() {
	for _, r := range slices.Clone(p.w.routes) {
		if !slices.ContainsFunc(p.g.routes, func(o bridge.Route) bool { return samePlace(r, o) }) {
			p.dropRoute(r)
		}
	}
}

func (p *planner) dropRoute(r bridge.Route) {
	why := p.g.dropped[string(r.Device)+" "+routeWhat(&r)]
	if why == "" {
		why = fmt.Sprintf("it moves from %s", r.Device)
	}
	p.do(Step{Op: OpDeleteRoute, Device: r.Device, Route: &r, Reason: why})
}

func (p *planner) routeReason(r bridge.Route) string {
	for _, o := range p.g.have.routes {
		if samePlace(r, o) && r.Via != o.Via && p.g.dropped[string(o.Device)+" "+routeWhat(&o)] != "" {
			return fmt.Sprintf("it takes the place of the %s, as declared", routeWhat(&o))
		}
	}
	for i := range p.g.in.Want.Networks {
		if n := &p.g.in.Want.Networks[i]; r.To.Bits() == 0 && slices.Contains(n.Gateway, r.Via) {
			return "gateway of " + networkText(n)
		}
	}
	if slices.ContainsFunc(p.g.have.routes, func(o bridge.Route) bool { return sameRoute(r, o) }) {
		return "the kernel took it away"
	}
	return "it moves along with its address"
}

// wantsRoute says that a route belongs where it is.
func (g *goal) wantsRoute(r bridge.Route) bool {
	return slices.ContainsFunc(g.routes, func(o bridge.Route) bool { return sameRoute(r, o) })
}
