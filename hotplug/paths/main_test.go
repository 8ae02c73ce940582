package paths

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"vifplug/test/netns"
)

// TestMain moves the whole binary into a network namespace of its own: the keeper's goroutines run on any thread.
func TestMain(m *testing.M) {
	if netns.Inside() || os.Geteuid() != 0 {
		goleak.VerifyTestMain(m)
	}
	os.Exit(netns.Enter(context.Background(), "paths"))
}
