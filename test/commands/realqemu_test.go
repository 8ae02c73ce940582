//go:build afxdpqemu

package commands

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
)

// With a QEMU that has -netdev af-xdp, of which VIFPLUG_QEMU_AFXDP is the command (see qemu/xsk): vifctl goes on as it, and frames cross between the tap
// behind its hub and the PV side of another guest.
func TestVifctlBecomesRealQEMU(t *testing.T) {
	command := strings.Fields(os.Getenv("VIFPLUG_QEMU_AFXDP"))
	require.NotEmpty(t, command, "VIFPLUG_QEMU_AFXDP")
	h, start := hostWithRings(t)
	require.NoError(t, h.bridge("brr3"))
	require.NoError(t, start())
	require.NoError(t, h.guest(67, "hvm07", "brr3"))
	require.NoError(t, h.guest(68, "pv08", "brr3"))
	args := append([]string{"tap", "create", "hvm07", "0", "--af-xdp", "--"}, command...)
	q := h.program("vifctl", append(args, "-machine", "none", "-nodefaults", "-display", "none",
		"-netdev", "af-xdp,id=a,{}", "-netdev", "hubport,id=ha,hubid=0,netdev=a",
		"-netdev", "tap,id=t,ifname=inside67,script=no,downscript=no", "-netdev", "hubport,id=ht,hubid=0,netdev=t")...)
	q.Stderr = os.Stderr
	require.NoError(t, q.Start())
	t.Cleanup(func() {
		_ = q.Process.Kill()
		assert.Error(t, q.Wait())
	})
	require.NoError(t, h.link("tap67.0", "master brr3 up"))
	require.NoError(t, h.link("vif68.0", "master brr3 up"))
	require.NoError(t, eventually(func() error { return bridgetest.SetUp("inside67") }))
	inside, err := bridgetest.OpenDevice("inside67")
	require.NoError(t, err)
	defer inside.Close()
	pv, err := bridgetest.OpenDevice("g68.0")
	require.NoError(t, err)
	defer pv.Close()
	for range 3 {
		require.NoError(t, eventually(func() error { _, err := bridgetest.Between(inside, pv); return err }))
		_, err = bridgetest.Between(pv, inside)
		require.NoError(t, err)
	}
}
