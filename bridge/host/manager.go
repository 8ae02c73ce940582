package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vifplug/bridge/network"
)

// Options are what a Manager works with.
type Options struct {
	Kernel Kernel // required
	Dir    string // required: the state directory; it is made where there is none
	Logger *slog.Logger
	// Notify hears of every event, in order. It is called in the middle of work: it must be quick, and must not call the manager.
	Notify func(Event)
	// Guests tells the guests' NICs of now, for what the manager does by itself; nil: none are known.
	Guests func() []network.Guest
}

// Manager carries declarations out on one host, and keeps the host as declared. Several processes may have one for the same state directory:
// one at a time changes something. It owns its goroutines until Close.
type Manager struct {
	opt    Options
	log    *slog.Logger
	clock  clock
	turn   chan struct{} // holds one token: who has it may change things
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // the run… goroutines

	closing sync.Once

	keeper keeper // what reconcile remembers; the turn guards it

	mu     sync.Mutex // guards all following fields
	disarm context.CancelFunc
}

// What callers must tell apart, for errors.Is.
var (
	ErrClosed  = errors.New("host: the service is stopping; ask again")
	ErrPending = errors.New("host: an apply waits for its confirmation: confirm it or roll it back first")
	ErrNothing = errors.New("host: no apply waits for a confirmation")
	ErrLate    = errors.New("host: the confirmation came too late")
)

// New makes a manager. It changes nothing yet: see [Manager.Recover].
func New(opt Options) (*Manager, error) {
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("host: make the state directory: %w", err)
	}
	m := &Manager{opt: opt, log: opt.Logger, clock: kernelClock{}, turn: make(chan struct{}, 1), keeper: newKeeper()}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.turn <- struct{}{}
	return m, nil
}

// Close ends the manager once what it is doing is done. It changes nothing: what waits for a confirmation goes on waiting, for whoever starts
// next.
func (m *Manager) Close() error {
	m.closing.Do(func() {
		m.cancel()
		<-m.turn // never given back: nobody may begin any more
		m.work.Wait()
	})
	return nil
}

// take waits for the right to change things, in this process and on the machine.
func (m *Manager) take(ctx context.Context) (release func(), err error) {
	select {
	case <-m.turn:
	case <-m.ctx.Done():
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("host: another change is under way: %w", context.Cause(ctx))
	}
	if m.ctx.Err() != nil {
		m.turn <- struct{}{}
		return nil, ErrClosed
	}
	unlock, err := lockFile(ctx, filepath.Join(m.opt.Dir, lockName))
	if err != nil {
		m.turn <- struct{}{}
		return nil, err
	}
	return func() {
		if err := unlock(); err != nil {
			m.log.Error("the lock could not be given back", "error", err)
		}
		m.turn <- struct{}{}
	}, nil
}

// tell publishes an event.
func (m *Manager) tell(kind Kind, text string) { m.publish(Event{Kind: kind, Text: text}) }

func (m *Manager) publish(e Event) {
	e.Time = time.Now()
	attrs := []slog.Attr{slog.String("event", string(e.Kind))}
	if e.Device != "" {
		attrs = append(attrs, slog.String("device", string(e.Device)))
	}
	if e.Network != "" {
		attrs = append(attrs, slog.String("network", e.Network))
	}
	m.log.LogAttrs(context.Background(), levels[e.Kind], e.Text, attrs...)
	if m.opt.Notify != nil {
		m.opt.Notify(e)
	}
}

// levels are how loud the log tells of events; what is not here is information.
var levels = map[Kind]slog.Level{NetworkLost: slog.LevelWarn, NetworkFailed: slog.LevelError, ApplyUndone: slog.LevelWarn, ApplyStuck: slog.LevelError}

func (m *Manager) guests() []network.Guest {
	if m.opt.Guests == nil {
		return nil
	}
	return m.opt.Guests()
}

// Applied is the declaration that holds for good, as [network.Resolve] gave it; false where there is none. One that waits for its
// confirmation is [Manager.Pending].
func (m *Manager) Applied() (network.Spec, bool) {
	s, err := readState(m.opt.Dir)
	if err != nil {
		m.log.Error("the applied declaration could not be read", "error", err)
	}
	if s.applied == nil {
		return network.Spec{}, false
	}
	return s.applied.Spec, true
}

// Holds says whether the declaration with an id (see [Pending]) has become the one that holds.
func (m *Manager) Holds(id string) bool {
	s, err := readState(m.opt.Dir)
	return err == nil && s.applied != nil && s.applied.ID == id
}

// Current is [Current] of the manager's state directory. It may have changed with every event whose kind begins with "apply.".
func (m *Manager) Current() (network.Spec, bool, error) { return Current(m.opt.Dir) }

// Pending is a declaration that is not final.
type Pending struct {
	ID      string        `json:"id"`
	Waiting bool          `json:"waiting"` // for its confirmation; else its steps are being done
	Left    time.Duration `json:"left"`    // until it is undone, in ns; of one that waits
	Before  *network.Spec `json:"before"`  // what holds again if it is undone; nil: nothing
	After   network.Spec  `json:"after"`
}

// Pending tells of a declaration that is being carried out, or waits for its confirmation.
func (m *Manager) Pending() (Pending, bool) {
	s, err := readState(m.opt.Dir)
	if err != nil {
		m.log.Error("the pending declaration could not be read", "error", err)
	}
	if s.pending == nil {
		return Pending{}, false
	}
	r := s.pending
	p := Pending{ID: r.ID, Waiting: r.Phase == waiting, Before: r.Before, After: r.After}
	if p.Waiting {
		if left, err := m.left(r); err == nil {
			p.Left = max(left, 0)
		}
	}
	return p, true
}

// left is how long a record has until its deadline; of another boot's, nothing.
func (m *Manager) left(r *record) (time.Duration, error) {
	boot, err := m.clock.Boot()
	if err != nil || boot != r.Boot {
		return 0, err
	}
	up, err := m.clock.Uptime()
	return r.Deadline - up, err
}

// Diff is [Diff] of the manager's host and state directory.
func (m *Manager) Diff() ([]network.Difference, error) {
	return Diff(m.opt.Kernel, m.opt.Dir, m.guests())
}
