package host

import (
	"context"
	"errors"
	"time"

	"vifplug/bridge"
)

// Monitor hints that something about the host has changed. [bridge.HostMonitor] is the real one, which gathers: a device that goes takes its
// addresses, routes and ports along, each with a message of its own.
type Monitor interface {
	// Receive waits for changes. [bridge.ErrOverflow] says that some were missed, which is a hint too; any other error is the end.
	Receive() (bridge.HostChange, error)
	Close() error
}

// restAtMost bounds how long the host is left alone after it was looked at. On a host that never stops changing it is as long as the look took,
// so that half of a processor is enough.
const restAtMost = 20 * time.Millisecond

// recheck is how often the host is looked at though nobody hinted.
const recheck = time.Minute

// Start has the host kept as declared from now on, until [Manager.Close], which closes the monitor too. It may be called once.
func (m *Manager) Start(mon Monitor) {
	hints := make(chan struct{}, 1)
	hints <- struct{}{} // nobody knows what has happened until now
	m.work.Add(3)
	go m.runClosing(mon)
	go m.runHints(mon, hints)
	go m.runKeeping(hints)
}

func (m *Manager) runClosing(mon Monitor) {
	defer m.work.Done()
	<-m.ctx.Done()
	if err := mon.Close(); err != nil {
		m.log.Error("the monitor of the host could not be closed", "error", err)
	}
}

func (m *Manager) runHints(mon Monitor, hints chan<- struct{}) {
	defer m.work.Done()
	guests := guestIndexes{}
	for {
		change, err := mon.Receive()
		if err != nil && !errors.Is(err, bridge.ErrOverflow) {
			if m.ctx.Err() == nil {
				m.log.Error("changes of the host are no longer told: it is kept as declared no more", "error", err)
			}
			return
		}
		if err == nil && guests.only(change) {
			continue
		}
		select {
		case hints <- struct{}{}:
		default: // one is enough
		}
	}
}

// runKeeping reconciles on hints, and when reconcile itself asks for it.
func (m *Manager) runKeeping(hints <-chan struct{}) {
	defer m.work.Done()
	again := time.NewTimer(recheck)
	said := ""
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-hints:
		case <-again.C:
		}
		start := time.Now()
		next, err := m.reconcile(m.ctx)
		if err != nil {
			next = firstRetry
		}
		said = m.sayOnce(said, err)
		if next == 0 || next > recheck {
			next = recheck
		}
		again.Reset(next)
		if !m.pause(min(time.Since(start), restAtMost)) {
			return
		}
	}
}

func (m *Manager) pause(d time.Duration) bool {
	select {
	case <-m.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// sayOnce logs an error unless it was the last one too, and gives what was said.
func (m *Manager) sayOnce(last string, err error) string {
	if err == nil || errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) {
		return ""
	}
	if err.Error() != last {
		m.log.Error("the host could not be compared with its declaration", "error", err)
	}
	return err.Error()
}
