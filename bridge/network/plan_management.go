package network

import (
	"fmt"
	"slices"

	"vifplug/bridge"
)

// management tells which step touches what carries server-management, by the declaration or the one before; where neither says, what carries
// the default route. It names the first that changes a device that is there, for that is what may hurt. "" for none.
func (p *planner) management() string {
	chain := map[bridge.Name]string{}
	for _, s := range []*Spec{&p.g.in.Want, p.g.in.Before} {
		if s == nil {
			continue
		}
		for i := range s.Networks {
			if n := &s.Networks[i]; n.Roles.Has(ServerManagement) {
				p.g.chain(chain, n, s)
			}
		}
	}
	if len(chain) == 0 {
		for _, r := range p.g.have.routes {
			if r.To.Bits() == 0 && r.Device != "" {
				p.g.standsUpon(chain, r.Device, "the "+routeWhat(&r))
			}
		}
	}
	made := ""
	for i, s := range p.steps {
		why := chain[s.Device]
		switch {
		case why == "" || onlyAlias(s):
		case s.Op != OpCreate && p.g.have.device(s.Device) != nil:
			return fmt.Sprintf("step %d (%s) changes %s, which carries %s", i+1, s.what(), s.Device, why)
		case made == "":
			made = fmt.Sprintf("step %d (%s) makes what is to carry %s", i+1, s.what(), why)
		}
	}
	return made
}

func onlyAlias(s Step) bool {
	_, alias := s.Set[bridge.KeyAlias]
	return s.Op == OpSet && alias && len(s.Set) == 1
}

// chain adds all that a network is built of, declared or found.
func (g *goal) chain(into map[bridge.Name]string, n *Network, s *Spec) {
	why := "the server-management " + networkText(n)
	names := []bridge.Name{n.On, g.segment(n), n.BridgeName(), g.top(g.segment(n))}
	if b := s.Bond(n.On); b != nil {
		names = append(names, b.Ports...)
	}
	for _, name := range names {
		if name != "" {
			into[name] = why
			g.standsUpon(into, name, why)
		}
	}
}

// standsUpon adds a device and all that it stands on now.
func (g *goal) standsUpon(into map[bridge.Name]string, name bridge.Name, why string) {
	d := g.have.device(name)
	if d == nil || isGuests(d) {
		return
	}
	into[name] = why
	if d.On != "" {
		g.standsUpon(into, d.On, why)
	}
	for _, port := range g.have.ports[name] {
		g.standsUpon(into, port, why)
	}
}

// cuts tells why the host could not be managed after the plan; "" where it can.
func (p *planner) cuts() string {
	role := false
	for i := range p.g.in.Want.Networks {
		n := &p.g.in.Want.Networks[i]
		if !n.Roles.Has(ServerManagement) {
			continue
		}
		role = true
		if why := p.cutOff(n); why != "" {
			return fmt.Sprintf("after it %s would not carry server-management: %s", networkText(n), why)
		}
	}
	if role {
		return ""
	}
	return p.cutsRoute()
}

// cutOff tells what a network lacks to be reached by.
func (p *planner) cutOff(n *Network) string {
	holder := p.g.holder(n)
	d := p.w.device(holder)
	switch {
	case d == nil:
		return fmt.Sprintf("%s does not exist", n.On)
	case len(d.Addresses) == 0:
		return fmt.Sprintf("%s has no address", holder)
	case d.Settings[bridge.KeyUp] != "1":
		return fmt.Sprintf("%s is down", holder)
	}
	if b := p.g.in.Want.Bond(n.On); b != nil && len(p.w.ports[b.Name]) == 0 {
		return fmt.Sprintf("none of the ports of %s exists", b.Name)
	}
	if n.On != "" && p.w.device(n.On) == nil {
		return fmt.Sprintf("%s does not exist", n.On)
	}
	return ""
}

// cutsRoute judges a host without server-management by its default routes, and by the addresses that server-management had.
func (p *planner) cutsRoute() string {
	for _, r := range p.g.have.routes {
		if r.To.Bits() == 0 && r.Device != "" && !slices.ContainsFunc(p.w.routes, func(o bridge.Route) bool { return o.To == r.To && o.Table == r.Table }) {
			return fmt.Sprintf("after it the host would have no %s", routeWhat(&r))
		}
	}
	if p.g.in.Before == nil {
		return ""
	}
	for i := range p.g.in.Before.Networks {
		n := &p.g.in.Before.Networks[i]
		if !n.Roles.Has(ServerManagement) {
			continue
		}
		for _, a := range n.Address {
			if !p.w.isLocal(a.Addr()) {
				return fmt.Sprintf("after it the host would not have %s, by which %s carries server-management", a, networkText(n))
			}
		}
	}
	return ""
}
