package hotplug

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Who is answered at the end of a run, and with what. "early" asked before the run began, "late" while it ran.
func TestSettle(t *testing.T) {
	missing := because(CodeBridgeMissing, "the bridge br0 does not exist")
	for name, c := range map[string]struct {
		state       State
		worked      time.Duration // since the port was worked on and read back
		final       bool
		reason      *Reason
		want        State
		early, late string
	}{
		"plugged":                          {Plugged, time.Hour, false, nil, Plugged, "done", "waits"},
		"plugged by this run":              {Plugged, 0, false, nil, Plugged, "done", "done"},
		"plugged, and to be released":      {Plugged, 0, false, nil, Gone, "done", "waits"},
		"pending":                          {Ready, time.Hour, false, missing, Plugged, "waits", "waits"},
		"failed":                           {Failed, time.Hour, true, missing, Plugged, missing.Error(), "waits"},
		"failed, soon after it was worked": {Failed, 0, true, missing, Plugged, missing.Error(), "waits"},
		"going":                            {Draining, time.Hour, false, nil, Plugged, because(CodeBackendGone, "the NIC is being removed").Error(), "waits"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &nic{mem: Memory{State: c.state}, plugged: time.Now().Add(-c.worked)}
			early, late := waiter{want: c.want, done: make(chan error, 1)}, waiter{want: c.want, done: make(chan error, 1)}
			n.waiters = []waiter{early, late}
			n.settle(1, c.state, c.final, c.reason)
			assert.Equal(t, c.early, heard(early))
			assert.Equal(t, c.late, heard(late))
			waiting := 0
			for _, w := range []string{c.early, c.late} {
				if w == "waits" {
					waiting++
				}
			}
			assert.Len(t, n.waiters, waiting)
		})
	}
}

func heard(w waiter) string {
	select {
	case err := <-w.done:
		if err != nil {
			return err.Error()
		}
		return "done"
	default:
		return "waits"
	}
}

// Who has just changed the nodes is not answered by a run that had begun before, even one that has just plugged the NIC.
func TestAnewWaitsForAFreshRun(t *testing.T) {
	early := waiter{want: Plugged, done: make(chan error, 1)}
	anew := waiter{want: Plugged, anew: true, done: make(chan error, 1)}
	n := &nic{mem: Memory{State: Plugged}, plugged: time.Now(), waiters: []waiter{early, anew}}
	n.settle(0, Plugged, false, nil)
	assert.Len(t, early.done, 1)
	assert.Empty(t, anew.done)
	n.settle(1, Plugged, false, nil)
	assert.Len(t, anew.done, 1)
}
