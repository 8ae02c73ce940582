package cases

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/test/standin"
	"vifplug/xenstore"
	"vifplug/xenstore/xenstoretest"
)

// plain is a NIC on xenbr0 in state 2, as netback leaves it: the test plays netback.
var plain = standin.NIC{Bridge: "xenbr0", State: "2"}

func (h *host) netdev(name string, id xenstore.DomID, dev int) {
	h.t.Helper()
	require.NoError(h.t, h.kernel.Make(name, int(id), dev))
}

// State 2 says nothing of the netdev: whichever comes first, the NIC is plugged when both are there, at once.
func TestCase01StateAndNetdevComeInEitherOrder(t *testing.T) {
	stores := map[string]func(testing.TB) string{
		"embedded": xenstoretest.Start,
		"real":     func(t testing.TB) string { target, _ := xenstoretest.StartReal(t); return target },
	}
	for name, start := range stores {
		t.Run(name, func(t *testing.T) {
			h := bareHost(t, start(t))
			h.start()
			h.domain(5, plain)
			h.eventually(func() error { return h.is("vif5.0", hotplug.Seen, hotplug.CodeNetdevMissing) })
			h.netdev("vif5.0", 5, 0)
			came := time.Now()
			h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
			assert.Less(t, time.Since(came), time.Second)

			h.netdev("vif6.0", 6, 0)
			h.domain(6, standin.NIC{Bridge: "xenbr0"})
			h.eventually(func() error { return h.is("vif6.0", hotplug.Seen, hotplug.CodeBackendWait) })
			h.set(6, 0, "state", "2")
			came = time.Now()
			h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
			assert.Less(t, time.Since(came), time.Second)
		})
	}
}

func TestCase01NetdevThatNeverComesIsAnError(t *testing.T) {
	h := bareHost(t, "")
	h.policy.NetdevWait = 50 * time.Millisecond
	h.start()
	h.domain(5, plain)
	r := h.failed(5, 0, hotplug.CodeNetdevMissing)
	assert.Contains(t, r.Error(), "vif5.0 did not appear within 50ms of netback's state 2")
	h.netdev("vif5.0", 5, 0)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	require.NoError(t, h.node(5, 0, "hotplug-error", ""), "the error of before is gone")
}

// The probe that failed: state 5, no netdev, and netback's own words.
func TestCase01ProbeFailureIsTold(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	require.NoError(t, h.store.Write(t.Context(), "/local/domain/0/error/backend/vif/5/0/error", "17 registering \x1b[31mnetdev\n"))
	h.domain(5, standin.NIC{Bridge: "xenbr0", State: "5"})
	r := h.failed(5, 0, hotplug.CodeKernelError)
	assert.Contains(t, r.Error(), "17 registering ?[31mnetdev?")
}

// A netdev whose name is a vif's and that no node names is somebody's: nothing of it changes. Nor is one of netback's plugged before state 2.
func TestCase02NetdevWithoutNodeIsLeftAlone(t *testing.T) {
	h := bareHost(t, "")
	require.NoError(t, bridgetest.MakeVeth("vif5.0", "test0"))
	before, err := bridgetest.Describe("vif5.0")
	require.NoError(t, err)
	h.start()
	require.NoError(t, bridgetest.MakeVeth("vif7.0", "test1"))
	h.netdev("vif8.0", 8, 0)
	h.settle()
	after, err := bridgetest.Describe("vif5.0")
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.Empty(t, h.links.all())
	assert.Empty(t, h.engine.Status(), "nobody knows such NICs")

	h.domain(8, standin.NIC{Bridge: "xenbr0"})
	h.eventually(func() error { return h.is("vif8.0", hotplug.Seen, hotplug.CodeBackendWait) })
	h.settle()
	assert.Empty(t, h.links.all(), "state 1: not yet")

	// With a node, a namesake that netback has not made is still not the NIC's.
	h.domain(5, plain)
	h.eventually(func() error { return h.is("vif5.0", hotplug.Seen, hotplug.CodeNetdevMissing) })
	h.settle()
	assert.Empty(t, h.links.all())
}

// udev renamed the netdev before anybody looked: its parent device says whose it is.
func TestCase03RenamedNetdevIsFoundByItsParent(t *testing.T) {
	t.Run("while the engine runs", func(t *testing.T) {
		h := bareHost(t, "")
		h.start()
		h.domain(5, plain)
		h.netdev("testlan0", 5, 0)
		h.plugged(5, 0, "testlan0", "xenbr0", 1500)
		x, ok := h.engine.Explain("testlan0")
		require.True(t, ok, "it is known by its present name")
		assert.Equal(t, "vif5.0", x.VIF)
	})
	t.Run("before it started", func(t *testing.T) {
		h := bareHost(t, "")
		h.domain(5, plain)
		h.netdev("testlan0", 5, 0)
		h.start()
		h.plugged(5, 0, "testlan0", "xenbr0", 1500)
	})
	t.Run("after it was plugged", func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr0"})
		h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
		require.NoError(t, bridgetest.SetDown("vif5.0"))
		require.NoError(t, bridgetest.Rename("vif5.0", "testlan0"))
		h.plugged(5, 0, "testlan0", "xenbr0", 1500)
	})
	t.Run("to the vifname already", func(t *testing.T) {
		h := bareHost(t, "")
		h.domain(5, standin.NIC{Bridge: "xenbr0", VIFName: "testweb", State: "2"})
		h.netdev("testweb", 5, 0)
		h.start()
		h.plugged(5, 0, "testweb", "xenbr0", 1500)
	})
}

// Old kernels refuse to rename a device that is up: it is taken down first. A name that is taken is an error, and its owner is left alone.
func TestCase04Rename(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	h.netdev("vif5.0", 5, 0)
	require.NoError(t, bridgetest.SetUp("vif5.0"))
	h.domain(5, standin.NIC{Bridge: "xenbr0", VIFName: "testweb", State: "2"})
	h.plugged(5, 0, "testweb", "xenbr0", 1500)
	changes := strings.Join(h.links.all(), "; ")
	assert.True(t, strings.HasPrefix(changes, "set down; set name testweb; "), changes)
	assert.Contains(t, changes, "set up")

	require.NoError(t, bridgetest.MakeVeth("testdb", "testdbpeer"))
	require.NoError(t, bridgetest.SetUp("testdb"))
	before, err := bridgetest.Describe("testdb")
	require.NoError(t, err)
	h.netdev("vif6.0", 6, 0)
	h.domain(6, standin.NIC{Bridge: "xenbr0", VIFName: "testdb", State: "2"})
	r := h.failed(6, 0, hotplug.CodeNameTaken)
	assert.Contains(t, r.Error(), "the wanted name testdb belongs to another device")
	after, err := bridgetest.Describe("testdb")
	require.NoError(t, err)
	assert.Equal(t, before, after)

	require.NoError(t, bridgetest.Delete("testdb"), "the name becomes free")
	h.plugged(6, 0, "testdb", "xenbr0", 1500)
}

// The first to have a name keeps it, and its network; the second is told, and gets the name when the first is gone.
func TestCase05DuplicateVifname(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0", VIFName: "testweb"})
	h.plugged(5, 0, "testweb", "xenbr0", 1500)
	h.domain(6, standin.NIC{Bridge: "xenbr1", VIFName: "testweb"})
	h.failed(6, 0, hotplug.CodeNameTaken)
	require.NoError(t, h.port("testweb", "xenbr0", 1500))
	require.NoError(t, h.is("vif5.0", hotplug.Plugged, ""))
	x, _ := h.engine.Explain("testweb")
	assert.Equal(t, "vif5.0", x.VIF)
	h.detach(5, 0)
	h.plugged(6, 0, "testweb", "xenbr1", 1500)
}

// Two guests that want one name at the same moment: one has it, the other an error, and nobody both.
func TestCase05DuplicateVifnameAtOnce(t *testing.T) {
	h := newHost(t)
	h.start()
	ids := []xenstore.DomID{5, 6, 7, 8}
	for _, id := range ids {
		require.NoError(t, h.tools.CreateDomain(h.ctx(), id, fmt.Sprintf("guest%d", id), uuidOf(id)))
	}
	require.NoError(t, h.store.Transaction(h.ctx(), func(tx *xenstore.Tx) error {
		return h.tools.AttachIn(h.ctx(), tx, ids, func(int) standin.NIC { return standin.NIC{Bridge: "xenbr0", VIFName: "testweb"} })
	}))
	h.eventually(func() error {
		states := map[hotplug.State]int{}
		for _, s := range h.engine.Status() {
			if s.State != hotplug.Failed || s.Reason.Code == hotplug.CodeNameTaken {
				states[s.State]++
			}
		}
		if states[hotplug.Plugged] != 1 || states[hotplug.Failed] != 3 {
			return fmt.Errorf("%v", states)
		}
		return nil
	})
}

// Values that the kernel, a shell or a log would take for something else are refused; the error names the node and shows the value harmlessly.
func TestCase06And20ValuesOutsideTheirGrammar(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	for i, c := range []standin.NIC{
		{VIFName: "sixteen-bytes-xx"},
		{VIFName: "a/b"},
		{VIFName: "a b"},
		{VIFName: "."},
		{VIFName: ".."},
		{VIFName: "eth%d"},
		{VIFName: "a\nb"},
		{VIFName: "a\x1b[2J"},
		{VIFName: "$(reboot)"},
		{Bridge: "xenbr0\nxenbr1"},
		{Bridge: "xenbr0;reboot"},
		{Bridge: "`reboot`"},
		{Bridge: "../../xenbr0"},
		{Bridge: "xenbr0\x00"},
		{Bridge: strings.Repeat("x", 2000)},
		{MAC: "00:16:3e:00:00:zz"},
		{MAC: "00:16:3e:00:00:01\n"},
	} {
		id := xenstore.DomID(100 + i)
		if c.Bridge == "" {
			c.Bridge = "xenbr0"
		}
		c.State = "2"
		h.netdev(standin.VIF(int(id), 0), id, 0)
		h.domain(id, c)
		r := h.failed(id, 0, hotplug.CodeNodeInvalid)
		assert.Less(t, len(r.Error()), 400)
		text, err := bridgetest.Describe(standin.VIF(int(id), 0))
		require.NoError(t, err)
		assert.Contains(t, text, "master none down")
	}
	assert.Empty(t, h.links.all())
	assert.NotContains(t, h.log.String(), "\x1b")
	for _, line := range strings.Split(strings.TrimSpace(h.log.String()), "\n") {
		assert.True(t, strings.HasPrefix(line, "time="), "a value made a log line of its own: %q", line)
	}
	h.set(100, 0, "vifname", "testok")
	h.plugged(100, 0, "testok", "xenbr0", 1500)
}

func TestCase20ValuesForDisplayAreHarmless(t *testing.T) {
	h := newHost(t)
	h.start()
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 5, "evil\n\x1b[2Jname", uuidOf(5)))
	h.attach(5, 0, standin.NIC{Bridge: "xenbr0", Script: "/etc/xen/scripts/vif-bridge\nx\x1b[2J", Type: "vif\n\x1b"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.attach(5, 1, standin.NIC{Bridge: "xenbr0\nfoo\x1b", Script: "/etc/xen/scripts/vif-route\n\x1b[2J"})
	h.eventually(func() error { return h.is("vif5.1", hotplug.Seen, hotplug.CodeOtherScript) })
	h.settle()
	seen := fmt.Sprintf("%+v", h.engine.Status())
	for _, e := range h.engine.Events().Recent(0) {
		seen += fmt.Sprintf("%+v %v", e, e.Reason)
	}
	for _, s := range h.engine.Status() {
		seen += fmt.Sprintf("%+v %v", s.Backend, s.Reason)
	}
	assert.NotContains(t, seen, "\x1b")
	assert.NotContains(t, seen, "\n")
	assert.NotContains(t, h.log.String(), "\x1b")
}

// The kernel cuts a name of 16 bytes, and the NIC is known all the same; a vifname that leaves no room for the tap's -emu is refused.
func TestCase07NamesOfFifteenBytes(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	h.domain(12345)
	h.attach(12345, 1000000, plain)
	require.NoError(t, h.kernel.Make("vif12345.100000", 1, 0), "so that the next is not found by its name")
	require.NoError(t, bridgetest.Delete("vif12345.100000"))
	h.netdev("vif12345.100000", 12345, 1000000)
	h.plugged(12345, 1000000, "vif12345.100000", "xenbr0", 1500)

	h.netdev("vif6.0", 6, 0)
	h.domain(6, standin.NIC{Bridge: "xenbr0", VIFName: "twelve-bytes", Type: "vif_ioemu", State: "2"})
	r := h.failed(6, 0, hotplug.CodeNodeInvalid)
	assert.Contains(t, r.Error(), "twelve-bytes-emu")
	h.set(6, 0, "vifname", "test-bytes1")
	h.plugged(6, 0, "test-bytes1", "xenbr0", 1500)
}

func TestCase08BridgeMissing(t *testing.T) {
	t.Run("it appears in time", func(t *testing.T) {
		h := newHost(t)
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr9"})
		h.eventually(func() error { return h.is("vif5.0", hotplug.Ready, hotplug.CodeBridgeMissing) })
		require.NoError(t, h.node(5, 0, "hotplug-status", ""), "no verdict yet")
		h.bridge("xenbr9", 1500)
		came := time.Now()
		h.plugged(5, 0, "vif5.0", "xenbr9", 1500)
		assert.Less(t, time.Since(came), time.Second)
		h.event(hotplug.NICPlugged, "vif5.0")
	})
	t.Run("it appears too late", func(t *testing.T) {
		h := newHost(t)
		h.policy.BridgeWait = 100 * time.Millisecond
		h.start()
		began := time.Now()
		h.domain(5, standin.NIC{Bridge: "xenbr9"})
		r := h.failed(5, 0, hotplug.CodeBridgeMissing)
		assert.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
		assert.Contains(t, r.Error(), "the bridge xenbr9 does not exist. Create the bridge")
		h.bridge("xenbr9", 1500)
		h.plugged(5, 0, "vif5.0", "xenbr9", 1500)
		require.NoError(t, h.node(5, 0, "hotplug-error", ""), "the error of before is gone")
	})
	t.Run("fail at once", func(t *testing.T) {
		h := newHost(t)
		h.policy.BridgeWait = 0
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr9"})
		h.failed(5, 0, hotplug.CodeBridgeMissing)
	})
	t.Run("the toolstack awaits the answer", func(t *testing.T) {
		h := newHost(t)
		h.policy.BridgeWait = 100 * time.Millisecond
		h.start()
		h.domain(5, standin.NIC{Bridge: "xenbr9"})
		err := h.engine.Plug(h.ctx(), hotplug.Key{Front: 5})
		var r *hotplug.Reason
		require.ErrorAs(t, err, &r)
		assert.Equal(t, hotplug.CodeBridgeMissing, r.Code)
	})
}

func TestCase10TheNamedDeviceIsNoBridge(t *testing.T) {
	h := newHost(t)
	require.NoError(t, bridgetest.MakeVeth("testuplink", "testpeer"))
	h.start()
	h.domain(5, standin.NIC{Bridge: "testuplink"})
	r := h.failed(5, 0, hotplug.CodeNotABridge)
	assert.Contains(t, r.Error(), "testuplink is not a Linux bridge but a device of kind veth")
	h.domain(6, standin.NIC{Bridge: "lo"})
	h.failed(6, 0, hotplug.CodeNotABridge)
	assert.Empty(t, h.links.all(), "nothing was tried")
	require.NoError(t, bridgetest.Delete("testuplink"))
	h.bridge("testuplink", 1500)
	h.plugged(5, 0, "vif5.0", "testuplink", 1500)
}
