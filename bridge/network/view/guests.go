package view

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// netback is the bus of the host's end of a guest's NIC (linux: drivers/net/xen-netback).
const netback = "xen-backend"

// isGuestPort says that a device is named as those of guests' NICs are.
func isGuestPort(name bridge.Name) bool {
	_, ok := guestOf(name)
	return ok
}

// guestOf reads whose NIC a device is from its name: vif23.0, tap23.0, vif23.0-emu.
func guestOf(name bridge.Name) (network.Guest, bool) {
	s, tap := strings.CutPrefix(string(name), "tap")
	if !tap {
		var vif bool
		if s, vif = strings.CutPrefix(s, "vif"); !vif {
			return network.Guest{}, false
		}
		s, tap = strings.CutSuffix(s, "-emu")
	}
	domain, nic, _ := strings.Cut(s, ".")
	id, err := strconv.ParseUint(domain, 10, 16)
	if err != nil {
		return network.Guest{}, false
	}
	number, err := strconv.ParseUint(nic, 10, 16)
	return network.Guest{ID: uint16(id), NIC: int(number), Device: name, Tap: tap}, err == nil
}

// addMasters takes up who is a port of which bond, and the VLANs that nobody declared on what is shown.
func (m *Model) addMasters() {
	for _, t := range m.devices {
		if t.dev == nil || t.dev.Master == "" {
			continue
		}
		if b := m.byName[t.dev.Master]; b != nil && b.Layer == LayerBond {
			if t.Layer == LayerNone {
				t.Layer = LayerWire
			}
			b.stands(t, true)
		}
	}
	for _, t := range m.devices {
		if t.dev == nil || t.dev.Kind != "vlan" || t.Layer != LayerNone {
			continue
		}
		if on := m.byName[t.dev.On]; on != nil && on.Layer != LayerNone {
			t.Layer, t.Detail = LayerSegment, []string{"VLAN " + strconv.Itoa(t.dev.VLAN)}
			t.stands(on, true)
		}
	}
}

// addGuests gives every guest's port its device; what nobody named is known by its own name.
func (m *Model) addGuests(guests []network.Guest) (nics []*thing) {
	for _, g := range guests {
		if g.Device == "" {
			g.Device = bridge.Name("vif" + strconv.Itoa(int(g.ID)) + "." + strconv.Itoa(g.NIC))
		}
		if t := m.device(g.Device, "", LayerNIC); t.guest == nil && t.Layer == LayerNIC {
			t.guest, t.known = &g, true
			nics = append(nics, t)
		}
	}
	for _, t := range m.devices {
		if g, ok := guestOf(bridge.Name(t.Key)); ok && t.guest == nil && t.Layer == LayerNone {
			t.Layer, t.guest, t.known = LayerNIC, &g, true
			nics = append(nics, t)
		}
	}
	return nics
}

// addForeignBridges makes networks of the bridges that nobody declared and that have guests, or a way out of the host.
func (m *Model) addForeignBridges() {
	for _, t := range slices.Clone(m.devices) {
		switch {
		case t.dev != nil && t.dev.Kind == "bridge" && t.Layer == LayerNone:
			if uplink, guests := m.portsOf(bridge.Name(t.Key)); uplink != nil || guests {
				m.foreign(bridge.Name(t.Key), uplink)
			}
		case t.guest != nil && t.guest.Network != "" && !m.onKnown(t) && m.network(t.guest.Network) == nil && m.byName[t.guest.Network] == nil:
			m.foreign(t.guest.Network, nil)
		}
	}
}

// onKnown says that a guest's port is a port of something that is there.
func (m *Model) onKnown(t *thing) bool { return t.dev != nil && m.byName[t.dev.Master] != nil }

func (m *Model) portsOf(name bridge.Name) (uplink *thing, guests bool) {
	for _, t := range m.devices {
		switch {
		case t.dev == nil || t.dev.Master != name:
			guests = guests || t.guest != nil && t.guest.Network == name
		case t.guest != nil:
			guests = true
		case uplink == nil && t.Layer != LayerNone && t.Layer.column() < LayerBridge.column():
			uplink = t
		}
	}
	return uplink, guests
}

// foreign makes a network of a bridge that nobody declared.
func (m *Model) foreign(id bridge.Name, uplink *thing) {
	number := 1
	for _, n := range m.networks {
		number = max(number, n.Number+1)
	}
	n := &net{Network: Network{Number: number, Label: strconv.Itoa(number), Name: clean(string(id)), ID: clean(string(id)), Marks: []Mark{Foreign}}}
	m.networks = append(m.networks, n)
	switch {
	case uplink == nil:
	case uplink.Layer == LayerSegment:
		n.segment, n.on = uplink, m.byName[uplink.dev.On]
		n.VLAN = uplink.dev.VLAN
		if uplink.net == nil {
			uplink.net = n
		}
	default:
		n.on = uplink
		n.segment = m.segment(n, uplink.dev.Name, 0, "")
	}
	if n.on != nil {
		n.On = n.on.Name
	}
	m.addBridge(n, id)
}

// network finds a network by its bridge or its name.
func (m *Model) network(id bridge.Name) *net {
	for _, n := range m.networks {
		if n.bridge != nil && n.bridge.Key == string(id) || n.ID == string(id) || n.Name == string(id) {
			return n
		}
	}
	return nil
}

// placeGuests puts guests' ports where they are, or where they would be.
func (m *Model) placeGuests(nics []*thing) {
	slices.SortStableFunc(nics, func(a, b *thing) int {
		return cmp.Or(cmp.Compare(a.guest.ID, b.guest.ID), cmp.Compare(a.guest.NIC, b.guest.NIC), tapLast(a.guest.Tap, b.guest.Tap), cmp.Compare(a.Key, b.Key))
	})
	guests := map[uint16]*thing{}
	for _, t := range nics {
		n := m.network(t.guest.Network)
		if t.dev != nil && t.dev.Master != "" {
			n = m.network(t.dev.Master)
		}
		t.Eth, t.Tap, t.Domain = "eth"+strconv.Itoa(t.guest.NIC), t.guest.Tap, int(t.guest.ID)
		if n != nil {
			t.net = n
			n.nics = append(n.nics, t)
			t.stands(n.top(), t.dev != nil && n.bridge != nil && t.dev.Master == bridge.Name(n.bridge.Key))
		}
		g := guests[t.guest.ID]
		if g == nil {
			g = &thing{Node: Node{Key: "domain " + strconv.Itoa(int(t.guest.ID)), Layer: LayerGuest, Domain: int(t.guest.ID)}, known: true}
			guests[t.guest.ID] = g
			m.things = append(m.things, g)
		}
		if g.Name == "" {
			g.Name = clean(t.guest.Domain)
		}
		g.stands(t, true)
	}
	for _, g := range guests {
		if g.Name == "" {
			g.Name = g.Key
		}
	}
	for _, t := range nics {
		t.Guest = guests[t.guest.ID].Name
	}
}

func tapLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// top is the uppermost part of a network.
func (n *net) top() *thing {
	switch {
	case n.bridge != nil:
		return n.bridge
	case n.segment != nil:
		return n.segment
	}
	return nil
}

// addPorts takes up what else is a port of a network's bridge: nobody declared it there.
func (m *Model) addPorts() {
	for _, t := range m.devices {
		if t.dev == nil || t.dev.Master == "" || t.guest != nil {
			continue
		}
		b := m.byName[t.dev.Master]
		if b == nil || b.Layer != LayerBridge || b.net == nil {
			continue
		}
		if t.Layer != LayerNone {
			if t != b.net.on && t != b.net.segment {
				b.stands(t, true)
			}
			continue
		}
		t.Layer, t.net = LayerNIC, b.net
		b.net.others = append(b.net.others, t)
		t.stands(b, true)
	}
}
