package network

import (
	"fmt"
	"slices"
	"strings"

	"vifplug/bridge"
)

// findGone finds what is ours and no longer declared: bridges, then segments, then bonds. What somebody else still needs is left, with a note.
func (g *goal) findGone() {
	left := map[bridge.Name]bool{}
	for i := range g.have.devices {
		d := &g.have.devices[i]
		if w := g.by[d.Name]; !isOurs(d) || w != nil && (w.kind != "" || w.carriesNetworks()) {
			continue
		}
		if who := g.strangers(d); who != "" {
			left[d.Name] = true
			g.note("%s %s is no longer declared, but stays: %s", d.Kind, d.Name, who)
			continue
		}
		g.going[d.Name] = true
	}
	for again := true; again; {
		again = false
		for name := range g.going {
			if g.carries(name) {
				delete(g.going, name)
				again = true
			}
		}
	}
	for _, kind := range []string{"bridge", "vlan", "bond"} {
		g.gone = append(g.gone, g.goneOf(kind)...)
	}
}

// goneOf lists what goes of a kind, in order: VLANs on VLANs first.
func (g *goal) goneOf(kind string) (out []bridge.Name) {
	for name := range g.going {
		if g.have.device(name).Kind == kind {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b bridge.Name) int {
		if d := g.depth(b) - g.depth(a); d != 0 {
			return d
		}
		return strings.Compare(string(a), string(b))
	})
	return out
}

func (g *goal) depth(name bridge.Name) int {
	if d := g.have.device(name); d != nil && d.On != "" && d.On != name {
		return 1 + g.depth(d.On)
	}
	return 0
}

// strangers tells who has ports on a bridge that are not the network's way to the wire; "": nobody.
func (g *goal) strangers(d *bridge.Device) string {
	if d.Kind != "bridge" {
		return ""
	}
	var who []string
	for _, port := range g.have.ports[d.Name] {
		p := g.have.device(port)
		wire := isOurs(p) || g.wasUplink(port, d.Name) || g.by[port] != nil || p.Kind == "" || p.Kind == "bond" || p.Kind == "vlan"
		if !isGuests(p) && wire {
			continue
		}
		who = append(who, g.whose(p))
	}
	switch len(who) {
	case 0:
		return ""
	case 1:
		return who[0] + " is on it"
	}
	if len(who) > 4 {
		who = append(who[:3], fmt.Sprintf("%d others", len(who)-3))
	}
	return strings.Join(who[:len(who)-1], ", ") + " and " + who[len(who)-1] + " are on it"
}

// whose names a port and whose it is.
func (g *goal) whose(p *bridge.Device) string {
	for _, guest := range g.in.Guests {
		if guest.Device == p.Name {
			return fmt.Sprintf("%s (eth%d of %s)", p.Name, guest.NIC, guest.Domain)
		}
	}
	if a, is := ParseAlias(p.Settings[bridge.KeyAlias]); is && a.Domain != "" {
		return fmt.Sprintf("%s (eth%d of %s)", p.Name, a.NIC, a.Domain)
	}
	return string(p.Name)
}

// carries says that something which stays stands on a device: a VLAN device, or the bridge that it is a port of and stays for its guests.
func (g *goal) carries(name bridge.Name) bool {
	d := g.have.device(name)
	for _, upper := range g.have.uppers[name] {
		if !g.going[upper] {
			if !isOurs(g.have.device(upper)) {
				g.note("%s %s is no longer declared, but stays: %s, which is not vifplug's, stands on it", d.Kind, name, upper)
			}
			return true
		}
	}
	m := g.have.device(d.Master)
	return m != nil && m.Kind == "bridge" && isOurs(m) && !g.going[m.Name] && g.by[m.Name] == nil
}
