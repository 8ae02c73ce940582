package paths

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vifplug/qemu/shortcut"
)

// TestRateLimit has a qdisc of the port that frames are sent on to hold its limit.
func TestRateLimit(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		out, err := exec.Command("tc", "qdisc", "add", "dev", "p2", "root", "tbf", "rate", "8mbit", "burst", "3100", "limit", "1000000").CombinedOutput()
		if err != nil && os.Getenv("VIFPLUG_CI") != "1" {
			t.Skipf("tc: %v: %s", err, out)
		}
		require.NoError(t, err, "%s", out)
		const frames, size = 200, 1514
		began := time.Now()
		var ids []string
		l.redirected(m, "p1", frames, func() {
			for range frames {
				ids = append(ids, string(l.write("g1", guest1, guest2, size)))
			}
		})
		got := l.arrived()["g2"] // the marker waits behind them
		took := time.Since(began)
		for i, id := range ids {
			require.Equal(t, 1, got[id], "frame %d", i)
		}
		// A megabyte a second, but for what may burst.
		require.Greater(t, took, time.Duration(frames*size-3100)*time.Microsecond)
	})
}
