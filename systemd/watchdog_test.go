package systemd

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWatchdogInterval(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"60000000", "", time.Minute},
		{"60000000", self, time.Minute},
		{"60000000", "1", 0},
		{"60000000", "x", 0},
		{"0", self, 0},
		{"-1", self, 0},
		{"soon", self, 0},
	} {
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", tc.pid)
		got, ok := WatchdogInterval()
		assert.Equal(t, tc.want, got, tc)
		assert.Equal(t, tc.want > 0, ok, tc)
	}
}

func TestRunWatchdogNotAsked(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	never := func(context.Context) error { t.Error("asked for a heartbeat that nobody wants"); return nil }
	require.NoError(t, RunWatchdog(t.Context(), never))
	t.Setenv("WATCHDOG_USEC", "soon")
	require.ErrorContains(t, RunWatchdog(t.Context(), never), "systemd: watchdog: ")
}

func TestRunWatchdogPings(t *testing.T) {
	path, read := datagrams(t)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "2000")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go runFed(ctx, done)
	for range 3 {
		assert.Equal(t, "WATCHDOG=1", read())
	}
	cancel()
	require.NoError(t, <-done)
}

// runFed runs a watchdog whose daemon is well.
func runFed(ctx context.Context, done chan<- error) {
	done <- RunWatchdog(ctx, func(context.Context) error { return nil })
}

// pings tells at which times, in seconds, a watchdog of 10 s was fed within a minute.
func pings(t *testing.T, alive func(ctx context.Context, at time.Duration) error) (at []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute-time.Second)
		defer cancel()
		beat := func(ctx context.Context) error { return alive(ctx, time.Since(start)) }
		assert.NoError(t, runPings(ctx, 5*time.Second, beat, func() error {
			at = append(at, int(time.Since(start).Seconds()))
			return nil
		}))
	})
	return at
}

func TestWatchdogPingsTwicePerInterval(t *testing.T) {
	got := pings(t, func(context.Context, time.Duration) error { return nil })
	assert.Equal(t, []int{0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55}, got)
}

func TestWatchdogStarvesWhileSick(t *testing.T) {
	got := pings(t, func(_ context.Context, at time.Duration) error {
		if at >= 10*time.Second && at < 30*time.Second {
			return errors.New("the queue does not move")
		}
		return nil
	})
	assert.Equal(t, []int{0, 5, 30, 35, 40, 45, 50, 55}, got)
}

func TestWatchdogStarvesWhileHung(t *testing.T) {
	got := pings(t, func(ctx context.Context, at time.Duration) error {
		if at < 10*time.Second {
			<-ctx.Done() // it heeds its time, and yet says that all is well
		}
		return nil
	})
	assert.NotContains(t, got, 5)
	assert.Contains(t, got, 15)

	got = pings(t, func(_ context.Context, at time.Duration) error {
		if at == 0 {
			time.Sleep(40 * time.Second) // it does not heed its time (virtual seconds)
		}
		return nil
	})
	assert.Equal(t, []int{40, 45, 50, 55}, got)
}

func TestWatchdogKeepsOnWhenPingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		n := 0
		lost := errors.New("socket is gone")
		err := runPings(ctx, 5*time.Second, func(context.Context) error { return nil }, func() error { n++; return lost })
		assert.ErrorIs(t, err, lost)
		assert.Equal(t, 3, n)
	})
}
