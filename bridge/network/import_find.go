package network

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// findBonds finds the bonds that can be declared.
func (s *survey) findBonds() {
	for i := range s.host.Devices {
		d := &s.host.Devices[i]
		if d.Kind != "bond" {
			continue
		}
		if why := s.againstBond(d); why != "" {
			s.leave(d, why)
			continue
		}
		s.declared[d.Name] = true
		s.bonds = append(s.bonds, s.bond(d))
	}
}

// againstBond is why a bond cannot be declared; "" where it can.
func (s *survey) againstBond(d *bridge.Device) string {
	ports := s.portsOf(d.Name)
	if len(ports) == 0 {
		return "the bond has no port, and a declared bond has at least one"
	}
	if !isUp(d) {
		return "the bond is down, and what is declared is set up"
	}
	if m := s.host.Device(d.Master); m != nil && m.Kind != "bridge" {
		return fmt.Sprintf("the bond belongs to %s, %s", m.Name, kindOf(m))
	}
	for _, p := range ports {
		switch {
		case !isPort(p):
			return fmt.Sprintf("its port %s is %s, and a declared bond has physical ports", p.Name, kindOf(p))
		case !isUp(p):
			return fmt.Sprintf("its port %s is down, and what is declared is set up", p.Name)
		case s.carried(p) != "":
			return fmt.Sprintf("its port %s has %s, which belongs on the bond: move it there and import again", p.Name, s.carried(p))
		case deviceMTU(p) < deviceMTU(d):
			return fmt.Sprintf("its port %s has MTU %d, less than the bond's %d", p.Name, deviceMTU(p), deviceMTU(d))
		}
	}
	return ""
}

// carried is an address or route that a port of a bond or bridge has, where it does not work as it looks; "" for none.
func (s *survey) carried(d *bridge.Device) string {
	if len(d.Addresses) > 0 {
		return "the address " + d.Addresses[0].Prefix.String()
	}
	for _, r := range s.host.Routes {
		if r.Device == d.Name {
			return "the route " + tellRoute(r)
		}
	}
	return ""
}

func (s *survey) bond(d *bridge.Device) Bond {
	b := Bond{Name: d.Name, Mode: d.Settings[bridge.KeyMode], Options: bondOptions(d)}
	mac, _ := bridge.ParseMAC(d.Settings[bridge.KeyMAC])
	ports := s.portsOf(d.Name)
	// The first port of a bond is the one whose address it has.
	if i := slices.IndexFunc(ports, func(p *bridge.Device) bool { return permanentMAC(p) == mac }); i > 0 {
		first := ports[i]
		ports = slices.Insert(slices.Delete(ports, i, i+1), 0, first)
	} else if i < 0 {
		b.MAC = &mac
	}
	for _, p := range ports {
		b.Ports = append(b.Ports, p.Name)
	}
	return b
}

// permanentMAC is the address that a port of a bond had before.
func permanentMAC(p *bridge.Device) bridge.MAC {
	if p.BondPort != nil && p.BondPort.PermMAC != (bridge.MAC{}) {
		return p.BondPort.PermMAC
	}
	return p.PermMAC
}

// bondOptions are those that differ from what a bond gets that declares none.
func bondOptions(d *bridge.Device) bridge.Settings {
	out := bridge.Settings{}
	for _, o := range bridge.BondOptions {
		want := o.Default
		if o.Key == miimon && !on(d.Settings[arpInterval]) {
			want = DefaultMiimon
		}
		if v, known := d.Settings[o.Key]; known && o.In(d.Settings[bridge.KeyMode]) && v != want {
			out[o.Key] = v
		}
	}
	return out
}

// findBridges finds the networks that have a bridge.
func (s *survey) findBridges() {
	for i := range s.host.Devices {
		d := &s.host.Devices[i]
		if d.Kind != "bridge" {
			continue
		}
		if who := keeper(d.Name); who != "" {
			s.left = append(s.left, leftOut{device: d.Name, why: "it is kept by " + who, known: true})
			continue
		}
		n, why := s.bridged(d)
		if why != "" {
			s.leave(d, why)
			continue
		}
		s.networks = append(s.networks, n)
	}
}

// bridged is the network of a bridge, or why there can be none.
func (s *survey) bridged(d *bridge.Device) (foundNetwork, string) {
	n := foundNetwork{Network: Network{ID: d.Name, Roles: VirtualMachine, Bridge: bridgeOptions(d)}, known: legalName(d.Name), holder: d}
	uplinks := slices.DeleteFunc(s.portsOf(d.Name), ofGuest)
	switch {
	case !isUp(d):
		return n, "the bridge is down, and what is declared is set up"
	case len(uplinks) > 1:
		return n, fmt.Sprintf("the bridge has %d uplinks (%s), and a declared network stands on one port or bond", len(uplinks), nameList(uplinks))
	case len(uplinks) == 0:
		n.source = fmt.Sprintf("the bridge %s, which has no uplink: guests among themselves", d.Name)
		if mtu := deviceMTU(d); mtu != ethernetMTU {
			n.MTU = mtu
		}
	default:
		if why := s.standOn(&n, uplinks[0]); why != "" {
			return n, why
		}
		if u := uplinks[0]; s.carried(u) != "" {
			return n, fmt.Sprintf("its uplink %s has %s, which belongs on the bridge: move it there and import again", u.Name, s.carried(u))
		}
		n.source = fmt.Sprintf("the bridge %s on %s", d.Name, n.source)
	}
	// A bridge whose last port has left has the address of zeros until another joins: that is nobody's wish.
	if mac, err := bridge.ParseMAC(d.Settings[bridge.KeyMAC]); err == nil && mac != (bridge.MAC{}) && mac.String() != uplinkMAC(uplinks) {
		n.MAC = &mac
	}
	n.VLANFiltering = d.Settings[keyFiltering] == "1"
	if n.VLANFiltering && len(uplinks) == 1 && *tableOf(uplinks[0].PortVLANs) != *tableOf(trunk(&n.Network)) {
		return n, fmt.Sprintf("it filters VLANs, and its uplink %s takes part in %s; the uplink of a declared one takes part in all, untagged in its default-pvid",
			uplinks[0].Name, vlanList(uplinks[0].PortVLANs))
	}
	s.fill(&n)
	return n, ""
}

func uplinkMAC(uplinks []*bridge.Device) string {
	if len(uplinks) == 0 {
		return ""
	}
	return uplinks[0].Settings[bridge.KeyMAC]
}

// vlanList tells which VLANs a port takes part in: "1 untagged, 10-20".
func vlanList(of []bridge.PortVLAN) string {
	var out []string
	for _, v := range tableOf(of).list() {
		_, text, _ := strings.Cut(vlanText(&v), " ")
		out = append(out, text)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// keyFiltering is the option of bridges that a declaration has a word of its own for.
const keyFiltering bridge.Key = "vlan_filtering"

// bridgeOptions are those that differ from what a bridge of ours gets.
func bridgeOptions(d *bridge.Device) bridge.Settings {
	out := bridge.Settings{}
	for _, o := range bridge.BridgeOptions {
		want := o.Default
		if o.Key == "stp_state" || o.Key == "forward_delay" {
			want = "0"
		}
		if v, known := d.Settings[o.Key]; o.Key != keyFiltering && known && !alike(o, v, want) {
			out[o.Key] = v
		}
	}
	return out
}

// alike says that two values of an option are the same, but for the kernel's rounding of times to its ticks.
func alike(o bridge.Option, a, b string) bool {
	if o.Kind != "seconds" {
		return a == b
	}
	x, err := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err == nil && err2 == nil && math.Abs(x-y) < 0.05
}

// legalName is a bridge's name as a network may have it.
func legalName(d bridge.Name) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(",=", r) {
			return '-'
		}
		return r
	}, string(d))
}

// findAddresses finds the networks without a bridge: VLAN devices, bonds and ports that have an address.
func (s *survey) findAddresses() {
	for i := range s.host.Devices {
		d := &s.host.Devices[i]
		if !s.mayHaveNetwork(d) {
			continue
		}
		n := foundNetwork{holder: d}
		if why := s.standOn(&n, d); why != "" {
			s.leave(d, why)
			continue
		}
		s.fill(&n)
		s.networks = append(s.networks, n)
	}
}

// mayHaveNetwork says that a device without a bridge looks like a network: it is a VLAN device, bond or port with an address, or was one's.
func (s *survey) mayHaveNetwork(d *bridge.Device) bool {
	if m := s.host.Device(d.Master); m != nil && (m.Kind == "bridge" || m.Kind == "bond") {
		return false
	}
	switch d.Kind {
	case "vlan":
		return len(d.Addresses) > 0 || isOurs(d)
	case "bond":
		return len(d.Addresses) > 0 && s.declared[d.Name]
	}
	return len(d.Addresses) > 0 && isPort(d)
}

// standOn says what a network stands on, or why it cannot: top is the port, bond or VLAN device at its foot.
func (s *survey) standOn(n *foundNetwork, top *bridge.Device) string {
	base := top
	n.source = string(top.Name)
	if top.Kind == "vlan" {
		if base = s.host.Device(top.On); base == nil {
			return fmt.Sprintf("%s is a VLAN device of a device that is not in this network namespace", top.Name)
		}
		n.VLAN = top.VLAN
		n.source = fmt.Sprintf("%s (VLAN %d of %s)", top.Name, top.VLAN, base.Name)
	}
	n.On = base.Name
	n.sayMTU(top, base)
	return s.againstFoot(n, top, base)
}

// sayMTU declares the MTU where it is not what the network would have anyway. One that the bridge has and its segment has not cannot be said.
func (n *foundNetwork) sayMTU(top, base *bridge.Device) {
	mtu, below := deviceMTU(n.holder), deviceMTU(top)
	switch {
	case top.Kind == "vlan" && mtu != below:
		n.losses = append(n.losses, fmt.Sprintf("The MTU of %s is %d, and that of %s is %d. A declaration says one for both, so here it says none.", n.holder.Name, mtu, top.Name, below))
	case mtu != ethernetMTU || deviceMTU(base) != mtu:
		n.MTU = mtu
	}
}

// againstFoot is why no network can stand on a port, bond or VLAN device, of which base is the device without the tag; "" where one can.
func (s *survey) againstFoot(n *foundNetwork, top, base *bridge.Device) string {
	it := "it"
	if base != n.holder {
		it = string(base.Name) + ", on which it stands,"
	}
	master := s.host.Device(base.Master)
	switch {
	case base.Kind == "bond" && !s.declared[base.Name]:
		return fmt.Sprintf("it stands on the bond %s, which is not declared either", base.Name)
	case base.Kind != "bond" && !isPort(base):
		return fmt.Sprintf("it stands on %s, %s, and a declared network stands on a port or a bond", base.Name, kindOf(base))
	case master != nil && master.Kind != "bridge":
		return fmt.Sprintf("%s belongs to %s, %s", it, master.Name, kindOf(master))
	case !isUp(base):
		return it + " is down, and what is declared is set up"
	case !isUp(top):
		return fmt.Sprintf("its VLAN device %s is down, and what is declared is set up", top.Name)
	}
	return ""
}

// findRest leaves out what has not been spoken of, and notes the ports that nothing uses.
func (s *survey) findRest() {
	for i := range s.host.Devices {
		switch d := &s.host.Devices[i]; {
		case d.Loopback || ofGuest(d) || d.Kind == "bridge" || d.Kind == "bond":
		case d.Kind == "vlan":
			if d.Master == "" && !s.mayHaveNetwork(d) {
				s.leave(d, "the VLAN device has neither an address nor a bridge")
			}
		case isPort(d):
			if d.Master == "" && len(d.Addresses) == 0 && !slices.ContainsFunc(s.host.Devices, func(o bridge.Device) bool { return o.On == d.Name }) {
				s.unused = append(s.unused, d.Name)
			}
		default:
			s.left = append(s.left, leftOut{device: d.Name, why: "it is " + kindOf(d) + ", which declarations do not know", known: len(d.Addresses) == 0})
		}
	}
}

// portsOf are a bridge's or bond's ports, by index.
func (s *survey) portsOf(master bridge.Name) (out []*bridge.Device) {
	for i := range s.host.Devices {
		if d := &s.host.Devices[i]; d.Master == master {
			out = append(out, d)
		}
	}
	return out
}

func nameList(devices []*bridge.Device) string {
	var names []string
	for _, d := range devices {
		names = append(names, string(d.Name))
	}
	return strings.Join(names, ", ")
}
