package commands

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"vifplug/test/netns"
)

// bin is where TestMain has built the programs.
var bin string

// TestMain moves all tests into one network namespace, and builds the programs once.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && !netns.Inside() {
		os.Exit(netns.Enter(context.Background(), "commands"))
	}
	var err error
	if bin, err = os.MkdirTemp("", "vifplug-bin"); err == nil {
		err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "commands:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(bin)
		os.Exit(code)
	}))
}

// build makes them as the Makefile does.
func build() error {
	c := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "vifplug/cmd/vifplugd", "vifplug/cmd/vifctl", "vifplug/cmd/vif-plug")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}
