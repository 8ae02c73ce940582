package commands

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// While xenstored does not come up, vifplugd cannot, and systemd's socket takes questions that nobody answers. The host's networks must be seen
// and changed all the same.
func TestNetworksWhereNobodyAnswers(t *testing.T) {
	h := hostFor(t)
	l, err := net.Listen("unix", h.path("c"))
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, os.MkdirAll(h.path("etc"), 0o755))
	require.NoError(t, h.port("nwn0", "10.95.0.2/24"))
	h.bridges = append(h.bridges, "nwnb")
	const management = "[[network]]\nname = \"mgmt\"\non = \"nwn0\"\nroles = [\"server-management\"]\naddress = [\"10.95.0.2/24\"]\n"
	h.declare(t, management+"[[network]]\nname = \"guests\"\nid = \"nwnb\"\nroles = [\"virtual-machine\"]\n")

	out, err := h.program("vifctl", "plan").Output()
	got, err := code(err)
	require.NoError(t, err)
	assert.Equal(t, 3, got)
	assert.Contains(t, string(out), "create bridge nwnb")
	out, err = h.program("vifctl", "apply").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, h.link("nwnb", "up"))
	out, err = h.program("vifctl", "rollback").CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, "vifctl: no apply waits for a confirmation\n", string(out))
}
