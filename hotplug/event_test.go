package hotplug

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func seqs(events []Event) []uint64 {
	var out []uint64
	for _, e := range events {
		out = append(out, e.Seq)
	}
	return out
}

func TestHubGivesPastAndFutureWithoutGap(t *testing.T) {
	h := NewHub()
	for range 3 {
		h.Publish(Event{Kind: NICSeen})
	}
	s := h.Subscribe(1)
	defer s.Close()
	h.Publish(Event{Kind: NICPlugged})
	<-s.Ready()
	assert.Equal(t, []uint64{2, 3, 4}, seqs(s.Take()))
	assert.Empty(t, s.Take())
	h.Publish(Event{Kind: NICGone})
	<-s.Ready()
	assert.Equal(t, []uint64{5}, seqs(s.Take()))
}

func TestHubKeepsABoundedPast(t *testing.T) {
	h := NewHub()
	for range 5 * history {
		h.Publish(Event{})
	}
	got := seqs(h.Recent(0))
	require.Len(t, got, history)
	assert.EqualValues(t, 4*history+1, got[0])
	assert.LessOrEqual(t, len(h.ring), 2*history)
}

// A reader that stops costs itself: it is told how many events it missed, and memory stays bounded.
func TestHubTellsASlowReaderWhatItMissed(t *testing.T) {
	h := NewHub()
	s := h.Subscribe(0)
	defer s.Close()
	const sent = 10000
	for range sent {
		h.Publish(Event{Kind: NICSeen})
	}
	got := s.Take()
	last := got[len(got)-1]
	require.Equal(t, Overrun, last.Kind)
	assert.EqualValues(t, sent, uint64(len(got)-1)+last.Lost)
	h.Publish(Event{Kind: NICGone})
	assert.Equal(t, []uint64{sent + 1}, seqs(s.Take()))
}

func TestHubOverrunStandsWhereTheGapIs(t *testing.T) {
	h := NewHub()
	s := h.Subscribe(0)
	defer s.Close()
	for range history + subscriber + 7 {
		h.Publish(Event{Kind: NICSeen})
	}
	s.queue = s.queue[:0] // as a reader that takes between two events would leave it
	h.Publish(Event{Kind: NICGone})
	got := s.Take()
	require.Len(t, got, 2)
	assert.Equal(t, Overrun, got[0].Kind)
	assert.EqualValues(t, 7, got[0].Lost)
	assert.Equal(t, NICGone, got[1].Kind)
}

func TestTransitions(t *testing.T) {
	f := settled()
	kinds := func(before State, d Decision, wasLost, lost bool, old *Reason, run Run) []Kind {
		var out []Kind
		for _, e := range transitions(before, d, wasLost, lost, old, run, f, f) {
			out = append(out, e.Kind)
		}
		return out
	}
	work := Run{Steps: []StepRun{{Text: "put on xenbr0"}}}
	missing := because(CodeBridgeMissing, "x")
	for _, c := range []struct {
		name          string
		before        State
		d             Decision
		wasLost, lost bool
		old           *Reason
		run           Run
		want          []Kind
	}{
		{"first sight, plugged", Absent, Decision{State: Plugged}, false, false, nil, work, []Kind{NICSeen, NICPlugged}},
		{"adopted", Absent, Decision{State: Plugged}, false, false, nil, Run{}, []Kind{NICPlugged}},
		{"pending", Absent, Decision{State: Ready, Reason: missing}, false, false, nil, Run{}, []Kind{NICSeen}},
		{"pending, then plugged", Ready, Decision{State: Plugged}, false, false, missing, work, []Kind{NICPlugged}},
		{"pending, then failed", Ready, Decision{State: Failed, Reason: missing}, false, false, missing, Run{}, []Kind{NICFailed}},
		{"failed as before", Failed, Decision{State: Failed, Reason: missing}, false, false, missing, Run{}, nil},
		{"failed otherwise", Failed, Decision{State: Failed, Reason: because(CodeNotABridge, "y")}, false, false, missing, Run{}, []Kind{NICFailed}},
		{"nothing new", Plugged, Decision{State: Plugged}, false, false, nil, Run{}, nil},
		{"drift mended", Plugged, Decision{State: Plugged}, false, false, nil, work, []Kind{NICLost, NICBack}},
		{"bridge gone", Plugged, Decision{State: Ready, Reason: missing}, false, true, nil, Run{}, []Kind{NICLost}},
		{"bridge back", Ready, Decision{State: Plugged}, true, false, missing, work, []Kind{NICBack}},
		{"removal", Plugged, Decision{State: Draining}, false, false, nil, Run{}, []Kind{NICDraining}},
		{"removed", Draining, Decision{State: Gone}, false, false, nil, Run{}, []Kind{NICGone}},
		{"never there", Absent, Decision{State: Gone}, false, false, nil, Run{}, nil},
	} {
		assert.Equal(t, c.want, kinds(c.before, c.d, c.wasLost, c.lost, c.old, c.run), c.name)
	}
}
