package hotplug

import (
	"cmp"
	"log/slog"
	"time"
)

// report turns the change that a run made into events and log lines, and the entry into what the run found.
func (e *Engine) report(n *nic, f Facts, d Decision, run Run) {
	n.mu.Lock()
	before, wasLost, oldReason, oldFacts := n.mem.State, n.lost, n.reason, n.facts
	asked := n.mem.OfflineAsked
	n.mem = d.Memory
	n.mem.State = d.State
	n.mem.OfflineAsked = asked && d.State != Gone && d.State != Plugged
	n.facts, n.reason, n.notes = f, d.Reason, d.Notes
	now := time.Now()
	if before != d.State {
		n.since = now
	}
	if d.State == Plugged && len(run.Steps) > 0 {
		n.plugged = now
	}
	if len(run.Steps) > 0 || before != d.State || !oldReason.same(d.Reason) {
		n.remember(run)
	}
	n.lost = (wasLost || before == Plugged) && d.State != Plugged && d.State != Draining && d.State != Gone
	lost := n.lost
	n.mu.Unlock()

	if d.State == Gone && f.Domain.Name == "" {
		f.Domain = oldFacts.Domain
	}
	for _, ev := range transitions(before, d, wasLost, lost, oldReason, run, oldFacts, f) {
		e.tell(e.hub.Publish(ev))
	}
}

// transitions gives the events of one run: a pure function of what was and what is.
func transitions(before State, d Decision, wasLost, lost bool, oldReason *Reason, run Run, was, f Facts) []Event {
	ev := Event{Domain: f.Domain, VIF: f.Key.VIF(), Reason: d.Reason}
	if f.Node != nil {
		ev.Bridge, ev.Network = printable(f.Node.bridgeName(), 64), f.Node.networkName()
	}
	if f.Link != nil {
		ev.Netdev = string(f.Link.Name)
	}
	var out []Event
	add := func(k Kind, detail string) {
		one := ev
		one.Kind, one.Detail = k.of(f.Key), detail
		out = append(out, one)
	}
	if before == Absent && d.State != Gone && d.State != Plugged || before == Absent && len(run.Steps) > 0 {
		seen := ev
		seen.Kind, seen.Reason = NICSeen.of(f.Key), nil
		out = append(out, seen)
	}
	switch {
	case d.State == Plugged && wasLost:
		add(NICBack, did(run))
	case d.State == Plugged && before == Plugged && d.onlyMarks():
		// The guest or the network has another name: nothing has happened to the NIC.
	case d.State == Plugged && before == Plugged && len(run.Steps) > 0 && otherWish(was, f):
		add(NICChanged, did(run))
	case d.State == Plugged && before == Plugged && len(run.Steps) > 0:
		// Drift that was found and mended in one run.
		add(NICLost, drift(was, f))
		add(NICBack, did(run))
	case d.State == Plugged && before != Plugged:
		add(NICPlugged, pluggedDetail(run))
	case lost && !wasLost:
		add(NICLost, "")
	case d.State == Draining && before != Draining:
		add(NICDraining, "")
	case d.State == Gone && before != Absent && before != Gone:
		add(NICGone, "")
	}
	if d.State == Failed && (before != Failed || !oldReason.same(d.Reason)) {
		add(NICFailed, "")
	}
	return out
}

// otherWish says that something else is wanted of the NIC than before: by its node, by the declaration, by its bridge.
func otherWish(was, f Facts) bool {
	if was.Node == nil || f.Node == nil || was.Bridge == nil || f.Bridge == nil {
		return false
	}
	a, b := was.Node, f.Node
	if a.bridgeName() != b.bridgeName() || a.VLAN != b.VLAN || a.MTU != b.MTU || a.VIFName != b.VIFName {
		return true
	}
	// Of a bridge that nobody declared the MTU follows its ports', so that it tells of drift as well.
	return was.Bridge.Index == f.Bridge.Index && (b.Network != nil && was.Bridge.MTU != f.Bridge.MTU || was.Bridge.Filtering != f.Bridge.Filtering)
}

func pluggedDetail(run Run) string {
	if len(run.Steps) == 0 {
		return "adopted as it stands"
	}
	return did(run)
}

func did(run Run) string {
	text := ""
	for _, s := range run.Steps {
		if s.Text == verifyText {
			continue
		}
		if text != "" {
			text += "; "
		}
		text += s.Text
	}
	return text
}

// drift says what was found different from how it had been left.
func drift(was, f Facts) string {
	if was.Link != nil && f.Link != nil && was.Link.Index != f.Link.Index {
		return "its device was made anew"
	}
	return "somebody changed the port"
}

func (e *Engine) tell(ev Event) {
	level, attrs := slog.LevelInfo, []any{"event", string(ev.Kind), "domid", ev.Domain.ID}
	switch ev.Kind {
	case NICFailed, NICLost, TapFailed, TapLost, DomainCrashed:
		level = slog.LevelWarn
	}
	for _, a := range [...]struct{ key, value string }{{"domain", ev.Domain.Name}, {"vif", ev.VIF}, {"network", cmp.Or(ev.Network, ev.Bridge)}, {"detail", ev.Detail}} {
		if a.value != "" {
			attrs = append(attrs, a.key, a.value)
		}
	}
	if ev.Reason != nil {
		attrs = append(attrs, "err_code", string(ev.Reason.Code), "err", ev.Reason.Error())
	}
	e.log.Log(e.ctx, level, string(ev.Kind), attrs...)
}
