package commands

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
	"vifplug/test/standin"
)

// takes awaits that the frames of a NIC, or of its tap, take a path.
func (h *host) takes(name string, tap bool, want paths.Path) (s paths.State, err error) {
	return s, eventually(func() error {
		x, err := h.control().NIC(context.Background(), name)
		if err != nil {
			return err
		}
		p := pathIn(x.NICStatus, tap)
		if p == nil || p.Path != want {
			return fmt.Errorf("%s takes %+v, want %s", name, p, want)
		}
		s = *p
		return nil
	})
}

func pathIn(n hotplug.NICStatus, tap bool) *paths.State {
	if !tap {
		return n.Path
	}
	if n.Tap == nil {
		return nil
	}
	return n.Tap.Path
}

// pair makes an HVM guest and a PV guest on a bridge, waits until the tap of the one and the vif of the other are plugged, and gives what they
// send and receive by.
func (h *host) pair(t *testing.T, hvm, pv int, bridge string) (*standin.QEMU, *bridgetest.Device) {
	t.Helper()
	require.NoError(t, h.domain(hvm, fmt.Sprint("hvm", hvm)))
	require.NoError(t, h.emulated(hvm, bridge))
	require.NoError(t, h.guest(pv, fmt.Sprint("pv", pv), bridge))
	tap := standin.VIF(hvm, 0) + "-emu"
	q, err := standin.StartQEMU(tap)
	require.NoError(t, err)
	t.Cleanup(q.Close)
	for _, port := range []string{tap, standin.VIF(pv, 0)} {
		require.NoError(t, h.link(port, "master "+bridge+" up"))
	}
	d, err := bridgetest.OpenDevice(standin.GuestEnd(pv, 0))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return q, d
}

// A tap and a PV NIC take the shortcut by themselves, and the bridge when somebody asks for it, when the bridge becomes what the shortcut is not, and
// when the daemon is killed. Frames cross all the while.
func TestPaths(t *testing.T) {
	h := hostFor(t)
	require.NoError(t, h.bridge("brp"))
	require.NoError(t, h.start())
	q, d := h.pair(t, 71, 72, "brp")
	cross := func() {
		t.Helper()
		require.NoError(t, bridgetest.BothWays(q, d))
	}
	both := func(want paths.Path, why string) {
		t.Helper()
		for vif, tap := range map[string]bool{"vif71.0": true, "vif72.0": false} {
			s, err := h.takes(vif, tap, want)
			require.NoError(t, err)
			assert.Contains(t, s.Reason, why)
		}
		cross()
	}
	both(paths.Shortcut, "nothing stands against")

	st, err := h.control().SetPath(t.Context(), "vif72.0", paths.Bridge)
	require.NoError(t, err)
	require.NotNil(t, st.Path)
	assert.Equal(t, paths.Bridge, st.Path.Path)
	cross()
	st, err = h.control().SetPath(t.Context(), "vif72.0", "")
	require.NoError(t, err)
	assert.Equal(t, paths.Shortcut, st.Path.Path)

	setSTP := func(state string) {
		out, err := exec.Command("ip", "link", "set", "brp", "type", "bridge", "stp_state", state).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	setSTP("1")
	both(paths.Bridge, "spanning tree")
	setSTP("0")
	both(paths.Shortcut, "nothing stands against")

	_, err = h.stop(syscall.SIGKILL)
	require.NoError(t, err)
	cross()
	require.NoError(t, h.start())
	both(paths.Shortcut, "nothing stands against")
}
