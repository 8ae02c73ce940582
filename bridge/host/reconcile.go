package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// Reconcile makes the host as declared where it is not, as far as it can, and tells about it by events. It waits while an apply is under way,
// and does nothing while nothing is declared.
func (m *Manager) Reconcile(ctx context.Context) error {
	_, err := m.reconcile(ctx)
	return err
}

// reconcile says too when it wants to be called again, for what is left alone until then; 0: for nothing.
func (m *Manager) reconcile(ctx context.Context) (again time.Duration, err error) {
	release, err := m.take(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	s, err := m.settle()
	var undone *UndoError
	if err != nil && !errors.As(err, &undone) {
		return 0, err
	}
	want := s.current()
	if want == nil {
		return 0, nil
	}
	in := network.Input{Want: *want, Before: want, Guests: m.guests()}
	if in.Have, err = m.opt.Kernel.Host(); err != nil {
		return 0, fmt.Errorf("host: read the host: %w", err)
	}
	wrong := network.Compare(in)
	for _, d := range m.keeper.newlyLost(wrong) {
		m.publish(Event{Kind: NetworkLost, Device: d.Device, Network: cmp.Or(d.Network, networkOf(want, d.Device)), Text: d.String()})
	}
	if len(wrong) > 0 {
		if wrong, err = m.repair(s, in); err != nil {
			return 0, err
		}
	}
	m.tellFound(want, wrong)
	return m.keeper.wake(time.Now()), nil
}

// repair does the steps from the host to the declaration, and gives what is not as declared after them.
func (m *Manager) repair(s state, in network.Input) (left []network.Difference, err error) {
	plan, err := network.Make(in)
	if err != nil {
		m.tellFailed(&in.Want, "", err.Error())
		return network.Compare(in), nil
	}
	steps := plan.Steps
	if len(steps) == 0 {
		return network.Compare(in), nil
	}
	j, err := m.joinPending(s, in.Have, steps)
	if err != nil {
		return nil, err
	}
	defer j.close()
	p := newPass(m.opt.Kernel, steps, m.keeper.asleep(time.Now()))
	for _, step := range steps {
		if err := j.next(); err != nil {
			return nil, err
		}
		if why := p.do(step); why != "" {
			m.tellFailed(&in.Want, step.Device, why)
		}
	}
	for _, device := range slices.Sorted(maps.Keys(p.done)) {
		if text := m.keeper.worked(device, time.Now()); text != "" {
			m.publish(Event{Kind: NetworkFailed, Device: device, Network: networkOf(&in.Want, device), Text: text})
		}
	}
	if in.Have, err = m.opt.Kernel.Host(); err != nil {
		return nil, fmt.Errorf("host: read the host: %w", err)
	}
	return network.Compare(in), nil
}

// joinPending has steps that are done while a declaration waits for its confirmation join its journal, so that they are undone with it. There
// is no journal while none waits.
func (m *Manager) joinPending(s state, have bridge.Host, steps []network.Step) (*journal, error) {
	if s.pending == nil {
		return nil, nil
	}
	more, _, err := prepare(have, steps)
	if err != nil {
		return nil, err
	}
	j := openJournal(m.opt.Dir, *s.pending)
	j.rec.Steps = j.rec.Steps[:j.begun]
	j.rec.extend(have, more)
	return j, j.save()
}

// tellFound tells what is as declared again.
func (m *Manager) tellFound(want *network.Spec, wrong []network.Difference) {
	for _, d := range m.keeper.found(wrong) {
		m.keeper.recovered(d.Device)
		m.publish(Event{
			Kind: NetworkRepaired, Device: d.Device, Network: cmp.Or(d.Network, networkOf(want, d.Device)),
			Text: fmt.Sprintf("%s is as declared again (it was so: %s)", d.Device, d),
		})
	}
}

func (m *Manager) tellFailed(want *network.Spec, device bridge.Name, why string) {
	if text := m.keeper.failed(device, why, time.Now()); text != "" {
		m.publish(Event{Kind: NetworkFailed, Device: device, Network: networkOf(want, device), Text: text})
	}
}

// networkOf is the name of the network that a device is for; "" where it is for several, or none.
func networkOf(s *network.Spec, device bridge.Name) string {
	for i := range s.Networks {
		if n := &s.Networks[i]; device != "" && (n.Holder() == device || n.VLAN != 0 && n.Segment() == device) {
			return n.Name
		}
	}
	return ""
}
