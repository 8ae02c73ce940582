package cases

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// A bridge that is deleted and made again has all its ports again, and frames go through, while the other bridge's ports saw nothing.
func TestCase09BridgeVanishesAndReturns(t *testing.T) {
	h := newHost(t)
	h.start()
	const ports = 4
	for id := xenstore.DomID(5); id < 5+ports; id++ {
		h.domain(id, standin.NIC{Bridge: "xenbr0"}, standin.NIC{Bridge: "xenbr1"})
	}
	for id := xenstore.DomID(5); id < 5+ports; id++ {
		h.plugged(id, 0, standin.VIF(int(id), 0), "xenbr0", 1500)
		h.plugged(id, 1, standin.VIF(int(id), 1), "xenbr1", 1500)
	}
	h.settle()
	h.seen = append(h.seen, h.events.Take()...)
	h.seen = nil
	require.NoError(t, bridgetest.Delete("xenbr0"))
	for id := 5; id < 5+ports; id++ {
		ev := h.event(hotplug.NICLost, standin.VIF(id, 0))
		assert.Equal(t, hotplug.CodeBridgeMissing, ev.Reason.Code)
		require.NoError(t, h.node(xenstore.DomID(id), 0, "hotplug-status", "connected"), "a bridge that is away for a moment is no verdict")
	}
	_, err := bridgetest.Frame(standin.GuestEnd(5, 0), standin.GuestEnd(6, 0))
	require.ErrorIs(t, err, bridgetest.ErrNotArrived)
	h.bridge("xenbr0", 1500)
	back := time.Now()
	for id := 5; id < 5+ports; id++ {
		h.event(hotplug.NICBack, standin.VIF(id, 0))
		require.NoError(t, h.port(standin.VIF(id, 0), "xenbr0", 1500))
	}
	assert.Less(t, time.Since(back), time.Second)
	_, err = bridgetest.Frame(standin.GuestEnd(5, 0), standin.GuestEnd(6, 0))
	require.NoError(t, err)
	for id := 5; id < 5+ports; id++ {
		assert.Empty(t, h.kinds(standin.VIF(id, 1)), "xenbr1 was not concerned")
	}
}

// A bridge that stays away longer than the wait is an error, and its return mends it all the same.
func TestCase09BridgeStaysAway(t *testing.T) {
	h := newHost(t)
	h.policy.BridgeWait = 50 * time.Millisecond
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	require.NoError(t, bridgetest.Delete("xenbr0"))
	h.failed(5, 0, hotplug.CodeBridgeMissing)
	h.bridge("xenbr0", 1500)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.event(hotplug.NICBack, "vif5.0")
}

// A bridge that gets its name by a rename is as good as a new one.
func TestCase09BridgeIsRenamed(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	require.NoError(t, bridgetest.SetDown("xenbr0"))
	require.NoError(t, bridgetest.Rename("xenbr0", "xenbr8"))
	h.bridge("xenbr0", 1500)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
}

// A port of another bridge is moved when vifplug put it there, else it is an error: somebody had a reason.
func TestCase11PortElsewhere(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	h.netdev("vif5.0", 5, 0)
	require.NoError(t, bridgetest.SetMaster("vif5.0", "xenbr1"))
	h.domain(5, plain)
	r := h.failed(5, 0, hotplug.CodePortElsewhere)
	assert.Contains(t, r.Error(), "vif5.0 is a port of xenbr1, and not by vifplug")
	assert.Empty(t, h.links.all())
	require.NoError(t, bridgetest.SetMaster("vif5.0", ""))
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)

	h.set(5, 0, "bridge", "xenbr1")
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)

	h.stop() // what it made its own it knows again by its mark
	h.set(5, 0, "bridge", "xenbr0")
	h.start()
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
}

// What somebody does to a port is undone, at once.
func TestCase11DriftIsMended(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	for name, meddle := range map[string]func() error{
		"taken off":   func() error { return bridgetest.SetMaster("vif5.0", "") },
		"moved":       func() error { return bridgetest.SetMaster("vif5.0", "xenbr1") },
		"set down":    func() error { return bridgetest.SetDown("vif5.0") },
		"another MTU": func() error { return bridgetest.SetMTU("vif5.0", 1400) },
	} {
		h.settle()
		require.NoError(t, meddle(), name)
		done := time.Now()
		h.event(hotplug.NICLost, "vif5.0")
		h.event(hotplug.NICBack, "vif5.0")
		require.NoError(t, h.port("vif5.0", "xenbr0", 1500), name)
		assert.Less(t, time.Since(done), time.Second, name)
	}
}

func TestCase33MTU(t *testing.T) {
	t.Run("the node's", func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr0", MTU: 9000, VIFName: "testweb"})
		h.plugged(5, 0, "testweb", "xenbr0", 9000)
		h.guestReads(5, "9000")
		_, err := h.store.Directory(t.Context(), "/local/domain/testweb")
		require.ErrorIs(t, err, xenstore.ENOENT, "stock scripts write junk there")
	})
	t.Run("the bridge's", func(t *testing.T) {
		h := newHost(t)
		h.bridge("xenbr9", 4000)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr9"})
		h.plugged(5, 0, "vif5.0", "xenbr9", 4000)
		h.guestReads(5, "4000")
	})
	t.Run("changed while the guest runs", func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr0"})
		h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
		h.set(5, 0, "mtu", "1400")
		h.plugged(5, 0, "vif5.0", "xenbr0", 1400)
		h.guestReads(5, "1400")
	})
	t.Run("greater than the device takes", func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr0", MTU: 65517})
		h.plugged(5, 0, "vif5.0", "xenbr0", 65517)
		h.domain(6)
		h.attach(6, 0, standin.NIC{Bridge: "xenbr0", MTU: 65518})
		h.failed(6, 0, hotplug.CodeNodeInvalid)
	})
	// Without a fixed MTU a bridge takes its smallest port's. The ports that stand keep theirs, and nothing follows anything round and round.
	t.Run("a bridge that follows its smallest port", func(t *testing.T) {
		h := newHost(t)
		require.NoError(t, bridgetest.Delete("xenbr1"))
		h.bridge("xenbr1", 0)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr1", MTU: 9000})
		h.plugged(5, 0, "vif5.0", "xenbr1", 9000)
		h.domain(6, standin.NIC{Bridge: "xenbr1", MTU: 1400})
		h.plugged(6, 0, "vif6.0", "xenbr1", 1400)
		h.settle()
		h.links.on(nil)
		h.settle()
		assert.Empty(t, h.links.all(), "no loop")
		require.NoError(t, h.port("vif5.0", "xenbr1", 9000))
		h.domain(7, standin.NIC{Bridge: "xenbr1"})
		h.plugged(7, 0, "vif7.0", "xenbr1", 1400)
	})
}

// guestReads awaits the MTU that the guest is told.
func (h *host) guestReads(id xenstore.DomID, mtu string) {
	h.t.Helper()
	h.eventually(func() error {
		got, err := h.store.Read(h.ctx(), fmt.Sprintf("/local/domain/%d/device/vif/0/mtu", id))
		if err == nil && got != mtu {
			err = fmt.Errorf("the guest reads MTU %q, want %q", got, mtu)
		}
		return err
	})
}

// A guest without scatter-gather: netback takes the MTU back to 1500 when it connects, and refuses a greater one afterwards.
func TestCase33TheClampIsNotFought(t *testing.T) {
	t.Run("after plugging", func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr0", MTU: 9000})
		h.plugged(5, 0, "vif5.0", "xenbr0", 9000)
		h.eventually(func() error { return h.node(5, 0, "state", "4") })
		h.settle()
		h.links.on(nil)
		require.NoError(t, bridgetest.SetMTU("vif5.0", 1500))
		h.eventually(func() error {
			if x, _ := h.engine.Explain("vif5.0"); !strings.Contains(strings.Join(x.Notes, " "), "takes no scatter-gather") {
				return fmt.Errorf("its notes are %q", x.Notes)
			}
			return nil
		})
		h.settle()
		assert.Empty(t, h.links.all())
		require.NoError(t, h.is("vif5.0", hotplug.Plugged, ""))
	})
	for name, n := range map[string]standin.NIC{"before plugging, by the node": {Bridge: "xenbr0", MTU: 9000}, "before plugging, by the bridge": {Bridge: "xenbr9"}} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.bridge("xenbr9", 9000)
			h.links.on(func(_ int, change string) error {
				if strings.Contains(change, "mtu 9000") {
					return &bridge.Error{Op: "change link", Object: "x", Err: unix.EINVAL}
				}
				return nil
			})
			h.start()
			h.domain(5, n)
			h.plugged(5, 0, "vif5.0", n.Bridge, 1500)
			h.settle()
			x, _ := h.engine.Explain("vif5.0")
			assert.Contains(t, fmt.Sprint(x.Runs), "takes no scatter-gather")
			assert.Less(t, len(h.links.all()), 14, "tried once, not again and again")
		})
	}
}

// The port's MAC is the highest there is, so that a bridge whose own was never set does not take it; a bridge with one keeps it.
func TestCase34PortMAC(t *testing.T) {
	h := newHost(t)
	require.NoError(t, bridgetest.MakeVeth("test0", "test1"))
	require.NoError(t, bridgetest.SetMaster("test0", "xenbr0"))
	before, err := bridgetest.Describe("xenbr0")
	require.NoError(t, err)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500) // asserts fe:ff:ff:ff:ff:ff
	after, err := bridgetest.Describe("xenbr0")
	require.NoError(t, err)
	assert.Equal(t, before, after, "the bridge has its MAC of before")
}

// Dom0 has no address on a port, makes none, and hears no router there.
func TestCase35NoAddressOnAPort(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	h.netdev("vif5.0", 5, 0)
	require.NoError(t, bridgetest.SetUp("vif5.0"))
	require.NoError(t, bridgetest.SetUp("g5.0"))
	for _, a := range []string{"169.254.9.1/16", "fd00::1/64"} {
		require.NoError(t, bridgetest.AddAddress("vif5.0", netip.MustParsePrefix(a)))
	}
	h.domain(5, plain)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	none := func() error {
		x, ok := h.engine.Explain("vif5.0")
		if !ok || len(x.Link.Addresses) > 0 {
			return fmt.Errorf("%+v", x.Link)
		}
		addrs, err := h.links.Addresses(x.Link.Index)
		if err != nil || len(addrs) > 0 {
			return fmt.Errorf("addresses %v %w", addrs, err)
		}
		return nil
	}
	h.eventually(none)
	ra, err := os.ReadFile("/proc/sys/net/ipv6/conf/vif5.0/accept_ra")
	if !os.IsNotExist(err) { // a kernel without IPv6
		require.NoError(t, err)
		assert.Equal(t, "0\n", string(ra))
	}
	require.NoError(t, bridgetest.SetDown("vif5.0"))
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.settle()
	require.NoError(t, none(), "and it makes none when it comes up again")
}
