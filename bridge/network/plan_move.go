package network

import (
	"fmt"
	"slices"

	"vifplug/bridge"
)

// move has those devices join or leave that take addresses along, in order from the wire up.
func (p *planner) move() {
	for _, w := range p.g.devices {
		if w.mastered && p.w.device(w.name) != nil && p.w.device(w.name).Master != w.master {
			p.join(w)
			p.configure(w)
			if m := p.g.by[w.master]; m != nil {
				p.configure(m)
			}
		}
	}
	p.place()
}

// sources are the devices whose addresses move when a device changes its master: itself, and the bridge or bond that it leaves, unless that is
// declared and so has a place of its own.
func (p *planner) sources(w *wanted) []bridge.Name {
	out := []bridge.Name{w.name}
	from := p.w.device(w.name).Master
	if from != "" && (p.g.by[from] == nil || p.g.going[from]) && p.g.heir(from) == p.g.top(w.name) {
		out = append(out, from)
	}
	return out
}

// loaded says that a device is to change its master and moves addresses or routes by that.
func (p *planner) loaded(w *wanted) bool {
	d := p.w.device(w.name)
	if d == nil || !w.mastered || d.Master == w.master {
		return false
	}
	return slices.ContainsFunc(p.sources(w), func(name bridge.Name) bool {
		return slices.ContainsFunc(p.w.device(name).Addresses, func(a bridge.Address) bool { return p.target(name, a) != name }) ||
			slices.ContainsFunc(p.w.routes, func(r bridge.Route) bool { return r.Device == name && !p.g.wantsRoute(r) })
	})
}

// target is the device on which an address belongs; "" for none.
func (p *planner) target(name bridge.Name, a bridge.Address) bridge.Name {
	if slices.ContainsFunc(p.g.addresses[name], a.Same) {
		return name
	}
	for _, t := range []bridge.Name{p.g.heir(name), p.g.top(name)} {
		if t != "" && slices.ContainsFunc(p.g.addresses[t], a.Same) {
			return t
		}
	}
	for _, w := range p.g.devices {
		if slices.ContainsFunc(p.g.addresses[w.name], a.Same) {
			return w.name
		}
	}
	return ""
}

// join changes the master of a device, with all that belongs to it: its addresses are on the new device before, and their routes right after.
func (p *planner) join(w *wanted) {
	d := p.w.device(w.name)
	if d == nil || d.Master == w.master || p.err != nil {
		return
	}
	sources := p.sources(w)
	targets := p.lend(sources)
	to := p.w.device(w.master)
	if to != nil && to.Kind == "bridge" {
		p.leaveFirst(w)
		p.raise(w.master, "so that it passes frames as soon as "+string(w.name)+" joins")
	}
	from := p.w.device(d.Master)
	if to != nil && to.Kind == "bond" && p.isUp(w.name) && (from == nil || from.Kind != "bond") {
		p.set(w.name, bridge.Settings{bridge.KeyUp: "0"}, fmt.Sprintf("only then it can join %s", w.master))
	}
	p.do(Step{Op: OpMaster, Device: w.name, Master: w.master, Reason: p.masterReason(w)})
	p.raise(w.name, w.why)
	if len(targets) == 0 {
		p.vlans(w)
		p.restore(w.name)
		return
	}
	for _, t := range targets {
		p.raise(t, p.g.by[t].why)
	}
	for _, name := range append(targets, w.name) {
		p.fill(name)
	}
	for _, name := range sources {
		p.strip(name)
	}
	p.restore(append(targets, w.name)...)
	p.vlans(w)
}

// masterReason says why a device joins or leaves.
func (p *planner) masterReason(w *wanted) string {
	m := p.g.by[w.master]
	switch {
	case w.master == "" && len(w.set) > 0 && len(w.networks) > 0:
		return standText(w.networks) + " without a bridge"
	case m != nil && m.kind == "bridge":
		return fmt.Sprintf("it is the uplink of %s", networkText(m.networks[0]))
	case w.master == "" && w.kind == "bond":
		return "nothing that is declared has it as a port"
	}
	return w.why
}

// leaveFirst has a bridge's former uplinks leave before a new one joins, so that at no moment two segments are one.
func (p *planner) leaveFirst(w *wanted) {
	for _, port := range slices.Clone(p.w.ports[w.master]) {
		if !p.leaves(port, w.master) {
			continue
		}
		reason := fmt.Sprintf("%s takes its place", w.name)
		if u := p.g.by[port]; u != nil && u.mastered {
			reason = u.why
		}
		p.do(Step{Op: OpMaster, Device: port, Reason: reason})
	}
}

// leaves says that a port of a bridge must leave it.
func (p *planner) leaves(port, master bridge.Name) bool {
	u := p.g.by[port]
	return u != nil && u.mastered && u.master != master || p.g.going[port]
}

// lend puts what some devices will lose on the devices where it belongs, and names those.
func (p *planner) lend(sources []bridge.Name) (targets []bridge.Name) {
	for _, name := range sources {
		for _, a := range slices.Clone(p.w.device(name).Addresses) {
			t := p.target(name, a)
			d := p.w.device(t)
			if t == name || d == nil || isGuests(d) {
				continue
			}
			if !slices.Contains(targets, t) {
				targets = append(targets, t)
			}
			p.give(t, a, fmt.Sprintf("it moves from %s", name))
		}
		for _, r := range p.w.routes {
			if t := p.g.heir(name); r.Device == name && t != name && p.w.device(t) != nil && !slices.Contains(targets, t) {
				targets = append(targets, t)
			}
		}
	}
	return targets
}
