package cases

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/toolstack"
	"vifplug/test/standin"
)

// declare gives the host's policy two networks for guests, on xenbr0 and xenbr1, and one that is not for guests.
func (h *host) declare() {
	h.policy.Networks = hotplug.Networks{
		{Number: 1, Name: "management", ID: "10.11.10.0", Roles: "server-management", PVID: 1},
		{Number: 4, Name: "guests-of-the-second-floor", ID: "xenbr0", Roles: "virtual-machine", Guests: true, PVID: 1},
		{Number: 5, Name: "backup", ID: "xenbr1", Roles: "virtual-machine", Guests: true, PVID: 1},
	}
}

// attachTo attaches a NIC by the operator's toolstack, and waits for it as the daemon does.
func (h *host) attachTo(domain, network string) hotplug.Key {
	h.t.Helper()
	k, err := toolstack.New(h.engine).Attach(h.ctx(), domain, toolstack.NIC{Network: network})
	require.NoError(h.t, err)
	require.NoError(h.t, h.engine.Follow(h.ctx(), k))
	return k
}

// hears says whether a frame from one guest reaches another.
func (h *host) hears(from, to int) bool {
	h.t.Helper()
	_, err := bridgetest.Frame(standin.GuestEnd(from, 0), standin.GuestEnd(to, 0))
	if err != nil {
		require.ErrorIs(h.t, err, bridgetest.ErrNotArrived)
	}
	return err == nil
}

// An operator attaches NICs, moves one from network to network while it is in use, and detaches it. Frames cross where they should, and only there;
// a move takes no link down.
func TestAttachMoveDetach(t *testing.T) {
	h := newHost(t)
	h.declare()
	h.start()
	tools := toolstack.New(h.engine)
	h.domain(5)
	h.domain(6)
	h.domain(7)
	k := h.attachTo("guest5", "guests-of-the-second-floor")
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.attachTo("6", "xenbr0")
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.attachTo("guest7", "backup")
	h.plugged(7, 0, "vif7.0", "xenbr1", 1500)
	assert.True(t, h.hears(5, 6))
	assert.False(t, h.hears(5, 7))
	h.eventually(func() error { return h.node(5, 0, "state", "4") })

	h.settle()
	h.links.on(nil)
	require.NoError(t, tools.Move(h.ctx(), k, toolstack.Place{Network: "backup"}))
	require.NoError(t, h.engine.Follow(h.ctx(), k))
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)
	assert.True(t, h.hears(5, 7))
	assert.False(t, h.hears(5, 6))
	assert.NotContains(t, strings.Join(h.links.all(), "\n"), "down", "the link stays up")
	ev := h.event(hotplug.NICChanged, "vif5.0")
	assert.Equal(t, []string{"backup", "xenbr1"}, []string{ev.Network, ev.Bridge})
	assert.Contains(t, ev.Detail, "move from xenbr0 to xenbr1")
	h.settle()
	assert.NotContains(t, h.kinds("vif5.0"), hotplug.NICLost)

	var refused *hotplug.Reason
	require.ErrorAs(t, tools.Move(h.ctx(), k, toolstack.Place{Network: "management"}), &refused)
	assert.Equal(t, hotplug.CodeNetworkRole, refused.Code)
	h.settle()
	require.NoError(t, h.port("vif5.0", "xenbr1", 1500))
	assert.True(t, h.hears(5, 7))

	require.NoError(t, tools.Detach(h.ctx(), k, false))
	h.gone("vif5.0")
	names, err := bridgetest.Names()
	require.NoError(t, err)
	assert.NotContains(t, names, "vif5.0")
	_, err = h.store.Read(h.ctx(), "/libxl/5/device/vif/0/backend")
	require.True(t, isGone(err))
	assert.Equal(t, hotplug.Key{Front: 5}, h.attachTo("guest5", "backup"), "and again")
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)
	assert.True(t, h.hears(5, 7))
}

// Another toolstack names a network that guests may not use: the NIC is not plugged, and node, event and engine give the same reason. When the
// declaration gives the network the role, the NIC is plugged.
func TestNetworkWithoutTheRole(t *testing.T) {
	h := newHost(t)
	h.declare()
	h.bridge("test-mgmt", 1400)
	h.policy.Networks[0].ID = "test-mgmt"
	h.start()
	h.domain(5, standin.NIC{Bridge: "management"})
	r := h.failed(5, 0, hotplug.CodeNetworkRole)
	assert.Equal(t, "network management (1) has the roles server-management only; guests need a network with the virtual-machine role", r.Cause)
	p := h.policy
	p.Networks = append(hotplug.Networks{}, h.policy.Networks...)
	p.Networks[0].Guests = true
	h.engine.SetPolicy(p)
	h.plugged(5, 0, "vif5.0", "test-mgmt", 1400)
	require.NoError(t, h.node(5, 0, "hotplug-error", ""))
	h.eventually(func() error { return h.told(5, 0, "1400") })
}

// told says whether a guest has been told an MTU.
func (h *host) told(id, dev int, want string) error {
	got, err := h.store.Read(h.ctx(), fmt.Sprintf("/local/domain/%d/device/vif/%d/mtu", id, dev))
	if err == nil && got != want {
		err = fmt.Errorf("the guest was told the MTU %s, not %s", got, want)
	}
	return err
}

// The bridge of a declared network comes later than the NIC, goes, and comes back.
func TestNetworkWhoseBridgeComesLater(t *testing.T) {
	h := newHost(t)
	h.declare()
	h.policy.Networks[1].ID = "test-later"
	h.start()
	h.domain(5, standin.NIC{Bridge: "guests-of-the-second-floor"})
	h.eventually(func() error { return h.is("vif5.0", hotplug.Ready, hotplug.CodeBridgeMissing) })
	h.bridge("test-later", 1500)
	h.plugged(5, 0, "vif5.0", "test-later", 1500)
	require.NoError(t, bridgetest.Delete("test-later"))
	h.event(hotplug.NICLost, "vif5.0")
	h.bridge("test-later", 1500)
	h.event(hotplug.NICBack, "vif5.0")
	h.plugged(5, 0, "vif5.0", "test-later", 1500)
}

// The MTU of a declared network changes under its guests: their ports follow, and the guests are told.
func TestPortsFollowTheMTUOfANetwork(t *testing.T) {
	h := newHost(t)
	h.declare()
	h.start()
	h.domain(5, standin.NIC{Bridge: "backup"}, standin.NIC{Bridge: "backup", MTU: 1450})
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)
	h.plugged(5, 1, "vif5.1", "xenbr1", 1450)
	require.NoError(t, bridgetest.SetMTU("xenbr1", 1400))
	h.plugged(5, 0, "vif5.0", "xenbr1", 1400)
	h.eventually(func() error { return h.told(5, 0, "1400") })
	h.eventually(func() error {
		const want = "MTU 1450 is more than the 1400 of its bridge xenbr1, which is the narrow link: longer frames are lost there"
		if x, _ := h.engine.Explain("vif5.1"); !slices.Contains(x.Notes, want) {
			return fmt.Errorf("its notes are %q", x.Notes)
		}
		return nil
	})
	h.plugged(5, 1, "vif5.1", "xenbr1", 1450)
}
