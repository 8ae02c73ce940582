package network

import (
	"crypto/sha256"
	"slices"

	"vifplug/bridge"
)

// wantMACs wants the MAC addresses that bonds and bridges must have: declared ones, else those of what they stand on.
func (g *goal) wantMACs() {
	for i := range g.in.Want.Bonds {
		b := &g.in.Want.Bonds[i]
		if w := g.by[b.Name]; w != nil && w.kind == "bond" {
			g.set(w, bridge.KeyMAC, g.bondMAC(w, b))
		}
	}
	for i := range g.in.Want.Networks {
		n := &g.in.Want.Networks[i]
		w := g.by[n.ID]
		switch {
		case w == nil || !n.HasBridge():
		case n.MAC != nil:
			w.set[bridge.KeyMAC] = n.MAC.String()
		case w.ours && n.On == "":
			w.set[bridge.KeyMAC] = madeMAC(n.ID).String()
		case w.ours:
			g.set(w, bridge.KeyMAC, g.linkMAC(g.by[g.segment(n)]))
		}
	}
}

func (g *goal) set(w *wanted, key bridge.Key, value string) {
	if value != "" {
		w.set[key] = value
	}
}

// madeMAC is the locally administered address of a bridge that stands on nothing.
func madeMAC(id bridge.Name) bridge.MAC {
	sum := sha256.Sum256([]byte("vifplug bridge " + id))
	mac := bridge.MAC(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// bondMAC is the address of a bond; "": whatever it has. One that has ports keeps its own, unless it belongs to a port that leaves: that takes
// it along.
func (g *goal) bondMAC(w *wanted, b *Bond) string {
	if b.MAC != nil {
		return b.MAC.String()
	}
	if f := b.Options["fail_over_mac"]; b.Mode == "active-backup" && f != "" && f != "none" {
		return ""
	}
	if w.have != nil && len(g.have.ports[w.name]) > 0 {
		mac := w.have.Settings[bridge.KeyMAC]
		leaves := slices.ContainsFunc(g.have.ports[w.name], func(p bridge.Name) bool {
			return !slices.Contains(b.Ports, p) && formerMAC(g.have.device(p)) == mac
		})
		if !leaves {
			return mac
		}
	}
	for _, p := range b.Ports {
		if d := g.have.device(p); d != nil {
			return portMAC(g.have, d)
		}
	}
	return ""
}

// portMAC is a port's own address, in a bond or not.
func portMAC(w *world, d *bridge.Device) string {
	if m := w.device(d.Master); m != nil && m.Kind == "bond" {
		return formerMAC(d)
	}
	return d.Settings[bridge.KeyMAC]
}

// linkMAC is the address that an uplink has, or will have; "": not known.
func (g *goal) linkMAC(w *wanted) string {
	switch {
	case w == nil:
		return ""
	case w.set[bridge.KeyMAC] != "":
		return w.set[bridge.KeyMAC]
	case w.kind == "vlan":
		lower := g.by[w.on]
		if w.have != nil && lower != nil && lower.have != nil && w.have.Settings[bridge.KeyMAC] != lower.have.Settings[bridge.KeyMAC] {
			return w.have.Settings[bridge.KeyMAC]
		}
		return g.linkMAC(lower)
	case w.have == nil || w.kind == "bond" && len(g.have.ports[w.name]) == 0:
		return ""
	}
	return portMAC(g.have, w.have)
}
