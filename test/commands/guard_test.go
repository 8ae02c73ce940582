package commands

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug/paths"
)

// A configuration that guards all NICs: a vif and a tap let through frames from their own address alone, whichever path they take, also while no daemon
// is there, and when the next has come.
func TestGuard(t *testing.T) {
	h := hostFor(t)
	pins := t.TempDir()
	require.NoError(t, unix.Mount("bpf", pins, "bpf", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(pins, unix.MNT_DETACH) })
	require.NoError(t, os.MkdirAll(h.path("etc"), 0o755))
	configure := func(guard paths.Guard) {
		require.NoError(t, os.WriteFile(h.path("etc/vifplug.toml"), fmt.Appendf(nil, "[hotplug]\nguard = %q\n", guard), 0o600))
	}
	configure(paths.MAC)
	require.NoError(t, h.bridge("brg"))
	require.NoError(t, h.start("--bpf-dir", pins))
	q, d := h.pair(t, 75, 76, "brg")
	own := func(id int) net.HardwareAddr { return net.HardwareAddr{0, 0x16, 0x3e, 0, byte(id), 0} }
	ways := []struct {
		from, to bridgetest.End
		id       int
	}{{q, d, 75}, {d, q, 76}}
	guarded := func(when string) {
		t.Helper()
		for _, way := range ways {
			_, err := bridgetest.BetweenFrom(way.from, own(way.id), way.to)
			assert.NoError(t, err, "%s: from %d with its own address", when, way.id)
			_, err = bridgetest.BetweenFrom(way.from, net.HardwareAddr{2, 0, 0, 0, 0, 9}, way.to)
			assert.ErrorIs(t, err, bridgetest.ErrNotArrived, "%s: from %d with another's", when, way.id)
		}
	}
	everywhere := func(want paths.Path, when string) {
		t.Helper()
		for name, tap := range map[string]bool{"vif75.0": true, "vif76.0": false} {
			s, err := h.takes(name, tap, want)
			require.NoError(t, err)
			assert.Equal(t, paths.MAC, s.Guard)
		}
		guarded(when)
	}
	everywhere(paths.Shortcut, "at first")
	for _, vif := range []string{"vif75.0", "vif76.0"} {
		_, err := h.control().SetPath(t.Context(), vif, paths.Bridge)
		require.NoError(t, err)
	}
	everywhere(paths.Bridge, "on the bridge")

	x, err := h.control().NIC(t.Context(), "vif76.0")
	require.NoError(t, err)
	assert.NotZero(t, x.Path.Dropped)

	configure(paths.Off)
	for _, way := range ways {
		require.NoError(t, eventually(func() error {
			_, err := bridgetest.BetweenFrom(way.from, net.HardwareAddr{2, 0, 0, 0, 0, 9}, way.to)
			return err
		}), "no guard any more: from %d", way.id)
	}
	configure(paths.MAC)
	require.NoError(t, eventually(func() error {
		for _, way := range ways {
			if _, err := bridgetest.BetweenFrom(way.from, net.HardwareAddr{2, 0, 0, 0, 0, 9}, way.to); !errors.Is(err, bridgetest.ErrNotArrived) {
				return fmt.Errorf("not guarded: from %d: %v", way.id, err)
			}
		}
		return nil
	}))
	everywhere(paths.Bridge, "guarded anew")

	_, err = h.stop(syscall.SIGKILL)
	require.NoError(t, err)
	guarded("no daemon")
	require.NoError(t, h.start("--bpf-dir", pins))
	everywhere(paths.Bridge, "the next daemon") // a NIC keeps what was said of its path
}
