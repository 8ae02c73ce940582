package hotplug

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vifplug/bridge"
	"vifplug/xenstore"
)

// pass is one run of a NIC's worker: observe, decide, do, report. The queue sees to it that one key never runs twice at once.
func (e *Engine) pass(ctx context.Context, k Key) {
	if k == heartbeatKey {
		e.answerBeat()
		return
	}
	n := e.nic(k)
	n.mu.Lock()
	asked, awaited, mem := len(n.waiters), n.awaited(), n.mem
	n.mu.Unlock()

	start := time.Now()
	p := *e.policy.Load()
	f, err := e.observe(ctx, n, p, awaited)
	if err != nil {
		e.passBroken(n, err)
		return
	}
	run := Run{Time: start, Observe: time.Since(start)}
	if old, is := n.newIncarnation(f); is {
		e.report(n, old, Decision{State: Gone}, Run{})
		mem = n.begin()
	}
	d := Decide(f, mem, start, p)
	run.Observed, run.Decided, run.Notes = f.String(), d.State, d.Notes
	again := e.do(ctx, k, &f, &d, &run)
	e.remember(n, f)
	if len(run.Steps) > 0 && !again {
		e.queue.Quiet(k, echoes)
	}
	e.finish(n, f, d, run, asked)
	if again {
		e.queue.AddNow(k)
	}
}

// echoes is how long a NIC's events wait after work on it: the kernel and the store report each of its steps, and one look at all of them is
// enough. It also bounds how soon drift right after plugging is mended.
const echoes = 20 * time.Millisecond

// newIncarnation says that the domid or the NIC now belongs to another guest than the one the entry knows, of which it returns the last facts.
func (n *nic) newIncarnation(f Facts) (old Facts, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	uuid := n.facts.Domain.UUID
	return n.facts, n.mem.State != Absent && f.Node != nil && uuid != "" && f.Domain.UUID != "" && uuid != f.Domain.UUID
}

// begin has the entry stand for a NIC of which nothing is known yet, and returns its empty memory.
func (n *nic) begin() Memory {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mem = Memory{}
	return n.mem
}

// passBroken ends a run that could not observe. The store's reconnect or the next change marks the key again.
func (e *Engine) passBroken(n *nic, err error) {
	if errors.Is(err, xenstore.ErrDisconnected) || errors.Is(err, xenstore.ErrClosed) || errors.Is(err, context.Canceled) {
		e.log.Debug("observation broken off", "vif", n.key.String(), "err", err)
		return
	}
	e.log.Warn("cannot observe", "vif", n.key.String(), "err", err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.retries++
	n.arm(backoff(n.retries), func() { e.queue.Add(n.key) })
}

// remember keeps the link table's hints fresh.
func (e *Engine) remember(n *nic, f Facts) {
	if f.Link != nil {
		e.table.claim(n.key, *f.Link)
	} else {
		e.table.noLink(n.key)
	}
	if f.Node != nil {
		e.table.wish(n.key, wish{bridge: f.Node.bridgeName(), vifname: string(f.wantedName())})
		e.lookForTap(n.key, f.Node)
	}
}

// do carries a decision out. It leaves in the facts what is known to be true afterwards and turns the decision into a failure where a step
// fails. It says whether to look again at once: the world moved under the steps.
func (e *Engine) do(ctx context.Context, k Key, f *Facts, d *Decision, run *Run) (again bool) {
	var c *connection
	if slices.ContainsFunc(d.Steps, func(s Step) bool { return s.Op == OpConnect }) {
		c = e.prepareConnect(ctx, k)
		defer c.end()
	}
	for _, batch := range batches(d.Steps) {
		start := time.Now()
		err := e.doBatch(ctx, c, f, d, batch)
		c.advance(ctx)
		sr := StepRun{Text: batchText(batch), Took: time.Since(start)}
		if err != nil {
			sr.Error = err.Error()
			e.refresh(f)
		}
		run.Steps = append(run.Steps, sr)
		switch {
		case err == nil:
			continue
		case errors.Is(err, bridge.ErrNotFound) || errors.Is(err, errNoNode):
			// Normal when a domain dies: what is there now decides, not the error.
			*d = Decision{State: Ready, Reason: because(CodeStep, "%v", err), Memory: d.Memory, Again: time.Second}
			return true
		case errors.Is(err, errClamped):
			d.Memory.Clamped = f.Link.Index
			*d = Decision{State: Ready, Reason: because(CodeStep, "%v", err), Memory: d.Memory, Again: time.Second}
			return true
		case errors.Is(err, xenstore.ErrDisconnected):
			*d = Decision{State: Ready, Reason: because(CodeStore, "%v", err), Memory: d.Memory}
			return false
		}
		*d = d.fail(stepReason(err))
		return false
	}
	return false
}

// refresh has the facts say what a failed step has left, as far as the kernel tells.
func (e *Engine) refresh(f *Facts) {
	if f.Link == nil {
		return
	}
	if l, err := e.cfg.Links.Link(f.Link.Index); err == nil {
		f.Link = &l
	}
}

func stepReason(err error) *Reason {
	var r *Reason
	if errors.As(err, &r) {
		return r
	}
	return because(CodeStep, "%v", err)
}

func (e *Engine) doBatch(ctx context.Context, c *connection, f *Facts, d *Decision, batch []Step) error {
	s := batch[0]
	switch s.Op {
	case OpLink:
		return e.setLink(f, batch)
	case OpIgnoreRA:
		return e.cfg.Links.IgnoreRA(f.Link.Name)
	case OpFlush:
		err := e.cfg.Links.DeleteAddress(f.Link.Index, s.Address)
		if err == nil {
			f.Addresses = without(f.Addresses, s.Address)
		}
		return err
	case OpVLAN:
		return e.setVLAN(f, s.VLAN)
	case OpGuard:
		w := e.wishOf(*f)
		w.Bridge = f.Bridge.Index // the port goes there next, guarded
		err := e.keeper.Guard(w)
		f.Guarded = err == nil
		return err
	case OpVerify:
		return e.verify(f, d)
	case OpConnect:
		return c.connect(ctx, f)
	}
	panic(fmt.Sprintf("hotplug: step %d is unknown", s.Op))
}

// setLink makes a batch's changes in one message. Where the kernel refuses it, they are made one by one, so that the error names the one.
func (e *Engine) setLink(f *Facts, batch []Step) error {
	c := merged(batch)
	err := e.cfg.Links.Set(f.Link.Index, c)
	if err != nil && !errors.Is(err, bridge.ErrNotFound) {
		err = e.setEach(f, batch, err)
	}
	if err == nil && c.Name != "" {
		f.Link.Name = c.Name
	}
	return err
}

// errClamped says that netback refused an MTU that a guest without scatter-gather cannot take (linux: xen-netback xenvif_change_mtu).
var errClamped = errors.New("netback holds the MTU of a guest without scatter-gather")

// setEach makes the changes of a batch, which was refused, one by one.
func (e *Engine) setEach(f *Facts, batch []Step, err error) error {
	for _, s := range batch {
		if len(batch) > 1 {
			err = e.cfg.Links.Set(f.Link.Index, s.Change)
		}
		switch {
		case err == nil:
		case !f.Key.Tap && s.Change.MTU > ethernetMTU && errors.Is(err, bridge.ErrInvalid):
			return fmt.Errorf("%w: %w", errClamped, err)
		default:
			return fmt.Errorf("%s: %w", s.Text, err)
		}
	}
	return nil
}

// setVLAN has the port take part in one VLAN, untagged, and in no other; 0: in none. It leaves the others before it joins, so that no frame goes
// from one to the other.
func (e *Engine) setVLAN(f *Facts, vlan int) error {
	have, err := e.cfg.Links.PortVLANs(f.Link.Index)
	if err != nil {
		return err
	}
	want, there := ownVLAN(vlan), false
	for _, p := range have {
		if p == want {
			there = true
			continue
		}
		if err := e.cfg.Links.DeletePortVLAN(f.Link.Name, p); err != nil {
			return err
		}
	}
	if vlan == 0 || there {
		return nil
	}
	return e.cfg.Links.AddPortVLAN(f.Link.Name, want)
}

// verify observes the port again: a kernel that said yes may have done less, and another program may have undone it.
func (e *Engine) verify(f *Facts, d *Decision) error {
	l, err := e.cfg.Links.Link(f.Link.Index)
	if err != nil {
		return err
	}
	f.Link = &l
	if err := e.observeVLANs(f); err != nil {
		return err
	}
	left, _, _ := portSteps(*f, d.Memory)
	if len(left) > 0 {
		return because(CodeNotKept, "%s did not keep what was set: still to do: %s", l.Name, batchText(left))
	}
	return nil
}

// finish records the outcome, tells it, and answers who waits.
func (e *Engine) finish(n *nic, f Facts, d Decision, run Run, asked int) {
	run.Decided, run.Reason = d.State, d.Reason
	e.tellKeeper(n.key, f, d)
	e.report(n, f, d, run)
	e.tellNode(n, f, d)
	n.mu.Lock()
	defer n.mu.Unlock()
	if failedStep(d) {
		n.retries++
		d.Again = backoff(n.retries)
	} else {
		n.retries = 0
	}
	n.arm(d.Again, func() { e.queue.Add(n.key) })
	n.settle(asked, d.State, d.Final, d.Reason)
	if d.State == Gone {
		e.forget(n)
	}
}

// tellNode has the node say a failure. The store's event of that may come after the next run.
func (e *Engine) tellNode(n *nic, f Facts, d Decision) {
	switch {
	case n.key.Tap:
		e.tellTap(n, f, d)
	case d.State == Failed:
		e.writeFailure(n.key, f, d.Reason)
		n.touch("hotplug-error")
	}
}

// failedStep says that a NIC failed by an attempt, not by what was observed: no event need come that makes it worth another.
func failedStep(d Decision) bool {
	return d.State == Failed && (d.Reason.Code == CodeStep || d.Reason.Code == CodeNotKept)
}

// backoff spaces the attempts at a NIC whose steps fail: 0.25 s, doubled up to a minute.
func backoff(retries int) time.Duration {
	d := 250 * time.Millisecond << min(retries-1, 8)
	return min(d, time.Minute)
}
