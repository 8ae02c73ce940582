package host

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// tick bounds how long the deadline's timer sleeps at once: Go's timers stand still while the machine is suspended, the deadline does not.
const tick = time.Second

// await turns a journal whose steps are done into one that waits for its confirmation.
func (m *Manager) await(j *journal) error {
	up, err := m.clock.Uptime()
	if err != nil {
		return err
	}
	j.rec.Phase, j.rec.Deadline = waiting, up+j.rec.Confirm
	if err := j.save(); err != nil {
		return err
	}
	m.arm(j.rec)
	return nil
}

// Confirm makes what waits for its confirmation final.
func (m *Manager) Confirm(ctx context.Context) error {
	release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	before, err := readState(m.opt.Dir)
	if err != nil {
		return err
	}
	s, err := m.settle()
	switch {
	case err != nil:
		return err
	case s.pending == nil && before.pending != nil:
		return fmt.Errorf("%w: the former declaration holds", ErrLate)
	case s.pending == nil:
		return ErrNothing
	}
	if err := m.hold(s.pending.ID, s.pending.After); err != nil {
		return err
	}
	m.disarmTimer()
	m.tell(ApplyConfirmed, "the declaration is confirmed and holds")
	m.forget(openJournal(m.opt.Dir, *s.pending))
	return nil
}

// Rollback takes back what waits for its confirmation. Why is half a sentence, for the event.
func (m *Manager) Rollback(ctx context.Context, why string) error {
	release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	s, err := m.settle()
	if err != nil {
		return err
	}
	if s.pending == nil {
		return ErrNothing
	}
	return m.revert(openJournal(m.opt.Dir, *s.pending), why)
}

// Recover goes on where another process left off, whatever has become of it: what was in the middle is undone at once; what waits for its
// confirmation is undone when its time has come, or goes on waiting; what another boot has left is dropped. Call it first.
func (m *Manager) Recover(ctx context.Context) error {
	release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	s, err := m.settle()
	if err == nil && s.pending != nil {
		m.arm(*s.pending)
	}
	return err
}

// arm has a record undone when its deadline passes. The turn is the caller's, so nobody closes meanwhile.
func (m *Manager) arm(r record) {
	ctx, cancel := context.WithCancel(m.ctx)
	m.mu.Lock()
	if m.disarm != nil {
		m.disarm()
	}
	m.disarm = cancel
	m.mu.Unlock()
	m.work.Add(1)
	go m.runDeadline(ctx, r)
}

func (m *Manager) disarmTimer() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disarm != nil {
		m.disarm()
		m.disarm = nil
	}
}

// runDeadline waits for a record's deadline. Who disarms it may be what it calls, so nobody waits for its end but Close.
func (m *Manager) runDeadline(ctx context.Context, r record) {
	defer m.work.Done()
	for {
		left, err := m.left(&r)
		if err == nil && left <= 0 {
			if err = m.expire(ctx); err == nil {
				return
			}
			left = tick
		}
		if err != nil && ctx.Err() == nil {
			m.log.Error("what waits for its confirmation could not be judged", "error", err)
			left = tick
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(left, tick)):
		}
	}
}

// expire undoes what waits and whose deadline has passed, unless another process was faster. What it cannot undo is told as an event.
func (m *Manager) expire(ctx context.Context) error {
	release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = m.settle()
	var undone *UndoError
	if errors.As(err, &undone) {
		return nil
	}
	return err
}

func lateText(r *record) string { return fmt.Sprintf("nobody confirmed it within %v", r.Confirm) }
