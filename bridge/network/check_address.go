package network

import (
	"net/netip"
	"slices"
)

// addresses: what a host can have.
func (j *judge) addresses(n *Network) {
	for _, a := range n.Address {
		if why := unfit(a); why != "" {
			j.network(n, "address", "%s %s", a, why)
		}
		if a.Addr().Is6() && n.MTU != 0 && n.MTU < leastMTU6 {
			j.network(n, "mtu", "%d bytes are too few for its IPv6 address %s: IPv6 needs %d", n.MTU, a, leastMTU6)
		}
	}
}

// leastMTU6 is what IPv6 needs (RFC 8200, section 5; linux: IPV6_MIN_MTU).
const leastMTU6 = 1280

// gateways: a gateway is a neighbour.
func (j *judge) gateways(n *Network) {
	for i, g := range n.Gateway {
		if slices.ContainsFunc(n.Gateway[:i], func(o netip.Addr) bool { return o.Is4() == g.Is4() }) {
			j.network(n, "gateway", "%s is a second gateway of its family", g)
		}
		reached := g.Is6() && g.IsLinkLocalUnicast() || slices.ContainsFunc(n.Address, func(a netip.Prefix) bool { return a.Contains(g) })
		own := slices.ContainsFunc(n.Address, func(a netip.Prefix) bool { return a.Addr() == g })
		switch {
		case own:
			j.network(n, "gateway", "the gateway %s is this host's own address", g)
		case !reached:
			j.network(n, "gateway", "the gateway %s is in no subnet of the network's addresses%s, so it cannot be reached", g, inBrackets(n.Address))
		}
	}
}

func inBrackets(addresses []netip.Prefix) string {
	if len(addresses) == 0 {
		return " (it has none)"
	}
	text := ""
	for _, a := range addresses {
		text += ", " + a.String()
	}
	return " (" + text[2:] + ")"
}

// subnets: an address is there once, and a subnet is better on one network alone.
func (j *judge) subnets() {
	type one struct {
		n *Network
		a netip.Prefix
	}
	var before []one
	for i := range j.s.Networks {
		n := &j.s.Networks[i]
		var mine []one
		for _, a := range n.Address {
			for _, b := range before {
				switch {
				case a.Addr() == b.a.Addr():
					j.network(n, "address", "the network %s has the address %s already", b.n.Name, a.Addr())
				case a.Overlaps(b.a):
					j.warn(n, "address", "its subnet %s overlaps with %s of the network %s: the host may answer by either",
						a.Masked(), b.a.Masked(), b.n.Name)
				}
			}
			mine = append(mine, one{n, a})
		}
		before = append(before, mine...)
	}
}

// defaults: a host has one default route a family.
func (j *judge) defaults() {
	first := map[bool]*Network{}
	for i := range j.s.Networks {
		n := &j.s.Networks[i]
		for _, g := range n.Gateway {
			switch other := first[g.Is4()]; {
			case other == nil:
				first[g.Is4()] = n
			case other != n:
				j.warn(n, "gateway", "the network %s has a gateway for %s already: the host will use one of the two, hardly both", other.Name,
					map[bool]string{true: "IPv4", false: "IPv6"}[g.Is4()])
			}
		}
	}
}
