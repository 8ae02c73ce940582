package paths

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"vifplug/test/netns"
)

// TestMain moves the whole binary into a network namespace of its own: the keeper's goroutines run on any thread.
func TestMain(m *testing.M) {
	if netns.Inside() || os.Geteuid() != 0 {
		goleak.VerifyTestMain(m)
	}
	os.Exit(again())
}

func again() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var failed *exec.ExitError // it has said why
	switch err := netns.Again(ctx); {
	case err == nil:
		return 0
	case !errors.As(err, &failed):
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// needNamespace skips a test outside the namespace, and fails it in CI.
func needNamespace(t *testing.T) {
	t.Helper()
	if netns.Inside() {
		return
	}
	if os.Getenv("VIFPLUG_CI") == "1" {
		t.Fatal("needs root, which CI must give: it works in a network namespace")
	}
	t.Skip("needs root: it works in a network namespace")
}
