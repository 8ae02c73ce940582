package commands

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug/control"
	"vifplug/test/standin"
)

// XAPI's way: the daemon makes the tap and hands its descriptor over. Frames cross from there to the PV side of another guest, also while the
// daemon is killed, and when the descriptor is closed nothing is left.
func TestTapHandedOver(t *testing.T) {
	h := hostFor(t)
	require.NoError(t, h.bridge("brx"))
	require.NoError(t, h.start())
	require.NoError(t, h.domain(61, "hvm01"))
	tap, err := h.control().OpenTap(t.Context(), control.Tap{Domain: "hvm01", XAPI: true})
	require.NoError(t, err)
	assert.Equal(t, "tap61.0", tap.Name)
	require.Len(t, tap.Queues, 1)
	fd, err := unix.FcntlInt(tap.Queues[0].Fd(), unix.F_DUPFD_CLOEXEC, 0) // QEMU's
	require.NoError(t, err)
	require.NoError(t, unix.SetNonblock(fd, true))
	require.NoError(t, tap.Close())
	q := standin.QEMUOf(fd, tap.Name)
	defer q.Close()

	require.NoError(t, h.emulated(61, "brx"))
	require.NoError(t, h.guest(62, "pv01", "brx"))
	require.NoError(t, h.link("tap61.0", "master brx up"))
	require.NoError(t, h.link("vif62.0", "master brx up"))
	d, err := bridgetest.OpenDevice("g62.0")
	require.NoError(t, err)
	defer d.Close()
	cross := func() {
		t.Helper()
		require.NoError(t, bridgetest.BothWays(q, d))
	}
	cross()
	_, err = h.stop(syscall.SIGKILL)
	require.NoError(t, err)
	require.NoError(t, h.link("tap61.0", "master brx up"))
	cross()
	require.NoError(t, h.start())
	require.NoError(t, eventually(func() error {
		_, err := h.control().NIC(context.Background(), "tap61.0")
		return err
	}))
	cross()
	q.Close()
	require.NoError(t, h.gone("tap61.0"))
}
