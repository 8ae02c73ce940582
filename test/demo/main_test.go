package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/test/netns"
)

// TestMain moves the test into a network namespace, though the demo enters its own: where it fails, nothing else is touched.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && !netns.Inside() {
		os.Exit(netns.Enter(context.Background(), "demo"))
	}
	goleak.VerifyTestMain(m)
}

// The demo is the first thing that a newcomer runs. Needs root.
func TestDemo(t *testing.T) {
	netns.Need(t)
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+"/", "vifplug/cmd/vifplugd", "vifplug/cmd/vifctl", "vifplug/cmd/vif-plug").CombinedOutput()
	require.NoError(t, err, string(out))
	demo := filepath.Join(bin, "vifdemo")
	out, err = exec.Command("go", "build", "-o", demo, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	c := exec.Command(demo)
	c.Env = netns.Outside()
	out, err = c.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "That was vifplug, in ")
}
