package hotplug

import (
	"slices"
	"sync"
	"time"
)

// nic is what the engine holds of one NIC. Only the NIC's own worker changes it; status reads it.
type nic struct {
	key Key

	mu      sync.Mutex // guards all following fields
	mem     Memory
	facts   Facts
	reason  *Reason
	notes   []string
	since   time.Time // when it entered its state
	plugged time.Time // when its port was last worked on and read back
	lost    bool      // was plugged, is not now
	runs    []Run     // the last runs that did or changed something, oldest first
	retries int       // failed runs in a row
	timer   *time.Timer
	waiters []waiter
	ended   bool // no longer in the engine's table
	stale   staleSet
	node    nodeValues // as last read; only the NIC's worker touches it
}

// nodeValues are the backend node's values by nodeKeys, "" for a missing one, and what names the guest.
type nodeValues struct {
	values [len(nodeKeys)]string
	domain Domain
}

// staleSet says which of nodeKeys may have changed since they were last read, a bit each; the highest bit is for the guest's name and uuid.
type staleSet uint32

// everything is stale of a NIC that has not been read yet, and after events may have been lost.
const everything = ^staleSet(0)

const staleDomain = staleSet(1) << 31

// touch marks one node's value, or all of them where the leaf is none of nodeKeys.
func (n *nic) touch(leaf string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stale |= staleLeaf(leaf)
}

func staleLeaf(leaf string) staleSet {
	for i, k := range nodeKeys {
		if k == leaf {
			return 1 << i
		}
	}
	return everything
}

// takeStale returns what must be read now. The few values that change in a NIC's life are read every time; the others were written when it was
// made, and the watch tells when they are written again.
func (n *nic) takeStale() staleSet {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.stale | alwaysRead
	n.stale = 0
	return s
}

// touched says that a value has changed since it was read, other than one that is read every time.
func (n *nic) touched() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stale&^alwaysRead != 0
}

// waiter is somebody who asked for the NIC and waits for the answer.
type waiter struct {
	want State // Plugged, or Gone for offline
	anew bool  // only a run that began after the question answers it
	done chan error
}

// keptRuns bounds what `vifctl explain` can show of a NIC's past.
const keptRuns = 6

// Run is one pass over a NIC: what was seen, what was decided, what was done.
type Run struct {
	Time     time.Time     `json:"time"`
	Trigger  string        `json:"trigger,omitempty"`
	Observed string        `json:"observed"`
	Observe  time.Duration `json:"observe_ns"`
	Decided  State         `json:"decided"`
	Steps    []StepRun     `json:"steps,omitempty"`
	Reason   *Reason       `json:"reason,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
}

// StepRun is one step that was done: adjacent link changes go to the kernel as one.
type StepRun struct {
	Text  string        `json:"text"`
	Took  time.Duration `json:"took_ns"`
	Error string        `json:"error,omitempty"`
}

func (n *nic) remember(r Run) {
	if len(n.runs) == keptRuns {
		n.runs = append(n.runs[:0], n.runs[1:]...)
	}
	n.runs = append(n.runs, r)
}

// arm has wake called once after d; 0 disarms.
func (n *nic) arm(d time.Duration, wake func()) {
	if n.timer != nil {
		n.timer.Stop()
		n.timer = nil
	}
	if d > 0 && !n.ended {
		n.timer = time.AfterFunc(d, wake)
	}
}

// justPlugged says that the port was worked on and read back this very moment: who asks for that now has the answer. The caller holds mu.
func (n *nic) justPlugged() bool { return n.mem.State == Plugged && time.Since(n.plugged) < echoes }

// awaited says that somebody waits for the port to be plugged. The caller holds mu.
func (n *nic) awaited() bool {
	return slices.ContainsFunc(n.waiters, func(w waiter) bool { return w.want == Plugged })
}

// settle answers the waiters whom the NIC's present state satisfies or disappoints. The caller holds mu. asked is how many were there when
// the run began: later ones want a fresh look, unless this one has just plugged the NIC.
func (n *nic) settle(asked int, s State, final bool, r *Reason) {
	kept := n.waiters[:0]
	for i, w := range n.waiters {
		err, done := verdict(w.want, s, final, r)
		if n.key.Tap && s == Gone {
			err = nil // it is not to be here, or not yet
		}
		if fresh := i >= asked && (w.anew || !(w.want == Plugged && n.justPlugged())); fresh || !done {
			kept = append(kept, w)
			continue
		}
		w.done <- err
	}
	n.waiters = kept
}

// verdict says whether a state ends the waiting for another, and with which error.
func verdict(want, s State, final bool, r *Reason) (err error, done bool) {
	if want == Gone {
		return nil, true // one fresh look has released what was there to release
	}
	switch {
	case s == Plugged:
		return nil, true
	case s == Gone:
		return because(CodeBackendGone, "there is no backend node for this NIC"), true
	case s == Draining:
		return because(CodeBackendGone, "the NIC is being removed"), true
	case final && r != nil:
		return r, true
	}
	return nil, false
}
