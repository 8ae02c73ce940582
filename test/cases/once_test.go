package cases

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
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
