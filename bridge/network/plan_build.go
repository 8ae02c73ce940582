package network

import (
	"fmt"
	"maps"
	"slices"

	"vifplug/bridge"
)

// build makes what is missing and changes what is otherwise, from the wire up. Devices that carry addresses to another are left where they are
// until all that they go to is there.
func (p *planner) build() {
	for _, w := range p.g.devices {
		switch w.kind {
		case "":
			p.port(w)
		case "bond":
			p.bond(w)
		case "vlan":
			p.segment(w)
		case "bridge":
			p.bridge(w)
		}
	}
}

// port readies a port on which networks stand by itself.
func (p *planner) port(w *wanted) {
	if w.mastered && w.master == "" && !p.loaded(w) {
		p.join(w)
	}
	if m := p.g.by[w.master]; w.mastered && m != nil && m.kind == "bond" {
		return // the bond's affair
	}
	p.configure(w)
}

// segment makes a VLAN device, up at once: what it stands on is. With a bridge that is there, or can be before it, one message does it all.
func (p *planner) segment(w *wanted) {
	if p.w.device(w.name) == nil {
		c := &Create{Kind: "vlan", On: w.on, VLAN: w.vlan, Settings: w.set.Clone()}
		if m := p.g.by[w.master]; m != nil && m.kind == "bridge" {
			p.makeBridge(m)
			if !slices.ContainsFunc(p.w.ports[m.name], func(port bridge.Name) bool { return p.leaves(port, m.name) }) {
				c.Master = m.name
			}
		}
		p.do(Step{Op: OpCreate, Device: w.name, Create: c, Reason: w.why})
		p.vlans(w)
		return
	}
	if w.mastered && w.master == "" && !p.loaded(w) {
		p.join(w)
	}
	p.configure(w)
}

// makeBridge makes a bridge, up at once: one that had no port yet passes frames from the moment on at which its first one joins, while one that
// is set up after that loses some.
func (p *planner) makeBridge(w *wanted) {
	if p.w.device(w.name) == nil {
		p.do(Step{Op: OpCreate, Device: w.name, Create: &Create{Kind: "bridge", Settings: w.set.Clone()}, Reason: w.why})
	}
}

// bridge makes a bridge, and has its uplink join.
func (p *planner) bridge(w *wanted) {
	p.makeBridge(w)
	var waits bool
	for _, u := range p.g.devices {
		if !u.mastered || u.master != w.name {
			continue
		}
		if p.loaded(u) {
			waits = true
			continue
		}
		p.join(u)
	}
	if !waits {
		p.configure(w)
	}
}

// configure sets what a device lacks of its settings: options of bonds that need it down, in a pause of it. Up comes last, by itself, and only
// where it may.
func (p *planner) configure(w *wanted) {
	d := p.w.device(w.name)
	if d == nil || p.err != nil {
		return
	}
	lacks := w.differs(d)
	delete(lacks, bridge.KeyUp)
	if v := lacks[keyPrimary]; v != "" && p.w.device(bridge.Name(v)).Master != w.name {
		delete(lacks, keyPrimary)
	}
	if len(lacks) > 0 {
		if w.kind == "bond" && needsPause(lacks) && p.isUp(w.name) {
			p.pause(w, lacks)
		} else {
			p.set(w.name, lacks, p.reasonFor(w, lacks))
		}
	}
	if m := p.g.by[w.master]; w.mastered && m != nil && m.kind == "bond" && d.Master != w.master {
		return // a port joins a bond only while it is down
	}
	p.raise(w.name, w.why)
}

func (p *planner) reasonFor(w *wanted, lacks bridge.Settings) string {
	if _, mtu := lacks[bridge.KeyMTU]; mtu && len(lacks) == 1 {
		if d := p.w.device(w.name); deviceMTU(d) == 0 && w.kind == "bridge" {
			return "the kernel may have had it follow its ports"
		}
		return p.mtuReason(w)
	}
	keys := slices.Sorted(maps.Keys(lacks))
	switch {
	case len(keys) == 1 && keys[0] == bridge.KeyAlias:
		return "to tell whose it is"
	case len(keys) == 1 && keys[0] == bridge.KeyMAC && w.kind == "bridge" && w.network().MAC == nil:
		return "so that its address is its uplink's"
	case len(keys) == 1 && keys[0] == bridge.KeyMAC && w.kind == "bond" && p.g.in.Want.Bond(w.name).MAC == nil:
		return "its address is to be that of one of its own ports"
	case w.kind == "bond" || w.kind == "bridge":
		return "as declared"
	}
	return w.why
}

// needsPause says that settings of a bond can be changed only while it is down.
func needsPause(s bridge.Settings) bool {
	for key := range s {
		if o := bridge.BondOption(key); key == bridge.KeyMode || o != nil && o.Down {
			return true
		}
	}
	return false
}

// needsEmpty says that settings of a bond can be changed only while it has no ports.
func needsEmpty(s bridge.Settings) bool {
	for key := range s {
		if o := bridge.BondOption(key); key == bridge.KeyMode || o != nil && o.Empty {
			return true
		}
	}
	return false
}

// pause changes a bond while it is down, and gives back what the kernel forgot: IPv6 addresses and routes of the bond and its segments.
func (p *planner) pause(w *wanted, lacks bridge.Settings) {
	p.set(w.name, bridge.Settings{bridge.KeyUp: "0"}, fmt.Sprintf("only then %s can be changed", firstOf(lacks, func(o *bridge.Option) bool { return o.Down })))
	p.set(w.name, lacks, "as declared")
	p.set(w.name, bridge.Settings{bridge.KeyUp: "1"}, w.why)
	p.restore(w.name)
}

// firstOf names the setting for which something must be done first; the mode before all others.
func firstOf(s bridge.Settings, is func(*bridge.Option) bool) bridge.Key {
	if _, mode := s[bridge.KeyMode]; mode {
		return bridge.KeyMode
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if o := bridge.BondOption(key); o != nil && is(o) {
			return key
		}
	}
	return ""
}

// bond makes a bond, or changes it, and has its ports join and leave.
func (p *planner) bond(w *wanted) {
	d := p.w.device(w.name)
	if d == nil {
		set := w.set.Clone()
		delete(set, keyPrimary)
		p.do(Step{Op: OpCreate, Device: w.name, Create: &Create{Kind: "bond", Settings: set}, Reason: w.why})
	} else if lacks := w.differs(d); needsEmpty(lacks) {
		for _, port := range slices.Clone(p.w.ports[w.name]) {
			p.do(Step{Op: OpMaster, Device: port, Reason: fmt.Sprintf("%s of %s can be changed only while it has no ports",
				firstOf(lacks, func(o *bridge.Option) bool { return o.Empty }), w.name)})
		}
	}
	p.configure(w)
	for _, u := range p.g.devices {
		if u.mastered && u.master == w.name && !p.loaded(u) {
			p.join(u)
		}
	}
	for _, port := range slices.Clone(p.w.ports[w.name]) {
		if u := p.g.by[port]; u != nil && u.mastered && u.master == "" && len(u.networks) == 0 {
			p.join(u)
		}
	}
	p.configure(w) // primary
}

// vlans has an uplink take part in the VLANs of its bridge.
func (p *planner) vlans(w *wanted) {
	d := p.w.device(w.name)
	if d == nil {
		return
	}
	for _, v := range w.lackedVLANs(d) {
		p.do(Step{Op: OpAddVLAN, Device: w.name, PortVLAN: &v, Reason: fmt.Sprintf("guests on %s use VLANs of their own", w.master)})
	}
}
