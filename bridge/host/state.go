package host

import (
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// applied is what applied.json holds: the declaration that the host is built by at boot and kept to.
type applied struct {
	Version int          `json:"version"`
	ID      string       `json:"id"` // of the apply that brought it; the same as in pending.json says that this one is final
	Time    time.Time    `json:"time"`
	Spec    network.Spec `json:"spec"`
}

// phase is how far a pending declaration is.
type phase string

const (
	applying phase = "applying" // steps are being done; whoever finds it with the lock free undoes them
	waiting  phase = "waiting"  // all are done, and it becomes final by a confirmation
)

// record is what pending.json holds.
type record struct {
	Version  int           `json:"version"`
	ID       string        `json:"id"`
	Phase    phase         `json:"phase"`
	Boot     string        `json:"boot"`     // the kernel's boot id: after another boot nothing is left to undo
	Deadline time.Duration `json:"deadline"` // ns of uptime of that boot; of the phase waiting
	Confirm  time.Duration `json:"confirm"`  // how long it waits for a confirmation, in ns; 0: it needs none
	Before   *network.Spec `json:"before"`   // null: nothing was declared
	After    network.Spec  `json:"after"`
	Was      bridge.Host   `json:"was"` // what the steps touch, as it was before them
	Steps    []undoable    `json:"steps"`
}

// undoable is a step with what undoes it.
type undoable struct {
	Step network.Step   `json:"step"`
	Undo []network.Step `json:"undo"`
}

// state is what the state files say.
type state struct {
	applied *applied
	pending *record
}

// The state files' names.
const (
	appliedFile  = "applied.json"
	pendingFile  = "pending.json"
	progressFile = "progress"
	lockName     = "lock"
)

// readState reads the state files. A pending declaration that applied.json shows to be final is none: only its removal was missed.
func readState(dir string) (s state, err error) {
	var a applied
	if found, err := readFile(filepath.Join(dir, appliedFile), &a); err != nil {
		return state{}, err
	} else if found {
		s.applied = &a
	}
	var r record
	if found, err := readFile(filepath.Join(dir, pendingFile), &r); err != nil {
		return state{}, err
	} else if found && (s.applied == nil || s.applied.ID != r.ID) {
		s.pending = &r
	}
	return s, nil
}

// held is the declaration that holds for good; nil where there is none.
func (s state) held() *network.Spec {
	if s.applied == nil {
		return nil
	}
	return &s.applied.Spec
}

// current is the declaration that the host is to be like now: one that waits for its confirmation goes before the one that holds.
func (s state) current() *network.Spec {
	if s.pending != nil && s.pending.Phase == waiting {
		return &s.pending.After
	}
	return s.held()
}

// ids are the networks' ids by their names, to be kept.
func (s state) ids() map[string]bridge.Name {
	out := map[string]bridge.Name{}
	if spec := s.current(); spec != nil {
		for _, n := range spec.Networks {
			out[n.Name] = n.ID
		}
	}
	return out
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return hex.EncodeToString(b[:])
}
