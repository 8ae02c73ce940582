package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The benchmark's own work is checked, not its times: every path carries frames in every kind of measure, and none is unaccounted for.
func TestEveryKindOfMeasureWorks(t *testing.T) {
	if os.Geteuid() != 0 {
		require.NotEqual(t, "1", os.Getenv("VIFPLUG_CI"), "CI must give root")
		t.Skip("needs root: it makes network namespaces")
	}
	var out bytes.Buffer
	b := &bench{plan: plan{rounds: 1, time: 20 * time.Millisecond, slice: 10 * time.Millisecond, only: regexp.MustCompile("^(out-64|in-1514|rtt-sleep|loop|tcp-out|gso-out|tcp-vnet-in) ")}, out: &out}
	require.NoError(t, b.run(candidates()), out.String())
	assert.Empty(t, b.notes, "nothing is left out here")
	assert.Len(t, b.results, 7)
	for _, r := range b.results {
		assert.Empty(t, r.lost, r.measure.name)
		for _, s := range r.series {
			if s.candidate != yardFloor {
				assert.Positive(t, s.of(r.measure.kind.rate), "%s %s", r.measure.name, s.candidate)
			}
		}
	}
}
