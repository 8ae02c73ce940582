package view

import (
	"cmp"
	"fmt"
	"slices"

	"vifplug/bridge"
)

// bondDetail tells a bond's mode and who carries its traffic: the active port; of LACP, how many ports, agreed with which partner.
func bondDetail(d *bridge.Device) (out []string) {
	if mode := d.Settings["mode"]; mode != "" {
		out = append(out, clean(mode))
	}
	switch s := d.BondState; {
	case s == nil:
	case s.ActivePort != "":
		out = append(out, "active "+clean(string(s.ActivePort)))
	case s.Aggregator != 0 && s.PartnerMAC == (bridge.MAC{}):
		out = append(out, "no partner")
	case s.Aggregator != 0:
		ports := fmt.Sprintf("%d ports", s.Ports)
		if s.Ports == 1 {
			ports = "1 port"
		}
		out = append(out, fmt.Sprintf("aggregator %d of %s", s.Aggregator, ports), "partner "+s.PartnerMAC.String())
	}
	return out
}

// judge marks what is wrong or unusual, and says how each network stands.
func (m *Model) judge() {
	for _, t := range m.devices {
		m.mark(t)
	}
	for _, t := range m.things {
		if t.Layer == LayerSegment && !t.known {
			t.add(Foreign, "")
		}
	}
	for _, n := range m.networks {
		m.judgeNetwork(n)
	}
}

// add gives a mark, once, and its note in words.
func (t *thing) add(k Mark, note string) {
	if !slices.Contains(t.Marks, k) {
		t.Marks = append(t.Marks, k)
	}
	if note = clean(note); note != "" {
		t.Notes = append(t.Notes, note)
	}
}

// mark judges a device.
func (m *Model) mark(t *thing) {
	switch {
	case t.dev == nil:
		t.add(Missing, "")
	case t.dev.Settings[bridge.KeyUp] == "":
	case t.dev.Settings[bridge.KeyUp] != "1" && t.Layer == LayerNone:
		t.add(Down, "")
	case t.dev.Settings[bridge.KeyUp] != "1":
		t.add(Down, "switched off")
	case (t.Layer == LayerWire || t.Layer == LayerBond) && !t.dev.Running && len(t.carries) > 0:
		t.add(Down, "no carrier")
	}
	if g := t.guest; g != nil {
		if g.State == "failed" {
			t.add(Failed, g.Reason)
		}
		if asked := m.network(g.Network); g.Network != "" && asked != t.net && t.net != nil {
			t.add(Drifted, "asks for "+string(g.Network))
		}
		if t.net != nil && t.net.bridge != nil && t.dev != nil && t.dev.Master == "" {
			t.add(Drifted, "on no bridge")
		}
	}
	if drift, ok := m.drift[bridge.Name(t.Key)]; ok {
		t.add(Drifted, drift)
	}
	if !t.known && t.Layer != LayerNone {
		t.add(Foreign, "")
	}
	t.order()
}

// order sorts marks by how much they matter.
func (t *thing) order() {
	rank := map[Mark]int{Missing: 1, Failed: 2, Down: 3, Drifted: 4, Foreign: 5}
	slices.SortStableFunc(t.Marks, func(a, b Mark) int { return cmp.Compare(rank[a], rank[b]) })
}

// judgeNetwork says a network's state by the worst of its parts.
func (m *Model) judgeNetwork(n *net) {
	n.State = StateUp
	for _, t := range []*thing{n.on, n.segment, n.bridge} {
		if t == nil || !t.device {
			continue
		}
		n.see(t)
		if t == n.on && t.Layer == LayerBond {
			m.seePorts(n, t)
		}
	}
	for _, t := range n.nics {
		if slices.Contains(t.Marks, Failed) && !slices.Contains(n.Marks, Failed) {
			n.Marks = append(n.Marks, Failed)
		}
	}
	m.describe(n)
}

// see takes a part of a network into its state, marks and notes.
func (n *net) see(t *thing) {
	switch {
	case slices.Contains(t.Marks, Missing):
		n.State = StateMissing
		n.Notes = append(n.Notes, t.Name+" is missing")
	case slices.Contains(t.Marks, Down) && n.State != StateMissing:
		n.State = StateDown
	}
	if slices.Contains(t.Marks, Drifted) && !slices.Contains(n.Marks, Drifted) {
		n.Marks = append(n.Marks, Drifted)
	}
	for _, note := range t.Notes {
		n.Notes = append(n.Notes, t.Name+": "+note)
	}
}

// seePorts judges a network by the ports of its bond: one that is out degrades it, and when all are it is down.
func (m *Model) seePorts(n *net, bond *thing) {
	out := 0
	for _, s := range bond.On {
		port := m.byName[bridge.Name(s.Key)]
		switch {
		case slices.Contains(port.Marks, Missing):
			n.Notes = append(n.Notes, port.Name+" is missing")
		case slices.Contains(port.Marks, Down):
			n.Notes = append(n.Notes, port.Name+": "+port.Notes[0])
		case s.Missing:
			n.Notes = append(n.Notes, port.Name+" is no port of "+bond.Name)
		default:
			continue
		}
		out++
	}
	switch {
	case out == 0 || n.State != StateUp:
	case out == len(bond.On):
		n.State = StateDown
	default:
		n.State = StateDegraded
	}
}

// describe fills in what the network's uppermost device tells, and gives the parts of the picture the network's words.
func (m *Model) describe(n *net) {
	holder := n.top()
	if holder == nil {
		return
	}
	dev := holder
	if !holder.device {
		dev = n.on
	}
	if dev.dev != nil {
		n.MTU = number(dev.dev, bridge.KeyMTU)
		for _, a := range addresses(dev.dev) {
			if !slices.Contains(n.Addresses, a) {
				n.Addresses = append(n.Addresses, a)
			}
		}
	}
	holder.Network = n.Name
	holder.Detail = slices.Concat(holder.Detail, n.Roles, n.Addresses)
	for _, t := range n.nics {
		n.Guests = append(n.Guests, NIC{
			Label: t.Label, Device: t.Name, Guest: t.Guest, Domain: t.Domain, Eth: t.Eth, Tap: t.Tap, State: clean(t.guest.State), Marks: t.Marks, Notes: t.Notes,
		})
	}
}

// collect makes the logical view's list: by column, within it by network and label, then in the kernel's order.
func (m *Model) collect() {
	for _, t := range m.devices {
		if t.Layer != LayerNone {
			m.things = append(m.things, t)
		}
	}
	first := func(t *thing) int {
		if len(t.Networks) == 0 {
			return 1 << 30
		}
		return t.Networks[0]
	}
	slices.SortStableFunc(m.things, func(a, b *thing) int {
		return cmp.Or(cmp.Compare(a.Layer.column(), b.Layer.column()), cmp.Compare(first(a), first(b)), cmp.Compare(a.letter, b.letter))
	})
}
