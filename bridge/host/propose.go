package host

import (
	"fmt"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// Reader reads a host, and cannot change it.
type Reader interface{ Host() (bridge.Host, error) }

// Proposal is a plan, and what it was made from.
type Proposal struct {
	network.Plan
	Spec     network.Spec // resolved
	Have     bridge.Host
	Warnings []string // about the declaration
	Moves    string   // "", or where server-management would move, which wants to be forced
}

// Propose checks and resolves a declaration, reads the host, and plans. It cannot change anything, for what it holds cannot.
func Propose(r Reader, dir string, spec network.Spec, guests []network.Guest) (Proposal, error) {
	s, err := readState(dir)
	if err != nil {
		return Proposal{}, err
	}
	return propose(r, s, spec, guests)
}

func propose(r Reader, s state, spec network.Spec, guests []network.Guest) (p Proposal, err error) {
	if p.Warnings, err = network.Check(spec); err != nil {
		return p, err
	}
	if p.Spec, err = network.Resolve(spec, s.ids()); err != nil {
		return p, err
	}
	if p.Have, err = r.Host(); err != nil {
		return p, fmt.Errorf("host: read the host: %w", err)
	}
	if now := s.current(); now != nil {
		p.Moves = network.MovesManagement(*now, p.Spec)
	}
	p.Plan, err = network.Make(network.Input{Want: p.Spec, Before: s.current(), Have: p.Have, Guests: guests})
	return p, err
}

// Plan says what [Manager.Apply] would do.
func (m *Manager) Plan(spec network.Spec, guests []network.Guest) (Proposal, error) {
	return Propose(m.opt.Kernel, m.opt.Dir, spec, guests)
}

// Preview logs what a changed configuration would do, and does none of it.
func (m *Manager) Preview(spec network.Spec, guests []network.Guest) {
	p, err := m.Plan(spec, guests)
	if err != nil {
		m.log.Warn("the changed configuration cannot be applied", "error", err)
		return
	}
	for _, text := range append(p.Warnings, p.Notes...) {
		m.log.Info("the changed configuration: " + text)
	}
	for i, s := range p.Steps {
		m.log.Info("the changed configuration would "+say(s), "step", i+1, "of", len(p.Steps), "reason", s.Reason)
	}
	if len(p.Steps) == 0 {
		m.log.Info("the changed configuration asks for nothing new")
	}
}
