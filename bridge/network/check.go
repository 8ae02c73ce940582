package network

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// Check judges a declaration by the rules of networks: what bonds and networks are to each other. All errors come at once, each an [*Error], joined.
// Warnings, in the same form, are about what is accepted and yet hardly meant.
func Check(s Spec) (warnings []string, err error) {
	j := &judge{s: &s}
	j.bonds()
	j.management()
	j.heartbeat()
	for i := range s.Networks {
		n := &s.Networks[i]
		j.roles(n)
		j.place(n)
		j.filtering(n)
		j.bridgeKeys(n)
		j.addresses(n)
		j.gateways(n)
	}
	j.ids()
	j.pairs()
	j.subnets()
	j.defaults()
	j.mtus()
	slices.SortStableFunc(j.errs, func(a, b *Error) int { return cmp.Or(strings.Compare(a.At.File, b.At.File), byPlace(a, b)) })
	return j.warnings, joined(j.errs)
}

// judge collects what is wrong with a declaration.
type judge struct {
	s        *Spec
	warnings []string
	errs     []*Error
}

// network records an error about a network, at one of its keys.
func (j *judge) network(n *Network, key, format string, args ...any) {
	j.errs = append(j.errs, faultf(placeOf(n.Keys, key, n.At), "network %s: %s", n.Name, fmt.Sprintf(format, args...)))
}

// bond records an error about a bond, at one of its keys.
func (j *judge) bond(b *Bond, key, format string, args ...any) {
	j.errs = append(j.errs, faultf(placeOf(b.Keys, key, b.At), "bond %s: %s", b.Name, fmt.Sprintf(format, args...)))
}

// warn records a warning about a network, at one of its keys.
func (j *judge) warn(n *Network, key, format string, args ...any) {
	j.warnings = append(j.warnings, faultf(placeOf(n.Keys, key, n.At), "network %s: %s", n.Name, fmt.Sprintf(format, args...)).Error())
}

// warnBond records a warning about a bond, at one of its keys.
func (j *judge) warnBond(b *Bond, key, format string, args ...any) {
	j.warnings = append(j.warnings, faultf(placeOf(b.Keys, key, b.At), "bond %s: %s", b.Name, fmt.Sprintf(format, args...)).Error())
}

func placeOf(keys Places, key string, at Place) Place {
	if p, said := keys[key]; said {
		return p
	}
	return at
}

// with are the networks that have a role.
func (j *judge) with(role Roles) (out []*Network) {
	for i := range j.s.Networks {
		if n := &j.s.Networks[i]; n.Roles.Has(role) {
			out = append(out, n)
		}
	}
	return out
}

// management: exactly one network has the role.
func (j *judge) management() {
	have := j.with(ServerManagement)
	switch {
	case len(j.s.Networks) == 0:
	case len(have) == 0:
		n := &j.s.Networks[0]
		j.errs = append(j.errs, faultf(n.At, "no network has the role server-management. Exactly one must: the one by which this host is managed"))
	default:
		for _, n := range have[1:] {
			j.network(n, "roles", "%s has the role server-management already, and exactly one network has it. Take it off one of them", have[0].Name)
		}
	}
}

// heartbeat: the pool's heartbeat has one subnet.
func (j *judge) heartbeat() {
	have := j.with(ClusterHeartbeat)
	for i, n := range have {
		if i > 0 {
			j.warn(n, "roles", "cluster-heartbeat has no effect here, since the heartbeat has one subnet only, and %s has the role already", have[0].Name)
		}
	}
}

// roles: a network carries something, and one for guests alone is no place for the host's addresses.
func (j *judge) roles(n *Network) {
	switch {
	case n.Roles == 0:
		j.network(n, "roles", "it has no role, so nothing may use it. Say what it carries: %s", strings.Join(RoleNames(), ", "))
	case n.Roles == VirtualMachine && len(n.Address) > 0 && !n.HostAddress:
		j.network(n, "address", "a network for guests alone (virtual-machine) takes no address of the host, for guests would reach the host by it. "+
			"Take the address away, or say host-address = true")
	}
}

// place: what a network stands on.
func (j *judge) place(n *Network) {
	switch {
	case n.On == "" && n.VLAN != 0:
		j.network(n, "vlan", "VLAN %d of what? Say on which port or bond: on = \"bond0\"", n.VLAN)
	case n.On == "" && n.Roles != 0 && n.Roles != VirtualMachine:
		j.network(n, "roles", "it stands on no port or bond, so only guests can use it among themselves: its one role can be virtual-machine. "+
			"Say on what it stands (on = \"bond0\"), or leave the other roles out")
	case n.On == "lo":
		j.network(n, "on", "the loopback device is no port")
	}
	for i := range j.s.Bonds {
		b := &j.s.Bonds[i]
		if slices.Contains(b.Ports, n.On) {
			j.network(n, "on", "%s is a port of the bond %s, so nothing can stand on it alone. Say on = %q", n.On, b.Name, b.Name)
		}
		if id, is := strings.CutPrefix(string(n.On), string(b.Name)+"."); is {
			j.network(n, "on", "%s looks like VLAN %s of the bond %s. Say on = %q and vlan = %s", n.On, id, b.Name, b.Name, id)
		}
	}
	if name := n.Segment(); n.VLAN != 0 && len(name) > bridge.NameMax {
		j.network(n, "vlan", "its segment would be called %s, which is longer than the %d bytes of a device's name. Rename %s", name, bridge.NameMax, n.On)
	}
}

// pairs: a segment has one network.
func (j *judge) pairs() {
	type pair struct {
		on   bridge.Name
		vlan int
	}
	have := map[pair]*Network{}
	for i := range j.s.Networks {
		n := &j.s.Networks[i]
		p := pair{n.On, n.VLAN}
		switch first := have[p]; {
		case n.On == "":
		case first == nil:
			have[p] = n
		case n.VLAN == 0:
			j.network(n, "on", "%s has the untagged segment of %s already, and a segment carries one network. Give one of them a vlan", first.Name, n.On)
		default:
			j.network(n, "vlan", "%s has VLAN %d of %s already, and a segment carries one network", first.Name, n.VLAN, n.On)
		}
	}
}

// filtering: a bridge that keeps VLANs apart gets all frames of its uplink.
func (j *judge) filtering(n *Network) {
	if !n.VLANFiltering {
		return
	}
	if !n.HasBridge() {
		j.network(n, "vlan-filtering", "it has no bridge to filter in: only networks with the role virtual-machine have one")
	}
	if n.VLAN != 0 {
		j.network(n, "vlan", "with vlan-filtering its bridge has the VLANs, so it stands on the untagged segment. Leave vlan out, or vlan-filtering")
	}
	for i := range j.s.Networks {
		if o := &j.s.Networks[i]; n.On != "" && o.On == n.On && o.VLAN != 0 && o != n {
			j.network(o, "vlan", "the network %s takes all VLANs of %s into its bridge (vlan-filtering), so none of them can be a network beside it", n.Name, n.On)
		}
	}
}

// bridgeKeys: what is a bridge's needs one.
func (j *judge) bridgeKeys(n *Network) {
	if n.HasBridge() {
		delay, said := n.Bridge["forward_delay"]
		if f, err := strconv.ParseFloat(delay, 64); said && err == nil && f < 2 && n.Bridge["stp_state"] == "1" {
			j.network(n, "forward-delay", "with stp a port must wait for 2 seconds or more before it forwards: the kernel takes no %s", delay)
		}
		return
	}
	said := []string{}
	for _, o := range bridge.BridgeOptions {
		if _, is := n.Bridge[o.Key]; is {
			said = append(said, OptionKey(o.Key))
		}
	}
	if n.MAC != nil {
		said = append(said, "mac")
	}
	for _, key := range said {
		j.network(n, key, "%s is about a bridge, and only networks with the role virtual-machine have one", key)
	}
}

// ids: an id is the name of a device, and there is one of each.
func (j *judge) ids() {
	taken := j.s.deviceNames()
	names := map[string]bool{}
	for i := range j.s.Networks {
		n := &j.s.Networks[i]
		if names[n.Name] {
			j.network(n, "name", "there are two networks of this name")
		}
		names[n.Name] = true
	}
	for i := range j.s.Networks {
		n := &j.s.Networks[i]
		if n.ID == "" {
			continue
		}
		owner, used := taken[n.ID]
		switch {
		case used:
			j.network(n, "id", "its id %s is the name of %s. It is the name of its bridge, so it must be no other device's", n.ID, owner)
		case n.ID == "lo" || IsGuestPort(n.ID):
			j.network(n, "id", "its id %s is a name that other devices have: the loopback device, or a guest's NIC", n.ID)
		case names[string(n.ID)] && string(n.ID) != n.Name:
			j.network(n, "id", "its id %s is the name of another network, so a guest's bridge = %s could mean either", n.ID, n.ID)
		}
		taken[n.ID] = "the network " + n.Name
	}
}

// MovesManagement says where server-management would move to, for who must not let it without being told to; "" where it stays. It stays with
// a network that only changes its name.
func MovesManagement(before, after Spec) string {
	was, is := (&judge{s: &before}).with(ServerManagement), (&judge{s: &after}).with(ServerManagement)
	switch {
	case len(was) == 0:
		return ""
	case len(is) == 0:
		return fmt.Sprintf("server-management would leave the network %s, and no other would have it. Say --force if this is meant", was[0].Name)
	}
	a, b := was[0], is[0]
	renamed := a.On == b.On && a.VLAN == b.VLAN && after.Network(a.Name) == nil
	if a.Name == b.Name || renamed {
		return ""
	}
	return fmt.Sprintf("server-management would move from the network %s to %s. Once set it stays where it is: say --force if this is meant", a.Name, b.Name)
}
