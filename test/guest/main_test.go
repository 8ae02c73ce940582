package guest

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(owner) != "" {
		os.Exit(runOwner())
	}
	goleak.VerifyTestMain(m)
}
