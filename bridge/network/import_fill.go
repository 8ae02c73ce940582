package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// Numbers of rtnetlink(7) that routes and addresses are told apart by.
const (
	fromRedirect = 1
	fromKernel   = 2
	fromRA       = 9
	fromDHCP     = 16
)

// fill takes over what the network's devices say about it: addresses, gateway, what earlier times called it.
func (s *survey) fill(n *foundNetwork) {
	s.addresses(n)
	s.gateways(n)
	s.formerName(n)
}

// addresses takes over the addresses that stay for ever; the others belong to who gave them.
func (s *survey) addresses(n *foundNetwork) {
	for _, a := range n.holder.Addresses {
		switch {
		case a.Peer.IsValid():
			n.losses = append(n.losses, fmt.Sprintf("%s with the peer %s is a point-to-point address, which a declaration cannot say. It stays as it is.", a.Prefix.Addr(), a.Peer))
		case a.Valid != 0:
			n.losses = append(n.losses, fmt.Sprintf("%s was given for a time, by DHCP or a router, and is left to them.", a.Prefix))
		case unfit(a.Prefix) != "":
			n.losses = append(n.losses, fmt.Sprintf("%s stays as it is, undeclared: it %s.", a.Prefix, unfit(a.Prefix)))
		case s.elsewhere(n.holder, a.Prefix) != "":
			n.losses = append(n.losses, fmt.Sprintf("%s stays as it is, undeclared: %s has it too.", a.Prefix, s.elsewhere(n.holder, a.Prefix)))
		case slices.ContainsFunc(n.Address, func(o netip.Prefix) bool { return o.Addr() == a.Prefix.Addr() }):
			n.losses = append(n.losses, fmt.Sprintf("%s stays as it is, undeclared: the address is there with two prefix lengths.", a.Prefix))
		default:
			n.Address = append(n.Address, a.Prefix)
		}
	}
}

// elsewhere is another device that has an address; "" for none.
func (s *survey) elsewhere(holder *bridge.Device, p netip.Prefix) bridge.Name {
	for i := range s.host.Devices {
		d := &s.host.Devices[i]
		if d != holder && !d.Loopback && !isGuests(d) && slices.ContainsFunc(d.Addresses, func(a bridge.Address) bool { return a.Prefix == p }) {
			return d.Name
		}
	}
	return ""
}

// gateways takes over the default routes by the network's device that a declaration can say.
func (s *survey) gateways(n *foundNetwork) {
	var others []string
	for _, r := range s.host.Routes {
		if r.Device != n.holder.Name || r.Type != unicast || r.Multipath || r.Protocol == fromKernel || r.Protocol == fromRedirect {
			continue
		}
		isDefault := r.To.Bits() == 0 && r.Table == mainTable
		n.isDefault = n.isDefault || isDefault
		if isDefault && n.mayDeclare(r) && s.alone(r) {
			n.Gateway = append(n.Gateway, r.Via)
			continue
		}
		others = append(others, tellRoute(r))
	}
	if len(others) > 0 {
		n.losses = append(n.losses, "Routes by it that stay as they are, undeclared: "+strings.Join(others, "; ")+".")
	}
}

// mayDeclare says that a default route is what a declared gateway means.
func (n *foundNetwork) mayDeclare(r bridge.Route) bool {
	plain := r.Metric == 0 || !r.To.Addr().Is4() && r.Metric == metric6
	near := r.Via.Is6() && r.Via.IsLinkLocalUnicast() || slices.ContainsFunc(n.Address, func(p netip.Prefix) bool { return p.Masked().Contains(r.Via) && p.Addr() != r.Via })
	return plain && near && r.Protocol != fromDHCP && r.Protocol != fromRA
}

// alone says that no other route competes with one, whose place a declared one would take.
func (s *survey) alone(r bridge.Route) bool {
	n := 0
	for _, o := range s.host.Routes {
		if samePlace(o, r) {
			n++
		}
	}
	return n == 1
}

// tellRoute tells of a route as ip(8) does.
func tellRoute(r bridge.Route) string {
	parts := []string{r.To.String()}
	if r.To.Bits() == 0 {
		parts[0] = "default"
	}
	add := func(word, value string, is bool) {
		if is {
			parts = append(parts, word+value)
		}
	}
	add("via ", r.Via.String(), r.Via.IsValid())
	add("metric ", strconv.Itoa(r.Metric), r.Metric != 0 && (r.To.Addr().Is4() || r.Metric != metric6))
	add("table ", strconv.Itoa(r.Table), r.Table != mainTable)
	add("from DHCP", "", r.Protocol == fromDHCP)
	add("from a router", "", r.Protocol == fromRA)
	return strings.Join(parts, " ")
}

// formerName takes over name and number from the mark of a device that is ours. Where two have the same, the second gets a name as if it had
// none.
func (s *survey) formerName(n *foundNetwork) {
	mark, is := ParseAlias(n.holder.Settings[bridge.KeyAlias])
	twice := slices.ContainsFunc(s.networks, func(o foundNetwork) bool { return o.known == mark.Network })
	if is && isOurs(n.holder) && mark.Network != "" && !twice {
		n.known, n.Number = mark.Network, mark.Number
	}
}
