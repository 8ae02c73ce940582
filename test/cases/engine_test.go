package cases

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/test/netns"
	"vifplug/test/standin"
	"vifplug/xenstore"
	"vifplug/xenstore/wire"
	"vifplug/xenstore/xenstoretest"
)

// The kernel drops link events: everything is looked at again, what came, what changed and what went.
func TestCase24LostLinkEvents(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	for id := xenstore.DomID(5); id < 9; id++ {
		h.domain(id, plain)
		if id < 8 {
			h.netdev(standin.VIF(int(id), 0), id, 0)
			h.plugged(id, 0, standin.VIF(int(id), 0), "xenbr0", 1500)
		}
	}
	h.eventually(func() error { return h.is("vif8.0", hotplug.Seen, hotplug.CodeNetdevMissing) })
	h.settle()
	h.lossy.setDeaf(true)
	require.NoError(t, bridgetest.SetMaster("vif5.0", ""))
	require.NoError(t, bridgetest.Delete("vif6.0"))
	h.netdev("vif8.0", 8, 0)
	h.eventually(func() error {
		if h.lossy.lostCount() < 4 {
			return errors.New("the kernel has not told yet")
		}
		return nil
	})
	h.settle()
	require.NoError(t, h.is("vif6.0", hotplug.Plugged, ""), "the engine cannot know")
	h.lossy.setDeaf(false)
	require.NoError(t, bridgetest.MakeVeth("test0", "test1")) // one more event, which says that some are missing
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.plugged(7, 0, "vif7.0", "xenbr0", 1500)
	h.plugged(8, 0, "vif8.0", "xenbr0", 1500)
	h.eventually(func() error { return h.is("vif6.0", hotplug.Seen, hotplug.CodeNetdevMissing) })
}

// The daemon starts anew beside NICs in every state of xenbus: what is right is left alone, to the last message.
func TestCase28RestartChangesNothing(t *testing.T) {
	stores := map[string]func(testing.TB) string{
		"embedded": xenstoretest.Start,
		"real":     func(t testing.TB) string { target, _ := xenstoretest.StartReal(t); return target },
	}
	for name, start := range stores {
		t.Run(name, func(t *testing.T) {
			h := bareHost(t, start(t))
			h.start()
			for s := 1; s <= 8; s++ {
				id := xenstore.DomID(10 + s)
				h.netdev(standin.VIF(int(id), 0), id, 0)
				h.domain(id, plain)
				h.plugged(id, 0, standin.VIF(int(id), 0), "xenbr0", 1500)
			}
			h.stop()
			for s := 1; s <= 8; s++ {
				h.set(xenstore.DomID(10+s), 0, "state", fmt.Sprint(s))
			}
			watch, err := h.store.Watch(h.ctx(), "/local/domain/0/backend", xenstore.WatchOptions{})
			require.NoError(t, err)
			<-watch.Ready()
			watch.Take()
			h.links.on(nil)
			h.proxy.on(nil)
			h.start()
			h.settle()
			assert.Empty(t, h.links.all(), "changes to the kernel")
			assert.Empty(t, h.proxy.writes(), "writes to the store")
			assert.Empty(t, watch.Take(), "what others see of it")
			for s := 2; s <= 8; s++ {
				vif := standin.VIF(10+s, 0)
				require.NoError(t, h.is(vif, hotplug.Plugged, ""), "state %d", s)
				assert.Equal(t, []hotplug.Kind{hotplug.NICPlugged}, h.kinds(vif))
			}
			require.NoError(t, h.is("vif11.0", hotplug.Seen, hotplug.CodeBackendWait))
		})
	}
}

// hotplug-status says connected, and the port is not on its bridge: only the difference is made good.
func TestCase28RestartMendsOnlyTheDifference(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.domain(6, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.stop()
	require.NoError(t, bridgetest.SetMaster("vif5.0", ""))
	h.links.on(nil)
	h.start()
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	assert.Equal(t, []string{"set master"}, h.links.all())
}

// The stock script runs beside the daemon: whoever is first, the NIC ends on its bridge, nobody undoes the other's work for long, and status
// says what to do about it.
func TestCase29StockScriptActsToo(t *testing.T) {
	h := newHost(t)
	h.start()
	for id := xenstore.DomID(5); id < 10; id++ {
		vif := standin.VIF(int(id), 0)
		h.domain(id, standin.NIC{Bridge: "xenbr0", Script: "/etc/xen/scripts/vif-bridge"})
		h.eventually(func() error { _, err := bridgetest.Describe(vif); return err })
		// What vif-bridge does, step by step; its steps may fail where the daemon was first.
		_ = bridgetest.SetDown(vif)
		_ = bridgetest.SetMTU(vif, 1500)
		_ = bridgetest.SetMaster(vif, "xenbr0")
		_ = bridgetest.SetUp(vif)
		h.set(id, 0, "hotplug-status", "connected")
		h.plugged(id, 0, vif, "xenbr0", 1500)
		x, _ := h.engine.Explain(vif)
		assert.Equal(t, []string{"the toolstack also runs /etc/xen/scripts/vif-bridge for this NIC: say script=vif-plug instead"}, x.Notes)
	}
	h.eventually(func() error { // it becomes quiet
		h.links.on(nil)
		h.settle()
		if done := h.links.all(); len(done) > 0 {
			return fmt.Errorf("still at work: %v", done)
		}
		return nil
	})
}

// A thousand NICs at once: each costs what one costs.
func TestCase37AThousandNICs(t *testing.T) {
	const many, few = 1000, 10
	h := bareHost(t, "")
	h.policy.AnyNetdev = true
	h.start()
	t.Cleanup(deleteGroup(t))
	next := xenstore.DomID(100)
	perNIC := func(n int) (requests, reads float64) {
		ids := make([]xenstore.DomID, n)
		for i := range ids {
			ids[i] = next
			next++
			require.NoError(t, bridgetest.MakeVethIn(group, standin.VIF(int(ids[i]), 0), standin.GuestEnd(int(ids[i]), 0)))
		}
		h.settle()
		h.proxy.on(nil)
		h.links.on(nil)
		require.NoError(t, h.store.Transaction(h.ctx(), func(tx *xenstore.Tx) error {
			return h.tools.AttachIn(h.ctx(), tx, ids, func(i int) standin.NIC { return standin.NIC{Bridge: "xenbr0", MAC: "00:16:3e:00:00:01", State: "2"} })
		}))
		h.eventually(func() error {
			for _, id := range ids {
				if err := h.is(standin.VIF(int(id), 0), hotplug.Plugged, ""); err != nil {
					return err
				}
			}
			return nil
		})
		h.settle()
		return float64(h.proxy.count(func(request) bool { return true })) / float64(n), float64(h.links.readCount()) / float64(n)
	}
	requests, reads := perNIC(few)
	manyRequests, manyReads := perNIC(many)
	assert.Less(t, manyRequests, 1.5*requests+10, "requests to the store a NIC")
	assert.Less(t, manyReads, 1.5*reads+3, "reads of links a NIC")
	h.links.on(nil)
	h.proxy.on(nil)
	require.NoError(t, bridgetest.SetDown("vif500.0"))
	h.eventually(func() error {
		if len(h.links.all()) == 0 {
			return errors.New("not mended")
		}
		return nil
	})
	h.settle()
	assert.LessOrEqual(t, h.links.readCount(), 16, "one NIC's drift is one NIC's business")
}

// group is the thousand netdevs' own: they are deleted by one message.
const group = 77

func deleteGroup(t *testing.T) func() {
	return func() { assert.NoError(t, bridgetest.DeleteGroup(group)) }
}

// Somebody moves the netdev to another network namespace: that is told, nothing is made in its place, and a new netdev is plugged.
func TestCase41NetdevMovesAway(t *testing.T) {
	h := bareHost(t, "")
	h.policy.NetdevWait = 50 * time.Millisecond
	h.start()
	h.netdev("vif5.0", 5, 0)
	h.domain(5, plain)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	pid := holdNamespace(t)
	require.NoError(t, bridgetest.MoveTo("vif5.0", pid))
	h.event(hotplug.NICLost, "vif5.0")
	h.failed(5, 0, hotplug.CodeNetdevMissing)
	names, err := bridgetest.Names()
	require.NoError(t, err)
	assert.NotContains(t, names, "vif5.0")
	require.NoError(t, bridgetest.Delete("g5.0"))
	h.netdev("vif5.0", 5, 0)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
}

// holdNamespace runs this test binary in a network namespace until the test ends.
func holdNamespace(t *testing.T) (pid int) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), holds+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = in.Close(); assert.NoError(t, c.Wait()) })
	_, err = io.ReadFull(out, make([]byte, len("held")))
	require.NoError(t, err)
	return c.Process.Pid
}

// driverDomain is a host whose engine runs in domain 7, unprivileged, and has no other way to know than the store.
func driverDomain(t *testing.T) *host {
	netns.Need(t)
	target, server := xenstoretest.StartServer(t)
	h := hostOn(t, target, guestSocket(t, server, 7))
	h.tools.Backend = 7
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 7, "driver", uuidOf(7)))
	require.NoError(t, h.store.Mkdir(h.ctx(), "/local/domain/7/backend/vif"))
	for _, p := range []string{"/local/domain/7/backend", "/local/domain/7/backend/vif", "/local/domain/7/device"} {
		require.NoError(t, h.store.SetPerms(h.ctx(), p, []wire.Perm{{Letter: 'n', DomID: 7}}))
	}
	h.startNetback(standin.NetbackOptions{Backend: 7})
	c := h.open(h.target)
	self, err := hotplug.Self(h.ctx(), c)
	require.NoError(t, err)
	h.self = self
	return h
}

// Which domain this is, the store says: backends are looked for there, and written there.
func TestCase42TheBackendIsNotDomainZero(t *testing.T) {
	h := driverDomain(t)
	require.EqualValues(t, 7, h.self)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0", VIFName: "testweb"})
	h.plugged(5, 0, "testweb", "xenbr0", 1500)
	h.eventually(func() error { return h.node(5, 0, "state", "4") })
	h.domain(6, standin.NIC{Bridge: "lo"})
	h.failed(6, 0, hotplug.CodeNotABridge)
	h.detach(5, 0)
	h.gone("vif5.0")
	assert.Zero(t, h.proxy.count(func(r request) bool { return strings.HasPrefix(r.Path, "/local/domain/0/") }))
	assert.NotContains(t, h.log.String(), "EACCES")
}

// The store drops the events of a domain that does not read them for 20 s: a driver domain looks at everything again every so often.
func TestCase43DroppedEventsAreMadeUpFor(t *testing.T) {
	h := driverDomain(t)
	h.resync = 50 * time.Millisecond
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.proxy.drop(true)
	h.domain(6, standin.NIC{Bridge: "xenbr0"})
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.set(5, 0, "bridge", "xenbr1")
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)
	h.detach(6, 0)
	h.gone("vif6.0")
}

// An error at each step in turn (habit 6): what is recorded is what the kernel has, the next run goes on from there and ends plugged.
func TestErrorAtEveryStep(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	id := xenstore.DomID(10)
	for n := 1; ; n++ {
		require.Less(t, n, 60, "there is no end of steps")
		id++
		vif := standin.VIF(int(id), 0)
		name := fmt.Sprintf("test%d", id)
		h.netdev(vif, id, 0)
		require.NoError(t, bridgetest.SetUp(vif))
		var mu sync.Mutex
		failed := false
		h.links.on(func(i int, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if i < n || i > n+1 { // twice, since a batch that is refused is tried step by step
				return nil
			}
			failed = true
			return &bridge.Error{Op: "change link", Object: vif, Err: unix.EIO}
		})
		h.domain(id, standin.NIC{Bridge: "xenbr0", VIFName: name, MTU: 1400, State: "2"})
		h.plugged(id, 0, name, "xenbr0", 1400)
		h.settle()
		mu.Lock()
		reached := failed
		mu.Unlock()
		if !reached {
			require.Greater(t, n, 5, "there are more steps than that")
			return
		}
		h.recorded(vif)
		require.NoError(t, h.node(id, 0, "hotplug-error", ""))
	}
}

// An error that stays: what is recorded is the kernel's state after the steps that went well.
func TestErrorThatStays(t *testing.T) {
	for _, at := range []string{"set name", "addrgen", "mtu", "master", "set up", "ignore RA", "alias"} {
		t.Run(at, func(t *testing.T) {
			h := bareHost(t, "")
			h.start()
			h.netdev("vif5.0", 5, 0)
			require.NoError(t, bridgetest.SetUp("vif5.0"))
			h.links.on(func(_ int, change string) error {
				if strings.Contains(change, at) {
					return &bridge.Error{Op: "change link", Object: "it", Err: unix.EIO}
				}
				return nil
			})
			h.domain(5, standin.NIC{Bridge: "xenbr0", VIFName: "testweb", MTU: 1400, State: "2"})
			h.failed(5, 0, hotplug.CodeStep)
			h.recorded("vif5.0")
			h.links.on(nil)
			h.plugged(5, 0, "testweb", "xenbr0", 1400)
			h.recorded("vif5.0")
		})
	}
}

// recorded says that what the engine shows of a NIC is what the kernel has.
func (h *host) recorded(vif string) {
	h.t.Helper()
	h.eventually(func() error {
		x, ok := h.engine.Explain(vif)
		if !ok || x.Link == nil {
			return errors.New("not known")
		}
		l, err := h.links.Link(x.Link.Index)
		if err != nil {
			return err
		}
		if x.Link.Name != string(l.Name) || x.Link.MTU != l.MTU || x.Link.Up != l.Up || x.Link.MAC != l.MAC.String() || (x.Link.Bridge != "") != (l.Master != 0) {
			return fmt.Errorf("recorded %+v, the kernel has %+v", x.Link, l)
		}
		return nil
	})
}
