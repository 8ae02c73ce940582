package shortcut

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTablesFull has a port that finds no place be without programs, and give back what it had taken.
func TestTablesFull(t *testing.T) {
	h := newHost(t)
	require.NoError(t, h.Set(h.guest("1")))
	slots, ports := h.freeSlot, h.freePort

	h.freePort = pool{}
	require.ErrorContains(t, h.Set(h.guest("2")), "the tables are full")
	h.freePort = ports[:1:1]
	h.freeSlot = pool{}
	require.ErrorContains(t, h.Set(h.guest("2")), "the tables are full")
	require.Len(t, h.freePort, 1)
	h.freeSlot = slots[:1:1] // an uplink wants two
	require.ErrorContains(t, h.Set(h.uplink()), "the tables are full")
	require.Len(t, h.freeSlot, 1)
	require.Len(t, h.freePort, 1)
	_, err := h.Counters(h.index["p2"])
	require.Error(t, err)
	require.NoError(t, h.Set(h.guest("2")))
}

// TestPortThatCannotBePinned says that there is no bpffs, and leaves nothing on the device.
func TestPortThatCannotBePinned(t *testing.T) {
	h := newHost(t)
	require.Equal(t, TCX, h.Mode())
	h.cfg.Dir = t.TempDir()
	p := h.guest("1")
	p.Guard = true
	before := fds(t)
	for range 5 {
		require.ErrorContains(t, h.Set(p), "Is a bpffs mounted there")
	}
	require.Equal(t, before, fds(t), "descriptors")
	there, err := h.Foreign(p.Index)
	require.NoError(t, err)
	require.Empty(t, there)

	p.Guard = false
	require.NoError(t, h.Set(p))
	p.Guard = true
	require.Error(t, h.Set(p))
	require.False(t, h.ports[p.Index].port.Guard, "it is as it was")
}

// fds is how many descriptors the process has.
func fds(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(e)
}
