package cases

import (
	"context"
	"fmt"
	"os"
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
	os.Exit(netns.Enter(context.Background(), "cases"))
}
