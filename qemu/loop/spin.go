package loop

import "time"

// The bounds of spinning.
const (
	// spinFor is how long a direction looks for the next frame before it sleeps, where frames have been coming so fast.
	spinFor = 60 * time.Microsecond
	// probeFor is how long it looks when it finds out whether spinning makes them come that fast: in a conversation the next frame waits for our
	// own wake-up, so that the gaps of a sleeper say little about those of a spinner.
	probeFor = 500 * time.Microsecond
	// probes are how many gaps a probe takes, and pause how many gaps lie between a probe in vain and the next.
	probes, pause = 8, 256
	// stolen is how long letting others run may take, before it is to be believed that they need this core more. Whoever yields to a busy one waits for
	// all of its slice, some milliseconds (linux: kernel/sched/fair.c yield_task_fair).
	stolen = 150 * time.Microsecond
	// keep is how many of the last gaps, of 16, have to be short for the spinning to go on.
	keep = 8
)

// spinner decides how long to spin. It never spins where nothing comes: a gap of more than probeFor ends the probe. The zero value is ready.
type spinner struct {
	short uint16 // the last 16 gaps, newest lowest: 1 where it was at most spinFor
	probe int    // gaps that are left of a probe
	rest  int    // gaps that are left of a pause
}

// window is how long to look before sleeping; 0: sleep at once.
func (s *spinner) window() time.Duration {
	switch {
	case s.steady():
		return spinFor
	case s.probe > 0:
		return probeFor
	}
	return 0
}

func (s *spinner) steady() bool {
	n := 0
	for h := s.short; h != 0; h &= h - 1 {
		n++
	}
	return n >= keep
}

// gap takes into account how long the last frame was awaited, asleep or not.
func (s *spinner) gap(d time.Duration) {
	s.short <<= 1
	if d <= spinFor {
		s.short |= 1
	}
	if s.rest > 0 {
		s.rest--
	}
	switch {
	case s.steady():
		s.probe, s.rest = 0, 0
	case d > probeFor:
		s.probe = 0
	case s.probe > 1:
		s.probe--
	case s.probe == 1:
		s.probe, s.rest = 0, pause
	case s.rest == 0:
		s.probe = probes
	}
}

// turn says how long spinning has lasted since start, after one more turn; before was what it said last. A negative answer ends it: another has had
// the core meanwhile, so that spinning is no good here, for a while.
func (s *spinner) turn(start time.Time, before time.Duration) time.Duration {
	spent := time.Since(start)
	if spent-before > stolen {
		s.short, s.probe, s.rest = 0, 0, 4*pause
		return -1
	}
	return spent
}
