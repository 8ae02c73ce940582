package cases

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

// holds has the test binary hold a network namespace until its stdin ends.
const holds = "CASES_HOLD_NAMESPACE"

// TestMain moves the whole binary into a network namespace of its own: the engine's goroutines run on any thread.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(holds) != "":
		fmt.Println("held")
		_, _ = os.Stdin.Read(make([]byte, 1)) // its end is what is awaited
		os.Exit(0)
	case netns.Inside() || os.Geteuid() != 0:
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
