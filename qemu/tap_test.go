package qemu_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu"
	"vifplug/test/netns"
	"vifplug/test/standin"
)

// needTun gives the test a namespace of its own, with taps.
func needTun(t *testing.T) {
	t.Helper()
	netns.New(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skipf("needs /dev/net/tun: %v", err)
	}
}

func create(t *testing.T, o qemu.Options) *qemu.Tap {
	t.Helper()
	tap, err := qemu.CreateTap(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tap.Close() })
	return tap
}

// queueFlags asks the kernel what a queue is.
func queueFlags(t *testing.T, q *os.File) uint16 {
	t.Helper()
	ifr, err := unix.NewIfreq("x")
	require.NoError(t, err)
	raw, err := q.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr) }))
	require.NoError(t, err)
	return ifr.Uint16()
}

// A tap that is not to last goes with its descriptors.
func TestTapGoesWithItsQueues(t *testing.T) {
	needTun(t)
	tap := create(t, qemu.Options{Name: "vif5.0-emu", Queues: 4, VNetHdr: true})
	require.Len(t, tap.Queues, 4)
	for _, q := range tap.Queues {
		f := queueFlags(t, q)
		for _, want := range []uint16{unix.IFF_TAP, unix.IFF_NO_PI, unix.IFF_MULTI_QUEUE, unix.IFF_VNET_HDR} {
			assert.NotZero(t, f&want, "%#x", want)
		}
	}
	require.NoError(t, tap.Close())
	_, err := net.InterfaceByName("vif5.0-emu")
	require.Error(t, err)
}

// A persistent tap lasts, QEMU opens it, frames cross, and it can be deleted when QEMU has ended.
func TestPersistentTap(t *testing.T) {
	needTun(t)
	for _, queues := range []int{0, 1} {
		require.NoError(t, create(t, qemu.Options{Name: "vif5.0-emu", Queues: queues, Persistent: true}).Close())
		q, err := standin.StartQEMU("vif5.0-emu")
		require.NoError(t, err)
		require.NoError(t, bridgetest.SetUp("vif5.0-emu"))
		d, err := bridgetest.OpenDevice("vif5.0-emu")
		require.NoError(t, err)
		require.NoError(t, bridgetest.BothWays(d, q))
		d.Close()

		err = qemu.DeleteTap("vif5.0-emu")
		require.ErrorIs(t, err, unix.EBUSY)
		assert.Contains(t, err.Error(), "a process uses it")
		q.Close()
		_, err = net.InterfaceByName("vif5.0-emu")
		require.NoError(t, err, "it lasts")
		require.NoError(t, qemu.DeleteTap("vif5.0-emu"))
		_, err = net.InterfaceByName("vif5.0-emu")
		require.Error(t, err)
	}
}

func TestPersistentTapOfManyQueues(t *testing.T) {
	needTun(t)
	require.NoError(t, create(t, qemu.Options{Name: "tap5.0", Queues: 2, Persistent: true}).Close())
	require.NoError(t, qemu.DeleteTap("tap5.0"))
	_, err := net.InterfaceByName("tap5.0")
	require.Error(t, err)
}

// The owner may open it, and nobody else but root.
func TestTapHasItsOwner(t *testing.T) {
	needTun(t)
	require.NoError(t, create(t, qemu.Options{Name: "vif5.0-emu", Owner: 4321, Persistent: true}).Close())
	require.NoError(t, create(t, qemu.Options{Name: "vif5.1-emu", Persistent: true}).Close())
	for name, want := range map[string]string{"vif5.0-emu": "4321", "vif5.1-emu": "0"} {
		owner, err := os.ReadFile("/sys/class/net/" + name + "/owner")
		require.NoError(t, err)
		assert.Equal(t, want, strings.TrimSpace(string(owner)))
	}
}

// What is there is nobody's to take over by making it.
func TestCreateTapTakesNothingOver(t *testing.T) {
	needTun(t)
	require.NoError(t, bridgetest.MakeVeth("vif6.0-emu", "peer"))
	require.NoError(t, create(t, qemu.Options{Name: "vif5.0-emu", Persistent: true}).Close())
	for _, name := range []string{"vif5.0-emu", "vif6.0-emu"} {
		_, err := qemu.CreateTap(qemu.Options{Name: name})
		require.ErrorIs(t, err, unix.EEXIST, name)
		assert.Contains(t, err.Error(), "create tap "+name+": there is a device of this name")
	}
	require.Error(t, qemu.DeleteTap("vif6.0-emu"), "no tap")
	_, err := net.InterfaceByName("vif6.0-emu")
	require.NoError(t, err)
	require.ErrorIs(t, qemu.DeleteTap("vif7.0-emu"), os.ErrNotExist)
	_, err = net.InterfaceByName("vif7.0-emu")
	require.Error(t, err, "asking for it has not made it")
}

func TestCreateTapRefuses(t *testing.T) {
	for text, o := range map[string]qemu.Options{
		"no name of a device": {Name: "vif12345.100-emu"}, `""`: {}, `"tap%d"`: {Name: "tap%d"}, `"a/b"`: {Name: "a/b"}, `".."`: {Name: ".."},
		"257 queues": {Name: "x", Queues: 257}, "-1 queues": {Name: "x", Queues: -1}, "owner -1": {Name: "x", Owner: -1},
	} {
		_, err := qemu.CreateTap(o)
		require.ErrorContains(t, err, text)
	}
	require.Error(t, qemu.DeleteTap("a b"))
}
