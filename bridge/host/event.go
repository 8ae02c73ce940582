package host

import (
	"time"

	"vifplug/bridge"
)

// Kind says what has happened.
type Kind string

// The kinds of events.
const (
	NetworkLost     Kind = "network.lost"     // something of a network is no longer as declared
	NetworkRepaired Kind = "network.repaired" // it is again
	NetworkFailed   Kind = "network.failed"   // it could not be made so, or others undo it again and again
	ApplyDone       Kind = "apply.done"       // a declaration holds
	ApplyWaiting    Kind = "apply.waiting"    // a declaration is carried out, and will be undone unless it is confirmed
	ApplyConfirmed  Kind = "apply.confirmed"  // it is final
	ApplyUndone     Kind = "apply.undone"     // the host is as before: an error, a deadline that passed, a wish
	ApplyStuck      Kind = "apply.stuck"      // undoing met errors; Text says what is left
	ApplyDropped    Kind = "apply.dropped"    // a pending declaration was forgotten: the machine has booted since
)

// Event is something that the manager did or saw.
type Event struct {
	Kind    Kind        `json:"kind"`
	Device  bridge.Name `json:"device,omitempty"`  // "": none in particular
	Network string      `json:"network,omitempty"` // the name of the network it is about; "": none in particular
	Text    string      `json:"text"`              // one sentence
	Time    time.Time   `json:"time"`
}
