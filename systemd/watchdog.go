package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// WatchdogInterval tells within which time systemd wants to hear from this process before it ends it (WatchdogSec=). It is not ok when
// nobody asked for that, or asked another process ($WATCHDOG_PID).
func WatchdogInterval() (time.Duration, bool) {
	d, err := daemon.SdWatchdogEnabled(false)
	return d, err == nil && d > 0
}

// RunWatchdog feeds systemd's watchdog until ctx ends. Twice per interval it asks alive, and pings only when that returned nil before half an
// interval was over: a daemon whose engine hangs is ended and started anew, even though this goroutine still runs. alive's context ends after
// that time; a heartbeat that ignores it and hangs is a missing ping too.
//
// When no watchdog is asked for it returns nil at once, and so costs no wake-ups. It returns an error at once when systemd's wish is malformed,
// and when ctx ends the error of the last ping, if that was not taken.
func RunWatchdog(ctx context.Context, alive func(context.Context) error) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	switch {
	case err != nil:
		return fmt.Errorf("systemd: watchdog: %w", err)
	case interval <= 0:
		return nil
	}
	return runPings(ctx, interval/2, alive, func() error { return Notify(daemon.SdNotifyWatchdog) })
}

func runPings(ctx context.Context, every time.Duration, alive func(context.Context) error, ping func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last error
	for {
		if inTime(ctx, every, alive) {
			last = ping()
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// inTime says whether the heartbeat answered well and before the time was over.
func inTime(ctx context.Context, most time.Duration, alive func(context.Context) error) bool {
	within, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := alive(within)
	return err == nil && within.Err() == nil
}
