package network

import (
	"fmt"
	"slices"
	"strings"

	"vifplug/bridge"
)

// Input is what a plan is made from.
type Input struct {
	Want   Spec        // resolved
	Before *Spec       // what was declared until now; nil: nothing is known of it
	Have   bridge.Host // as it is
	Guests []Guest     // to say whose ports stand in the way
}

// goal is the host as it should be: what is declared, and all that is not and stays.
type goal struct {
	in        Input
	have      *world
	devices   []*wanted // each before what stands on it: ports, bonds, segments, bridges
	by        map[bridge.Name]*wanted
	gone      []bridge.Name // ours and no longer declared, from the top down
	going     map[bridge.Name]bool
	addresses map[bridge.Name][]bridge.Address // of every device that has any now or then
	routes    []bridge.Route
	dropped   map[string]string // why an address or a route goes, by device and text
	notes     []string
	errs      []error
}

// wanted is how a device should be.
type wanted struct {
	name     bridge.Name
	kind     string // "" for a port, which nobody can make
	on       bridge.Name
	vlan     int
	have     *bridge.Device // as it is; nil: it is to be made
	ours     bool           // we have made it, or will
	mastered bool           // it must be a port of master, or of none
	master   bridge.Name
	set      bridge.Settings   // what it must have; of the MTU see least
	least    int               // what its MTU must be at least; 0: anything
	vlans    []bridge.PortVLAN // that it must take part in, as an uplink
	networks []*Network        // that stand on it
	why      string            // half a sentence
}

// newGoal works out what should be.
func newGoal(in Input) *goal {
	g := &goal{
		in: in, have: newWorld(in.Have), by: map[bridge.Name]*wanted{}, going: map[bridge.Name]bool{},
		addresses: map[bridge.Name][]bridge.Address{}, dropped: map[string]string{},
	}
	for i := range in.Want.Bonds {
		g.wantPorts(&in.Want.Bonds[i])
	}
	for i := range in.Want.Bonds {
		g.wantBond(&in.Want.Bonds[i])
	}
	for i := range in.Want.Networks {
		g.wantLink(&in.Want.Networks[i])
	}
	for i := range in.Want.Networks {
		g.wantSegment(&in.Want.Networks[i])
	}
	for i := range in.Want.Networks {
		g.wantBridge(&in.Want.Networks[i])
	}
	g.wantReleases()
	g.findGone()
	g.freeLinks()
	g.wantHeirs()
	g.wantMTUs()
	g.wantMACs()
	g.wantAddresses()
	g.wantRoutes()
	slices.Sort(g.notes)
	g.notes = slices.Compact(g.notes)
	return g
}

func (g *goal) note(format string, args ...any) {
	g.notes = append(g.notes, fmt.Sprintf(format, args...))
}

func (g *goal) refuse(format string, args ...any) {
	g.errs = append(g.errs, fmt.Errorf(format, args...))
}

// want adds a device. One of another kind in its place is in the way, unless it is ours: that is replaced.
func (g *goal) want(w *wanted) *wanted {
	if known := g.by[w.name]; known != nil {
		g.refuse("%s is declared to be two things: %s, and %s. Give one another name", w.name, known.why, w.why)
		return known
	}
	d := g.have.device(w.name)
	if d != nil && w.kind != "" && !w.is(d) {
		if !isOurs(d) {
			g.refuse("%s exists and is no %s but %s, which vifplug did not make. Rename or delete it, or give the %s another name", w.name, w.kind, kindText(d), w.kind)
		}
		d = nil
	}
	w.have = d
	if w.set == nil {
		w.set = bridge.Settings{}
	}
	w.ours = w.kind != "" && (d == nil || isOurs(d) || isPristine(g.have, d))
	g.by[w.name] = w
	g.devices = append(g.devices, w)
	return w
}

// is says that a device is of the kind that is wanted, and in its place.
func (w *wanted) is(d *bridge.Device) bool {
	return w.kind == "" || d.Kind == w.kind && (w.kind != "vlan" || d.On == w.on && d.VLAN == w.vlan)
}

func kindText(d *bridge.Device) string {
	switch d.Kind {
	case "":
		return "a port"
	case "vlan":
		return fmt.Sprintf("VLAN %d on %s", d.VLAN, d.On)
	}
	return "a " + d.Kind
}

// isPristine says that a bond is as the bonding module leaves one that springs up when it is loaded (max_bonds=1): nobody's.
func isPristine(w *world, d *bridge.Device) bool {
	return d.Kind == "bond" && d.Settings[bridge.KeyAlias] == "" && d.Settings[bridge.KeyUp] != "1" &&
		len(w.ports[d.Name]) == 0 && len(w.uppers[d.Name]) == 0 && len(d.Addresses) == 0 && d.Master == ""
}

// wantPorts wants a bond's ports. Those that are not there join when they appear.
func (g *goal) wantPorts(b *Bond) {
	for _, name := range b.Ports {
		if g.have.device(name) == nil {
			g.note("port %s of bond %s does not exist: it joins when it appears", name, b.Name)
			continue
		}
		g.want(&wanted{
			name: name, mastered: true, master: b.Name, set: bridge.Settings{bridge.KeyUp: "1"}, networks: g.standingOn(b.Name),
			why: fmt.Sprintf("it is declared a port of %s", b.Name),
		})
	}
}

func (g *goal) standingOn(name bridge.Name) (out []*Network) {
	for i := range g.in.Want.Networks {
		if n := &g.in.Want.Networks[i]; n.On == name {
			out = append(out, n)
		}
	}
	return out
}

func (g *goal) wantBond(b *Bond) {
	w := g.want(&wanted{name: b.Name, kind: "bond", networks: g.standingOn(b.Name), why: "it is declared"})
	if len(w.networks) > 0 {
		w.why = standText(w.networks)
	}
	w.set[bridge.KeyUp], w.set[bridge.KeyMode] = "1", b.Mode
	if w.ours {
		w.set[bridge.KeyAlias] = BondAlias(b.Name)
	}
	if g.in.Before != nil {
		if was := g.in.Before.Bond(b.Name); was != nil {
			for key := range was.Options {
				if o := bridge.BondOption(key); o != nil && o.In(b.Mode) {
					w.set[key] = o.Default
				}
			}
		}
	}
	for key, v := range b.Options {
		if o := bridge.BondOption(key); o != nil && o.In(b.Mode) && (o.Kind != "device" || g.by[bridge.Name(v)] != nil) {
			w.set[key] = canonical(o, v)
		}
	}
}

// canonical is a value as the kernel tells it. One that is none stays as it is, for the kernel to refuse.
func canonical(o *bridge.Option, value string) string {
	if v, err := o.Canonical(value); err == nil {
		return v
	}
	return value
}

// standText is "networks management (1) and guests (4) stand on it".
func standText(networks []*Network) string {
	if len(networks) == 1 {
		return networkText(networks[0]) + " stands on it"
	}
	names := make([]string, len(networks))
	for i, n := range networks {
		names[i] = fmt.Sprintf("%s (%d)", n.Name, n.Number)
	}
	last := len(names) - 1
	return fmt.Sprintf("networks %s and %s stand on it", strings.Join(names[:last], ", "), names[last])
}

func networkText(n *Network) string { return fmt.Sprintf("network %s (%d)", n.Name, n.Number) }
