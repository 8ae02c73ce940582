package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// after gives a spinner that has seen n gaps.
func after(s spinner, n int, gap time.Duration) spinner {
	for range n {
		s.gap(gap)
	}
	return s
}

func TestSpinning(t *testing.T) {
	const short, middle, long = 20 * time.Microsecond, 120 * time.Microsecond, 10 * time.Millisecond
	for name, c := range map[string]struct {
		s    spinner
		want time.Duration
	}{
		"nothing has come yet":         {spinner{}, 0},
		"idle":                         {after(spinner{}, 100, long), 0},
		"one frame soon after another": {after(spinner{}, 1, middle), probeFor},
		"a probe that helped":          {after(after(spinner{}, 1, middle), probes, short), spinFor},
		"a probe in vain":              {after(spinner{}, 1+probes, middle), 0},
		"the pause after it":           {after(spinner{}, 1+probes+pause-1, middle), 0},
		"the next probe":               {after(spinner{}, 1+probes+pause, middle), probeFor},
		"a flow":                       {after(spinner{}, 16, short), spinFor},
		"a flow that has ended with a long silence": {after(after(spinner{}, 100, short), 9, long), 0},
		"a probe that silence interrupts":           {after(after(spinner{}, 1, middle), 1, long), 0},
	} {
		assert.Equal(t, c.want, c.s.window(), name)
	}
}

// Whatever comes, silence costs no more than a few windows: what was hoped for is given up.
func TestSpinningEndsInSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s spinner
		for _, us := range rapid.SliceOfN(rapid.IntRange(0, 1000), 0, 200).Draw(t, "gaps") {
			s.gap(time.Duration(us) * time.Microsecond)
		}
		spent := time.Duration(0)
		for range 16 {
			spent += s.window()
			s.gap(time.Second)
		}
		assert.LessOrEqual(t, spent, 16*spinFor+probeFor)
		assert.Zero(t, s.window())
	})
}

// A regular flow that spinning does not speed up is spun for little of the time.
func TestSpinningInVainIsRare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gap := time.Duration(rapid.IntRange(int(spinFor/time.Microsecond)+1, 100000).Draw(t, "gap")) * time.Microsecond
		var s spinner
		var spun, all time.Duration
		for range 20000 {
			spun += min(s.window(), gap)
			all += gap
			s.gap(gap)
		}
		assert.Less(t, float64(spun)/float64(all), 0.05)
	})
}
