package network

import (
	"errors"
	"fmt"

	"vifplug/bridge"
)

// Plan is the way from a host as it is to the host as it is declared.
type Plan struct {
	Steps      []Step   `json:"steps"`
	Notes      []string `json:"notes,omitempty"`      // what an administrator should know beside
	Management string   `json:"management,omitempty"` // "", or why the steps touch what carries server-management
	Cuts       string   `json:"cuts,omitempty"`       // "", or why the host could not be managed after them
}

// Make plans. The steps are in order, and the same for the same input; after them [Compare] finds nothing, and Make makes none. An error says
// all that stands in the way of any plan.
//
// The order: what is in the way goes; MTUs that shrink do so from the top down; bonds, ports, segments and bridges come from the wire up, as
// far as that moves no address; then each device that carries addresses moves, with them, in one go; last goes what is no longer declared.
func Make(in Input) (Plan, error) {
	g := newGoal(in)
	if len(g.errs) > 0 {
		return Plan{Notes: g.notes}, errors.Join(g.errs...)
	}
	p := &planner{g: g, w: newWorld(in.Have)}
	p.clear()
	p.shrink()
	p.build()
	p.move()
	p.remove()
	p.settle()
	if p.err != nil {
		return Plan{Notes: g.notes}, fmt.Errorf("no plan leads to what is declared: %w", p.err)
	}
	plan := Plan{Steps: p.steps, Notes: g.notes}
	plan.Management = p.management()
	plan.Cuts = p.cuts()
	return plan, nil
}

// planner makes steps, and does each to a world so that the next goes by what the kernel has made of it.
type planner struct {
	g     *goal
	w     *world
	steps []Step
	err   error // the first step that the kernel would refuse; no more are made
}

// do makes a step.
func (p *planner) do(s Step) {
	if p.err != nil {
		return
	}
	if err := p.w.do(s); err != nil {
		p.err = err
		return
	}
	p.steps = append(p.steps, s)
}

func (p *planner) set(name bridge.Name, s bridge.Settings, reason string) {
	if len(s) > 0 {
		p.do(Step{Op: OpSet, Device: name, Set: s, Reason: reason})
	}
}

func (p *planner) isUp(name bridge.Name) bool {
	d := p.w.device(name)
	return d != nil && d.Settings[bridge.KeyUp] == "1"
}

// raise sets a device up that is to be.
func (p *planner) raise(name bridge.Name, reason string) {
	w := p.g.by[name]
	if d := p.w.device(name); d != nil && w != nil && w.set[bridge.KeyUp] == "1" && d.Settings[bridge.KeyUp] != "1" {
		p.set(name, bridge.Settings{bridge.KeyUp: "1"}, reason)
	}
}

// clear deletes what is ours and is in the way of something of another kind.
func (p *planner) clear() {
	for i := len(p.g.devices) - 1; i >= 0; i-- {
		w := p.g.devices[i]
		d := p.w.device(w.name)
		if d == nil || w.is(d) {
			continue
		}
		p.empty(w.name, fmt.Sprintf("%s makes room for a %s", w.name, w.kind))
		p.delete(w.name, fmt.Sprintf("it makes room for a %s of its name", w.kind))
	}
}

// shrink lowers MTUs, from the top down.
func (p *planner) shrink() {
	for i := len(p.g.devices) - 1; i >= 0; i-- {
		w := p.g.devices[i]
		d := p.w.device(w.name)
		if d == nil || w.exact() == 0 || deviceMTU(d) <= w.exact() {
			continue
		}
		p.set(w.name, bridge.Settings{bridge.KeyMTU: w.set[bridge.KeyMTU]}, p.mtuReason(w))
	}
}

func (p *planner) mtuReason(w *wanted) string {
	mtu := max(w.exact(), w.least)
	for _, n := range w.networks {
		if n.MTU == mtu {
			return fmt.Sprintf("%s has MTU %d", networkText(n), mtu)
		}
	}
	if w.kind == "" && w.master != "" {
		return fmt.Sprintf("%s has MTU %d", w.master, mtu)
	}
	return w.why
}

// settle does what is left: what the kernel changed by itself on the way, such as the MTU of a bridge that follows its ports. Where two rounds
// do not do it, no plan can.
func (p *planner) settle() {
	for range 2 {
		for _, w := range p.g.devices {
			p.configure(w)
			p.vlans(w)
			p.raise(w.name, w.why)
		}
		p.place()
	}
	if left := p.g.compare(p.w); p.err == nil && len(left) > 0 {
		p.err = fmt.Errorf("%s", left[0])
	}
}
