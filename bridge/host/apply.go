package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// DefaultConfirm is how long an apply waits for its confirmation when it touches what carries server-management and nothing else was said.
const DefaultConfirm = time.Minute

// Never is the ApplyOptions.Confirm that waits for no confirmation, whatever the steps touch.
const Never time.Duration = -1

// ApplyOptions say how to apply.
type ApplyOptions struct {
	Confirm  time.Duration // undo everything unless confirmed in this time; 0: DefaultConfirm where server-management is touched; Never
	Force    bool          // even if the plan cuts off server-management, or the role moves to another network
	Guests   []network.Guest
	Progress func(StepResult) // hears of each step as it is done; nil: nobody
}

// StepResult is one step that was done, or refused.
type StepResult struct {
	Index int           `json:"index"` // counts from 0
	Of    int           `json:"of"`
	Step  network.Step  `json:"step"`
	Took  time.Duration `json:"took"` // ns
	Error string        `json:"error,omitempty"`
}

// Result is what an apply has done.
type Result struct {
	ID         string        `json:"id,omitempty"` // of what waits for its confirmation: see [Pending] and [Manager.Holds]
	Steps      []StepResult  `json:"steps"`
	Notes      []string      `json:"notes"`      // the plan's
	Warnings   []string      `json:"warnings"`   // about the declaration
	Management string        `json:"management"` // why it touches what carries server-management; "": it does not
	Confirm    time.Duration `json:"confirm"`    // how long it waits for its confirmation, in ns; 0: it is final
	Spec       network.Spec  `json:"-"`          // as it holds now, resolved
}

// CutError refuses a plan that would cut off server-management.
type CutError struct{ Why string }

func (e *CutError) Error() string {
	return "host: this would cut off server-management: " + e.Why + ". Nothing was done; --force does it all the same"
}

// MoveError refuses a declaration that takes server-management to another network.
type MoveError struct{ Why string }

func (e *MoveError) Error() string { return "host: " + e.Why + ". Nothing was done" }

// Apply makes the host as declared, or leaves it as it is. After an error that is no [UndoError] the host is as before. ctx may end it while
// its steps are done, which is an error like any.
func (m *Manager) Apply(ctx context.Context, spec network.Spec, opt ApplyOptions) (Result, error) {
	release, err := m.take(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	s, err := m.settle()
	if err != nil {
		return Result{}, err
	}
	if s.pending != nil {
		left, _ := m.left(s.pending)
		return Result{}, fmt.Errorf("%w (%v are left)", ErrPending, left.Round(time.Second))
	}
	p, err := propose(m.opt.Kernel, s, spec, opt.Guests)
	res := Result{Notes: p.Notes, Warnings: p.Warnings, Management: p.Management, Spec: p.Spec}
	if err != nil {
		return res, err
	}
	switch {
	case opt.Force:
	case p.Moves != "":
		return res, &MoveError{Why: p.Moves}
	case p.Cuts != "":
		return res, &CutError{Why: p.Cuts}
	}
	if len(p.Steps) == 0 {
		err := m.hold(newID(), p.Spec)
		if err == nil {
			m.tell(ApplyDone, "the declaration holds; nothing had to change")
		}
		return res, err
	}
	if res.Confirm = max(opt.Confirm, 0); opt.Confirm == 0 && p.Management != "" {
		res.Confirm = DefaultConfirm
	}
	return m.carryOut(ctx, s, p, res, opt)
}

// carryOut does the steps of a proposal and judges them. The turn is the caller's.
func (m *Manager) carryOut(ctx context.Context, s state, p Proposal, res Result, opt ApplyOptions) (Result, error) {
	steps, end, err := prepare(p.Have, p.Steps)
	if err != nil {
		return res, err
	}
	boot, err := m.clock.Boot()
	if err != nil {
		return res, err
	}
	rec := record{Version: version, ID: newID(), Phase: applying, Boot: boot, Confirm: res.Confirm, Before: s.held(), After: p.Spec}
	rec.extend(p.Have, steps)
	j, err := beginJournal(m.opt.Dir, rec)
	if err != nil {
		return res, err
	}
	defer j.close()
	if err := m.steps(ctx, j, &res, opt.Progress); err != nil {
		return res, m.takeBack(j, err)
	}
	if err := m.verify(p, end, opt.Guests); err != nil {
		return res, m.takeBack(j, err)
	}
	if res.Confirm > 0 {
		if err := m.await(j); err != nil {
			return res, m.takeBack(j, err)
		}
		res.ID = rec.ID
		m.tell(ApplyWaiting, fmt.Sprintf("the declaration is carried out (steps: %d), and will be undone unless it is confirmed within %v", len(res.Steps), res.Confirm))
		return res, nil
	}
	if err := m.hold(rec.ID, p.Spec); err != nil {
		return res, m.takeBack(j, err)
	}
	m.tell(ApplyDone, fmt.Sprintf("the declaration holds (steps: %d)", len(res.Steps)))
	m.forget(j)
	return res, nil
}

// steps does the steps of a journal in order, until one fails.
func (m *Manager) steps(ctx context.Context, j *journal, res *Result, progress func(StepResult)) error {
	v := newMover(m.opt.Kernel)
	for i, u := range j.rec.Steps {
		if ctx.Err() != nil {
			return fmt.Errorf("host: it was ended before step %d of %d: %w", i+1, len(j.rec.Steps), context.Cause(ctx))
		}
		if err := j.next(); err != nil {
			return err
		}
		start := time.Now()
		err := v.do(u.Step)
		r := StepResult{Index: i, Of: len(j.rec.Steps), Step: u.Step, Took: time.Since(start)}
		if err != nil {
			r.Error = err.Error()
		}
		res.Steps = append(res.Steps, r)
		if progress != nil {
			progress(r)
		}
		if err == nil {
			continue
		}
		if u.Step.Op == network.OpCreate && errors.Is(err, bridge.ErrExists) {
			j.begun = i // what is there is another's: it must not be undone
		}
		return fmt.Errorf("host: step %d of %d, %s: %w", i+1, len(j.rec.Steps), say(u.Step), err)
	}
	return nil
}

// verify reads the host back. What was not to be reached by the steps (a port that is not there yet) is no fault of theirs.
func (m *Manager) verify(p Proposal, end bridge.Host, guests []network.Guest) error {
	have, err := m.opt.Kernel.Host()
	if err != nil {
		return fmt.Errorf("host: read the host back: %w", err)
	}
	in := network.Input{Want: p.Spec, Before: &p.Spec, Have: have, Guests: guests}
	differs := network.Compare(in)
	if len(differs) == 0 {
		return nil
	}
	in.Have = end
	expected := map[string]bool{}
	for _, d := range network.Compare(in) {
		expected[d.String()] = true
	}
	var wrong []error
	for _, d := range differs {
		if !expected[d.String()] {
			wrong = append(wrong, errors.New(d.String()))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("host: all steps were done, but the host did not keep this: %w", errors.Join(wrong...))
	}
	return nil
}

// takeBack undoes what a journal has begun, because of an error, and gives that error with what became of the host.
func (m *Manager) takeBack(j *journal, cause error) error {
	left := undo(m.opt.Kernel, j.rec, j.begun)
	if err := j.end(); err != nil {
		left = append(left, err.Error())
	}
	if len(left) > 0 {
		m.tell(ApplyStuck, fmt.Sprintf("%v; taking it back left: %v", cause, left))
		return fmt.Errorf("%w. It %w", cause, &UndoError{Left: left})
	}
	m.tell(ApplyUndone, fmt.Sprintf("%v; the host is as before", cause))
	return fmt.Errorf("%w. The host is as before", cause)
}

// hold makes a declaration the one that holds. This is the moment at which it is final.
func (m *Manager) hold(id string, spec network.Spec) error {
	return writeFile(filepath.Join(m.opt.Dir, appliedFile), applied{Version: version, ID: id, Time: time.Now(), Spec: spec})
}

// forget ends the journal of a declaration that is final. Its file does no harm, for applied.json says the same.
func (m *Manager) forget(j *journal) {
	if err := j.end(); err != nil {
		m.log.Warn("the journal of a declaration that holds could not be removed", "error", err)
	}
}

// settle reads the state and ends what a process left behind that died in the middle of its steps: while the lock is ours, none is alive.
func (m *Manager) settle() (state, error) {
	s, err := readState(m.opt.Dir)
	if err != nil || s.pending == nil {
		return s, err
	}
	boot, err := m.clock.Boot()
	if err != nil {
		return s, err
	}
	j := openJournal(m.opt.Dir, *s.pending)
	switch r := s.pending; {
	case r.Boot != boot:
		m.tell(ApplyDropped, "the machine has booted since a declaration was carried out that nobody confirmed: the former one holds")
		s.pending, err = nil, j.end()
	case r.Phase != waiting:
		err = m.revert(j, "the process that was carrying it out died in the middle")
		s.pending = nil
	default:
		left, clockErr := m.left(r)
		if err = clockErr; err == nil && left <= 0 {
			err = m.revert(j, lateText(r))
			s.pending = nil
		}
	}
	return s, err
}

// revert takes a declaration back for a reason that is no error.
func (m *Manager) revert(j *journal, why string) error {
	left := undo(m.opt.Kernel, j.rec, j.begun)
	err := j.end()
	m.disarmTimer()
	if len(left) > 0 {
		e := &UndoError{Left: left}
		m.tell(ApplyStuck, fmt.Sprintf("a declaration was taken back: %s. It %v", why, e))
		return errors.Join(fmt.Errorf("host: the declaration %w", e), err)
	}
	m.tell(ApplyUndone, fmt.Sprintf("a declaration was taken back: %s. The host is as before", why))
	return err
}
