package cases

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
	"vifplug/test/standin"
)

// vif-plug without a daemon does the same work, for its NIC alone, on the real kernel.
func TestOnce(t *testing.T) {
	h := bareHost(t, "")
	h.policy.AnyNetdev = true
	for dev := range 2 {
		h.netdev(standin.VIF(5, dev), 5, dev)
	}
	h.domain(5, standin.NIC{Bridge: "xenbr0", State: "2", VIFName: "testweb"}, plain)
	k := hotplug.Key{Front: 5}
	require.NoError(t, hotplug.Once(h.ctx(), h.store, k, true, h.policy, h.t.TempDir()))
	require.NoError(t, h.port("testweb", "xenbr0", 1500))
	require.NoError(t, h.node(5, 0, "hotplug-status", "connected"))
	require.NoError(t, h.node(5, 1, "hotplug-status", ""), "another NIC is not its business")
	other, err := bridgetest.Describe("vif5.1")
	require.NoError(t, err)
	assert.Contains(t, other, "master none down")

	require.NoError(t, hotplug.Once(h.ctx(), h.store, k, true, h.policy, h.t.TempDir()), "and again")
	require.NoError(t, h.tools.Detach(h.ctx(), 5, 0))
	require.NoError(t, hotplug.Once(h.ctx(), h.store, k, false, h.policy, h.t.TempDir()))
	text, err := bridgetest.Describe("testweb")
	require.NoError(t, err)
	assert.Equal(t, "veth testweb mtu 1500 fe:ff:ff:ff:ff:ff master none down", text)
}

// Where it is to guard, what it leaves behind lets through the NIC's own address alone, and a NIC that it cannot guard it does not plug.
func TestOnceGuards(t *testing.T) {
	h := bareHost(t, "")
	h.policy.AnyNetdev, h.policy.Guard = true, paths.MAC
	for dev := range 2 {
		h.netdev(standin.VIF(5, dev), 5, dev)
	}
	mac := net.HardwareAddr{0, 0x16, 0x3e, 0, 5, 0}
	h.domain(5, standin.NIC{Bridge: "xenbr0", State: "2", MAC: mac.String()}, standin.NIC{Bridge: "xenbr0", State: "2"})
	require.NoError(t, h.tools.Store.Remove(h.ctx(), h.dir(5, 1)+"/mac"))
	pins := t.TempDir()
	require.NoError(t, unix.Mount("bpf", pins, "bpf", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(pins, unix.MNT_DETACH) })
	require.NoError(t, hotplug.Once(h.ctx(), h.store, hotplug.Key{Front: 5}, true, h.policy, pins))
	require.NoError(t, h.port("vif5.0", "xenbr0", 1500))
	require.NoError(t, bridgetest.SetUp(standin.GuestEnd(5, 0)))
	guest, err := bridgetest.OpenDevice(standin.GuestEnd(5, 0))
	require.NoError(t, err)
	defer guest.Close()
	host, err := bridgetest.OpenDevice("xenbr0")
	require.NoError(t, err)
	defer host.Close()
	_, err = bridgetest.BetweenFrom(guest, mac, host)
	require.NoError(t, err)
	_, err = bridgetest.BetweenFrom(guest, net.HardwareAddr{2, 0, 0, 0, 0, 9}, host)
	require.ErrorIs(t, err, bridgetest.ErrNotArrived)

	err = hotplug.Once(h.ctx(), h.store, hotplug.Key{Front: 5, Device: 1}, true, h.policy, pins)
	require.ErrorContains(t, err, "names no MAC address")
	other, err := bridgetest.Describe("vif5.1")
	require.NoError(t, err)
	assert.Contains(t, other, "master none down")
}

func TestOnceSaysWhyNot(t *testing.T) {
	h := bareHost(t, "")
	h.policy.AnyNetdev = true
	h.netdev("vif5.0", 5, 0)
	h.domain(5, standin.NIC{Bridge: "xenbr9", State: "2"})
	var r *hotplug.Reason
	h.policy.BridgeWait = 30 * time.Millisecond
	require.ErrorAs(t, hotplug.Once(h.ctx(), h.store, hotplug.Key{Front: 5}, true, h.policy, h.t.TempDir()), &r)
	assert.Equal(t, hotplug.CodeBridgeMissing, r.Code)
	require.NoError(t, h.node(5, 0, "hotplug-error", r.Error()))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, hotplug.Once(ctx, h.store, hotplug.Key{Front: 5}, true, h.policy, h.t.TempDir()), context.Canceled)
}
