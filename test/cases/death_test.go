package cases

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/test/standin"
	"vifplug/xenstore"
	"vifplug/xenstore/wire"
	"vifplug/xenstore/xenstoretest"
)

// trigger does something once, from whichever goroutine, and keeps its error.
type trigger struct {
	once sync.Once
	do   func() error
	err  error
	done chan struct{}
}

func newTrigger(do func() error) *trigger { return &trigger{do: do, done: make(chan struct{})} }

func (tr *trigger) pull() {
	tr.once.Do(func() { tr.err = tr.do(); close(tr.done) })
}

func (tr *trigger) pulled() bool {
	select {
	case <-tr.done:
		return true
	default:
		return false
	}
}

// death is what dies of a NIC.
type death struct {
	name         string
	node, netdev bool
}

func (h *host) die(d death, id xenstore.DomID) error {
	var err error
	if d.node {
		err = h.tools.Erase(h.ctx(), id, 0)
	}
	if d.netdev {
		err = errors.Join(err, bridgetest.Delete(standin.GuestEnd(int(id), 0)))
	}
	return err
}

// A domain dies before each single thing that the engine asks of the kernel or the store: none of its nodes comes back, nothing is left half
// done, nothing is called an error.
func TestCase12DomainDiesAtEveryStep(t *testing.T) {
	for _, d := range []death{{"all at once", true, true}, {"its nodes first", true, false}, {"its netdev first", false, true}} {
		t.Run(d.name, func(t *testing.T) {
			h := bareHost(t, "")
			h.start()
			id := xenstore.DomID(10)
			for where, each := range map[string]int{"kernel": 1, "store": 3} { // the store's reads come in one batch
				for n := 1; ; n += each {
					id++
					if !h.dieAt(d, id, where, n) {
						require.Greater(t, n, 3, "there are more steps than that")
						break
					}
				}
			}
		})
	}
}

// dieAt has a NIC die before the n-th request to kernel or store; false: there are not so many.
func (h *host) dieAt(d death, id xenstore.DomID, where string, n int) bool {
	h.t.Helper()
	vif := standin.VIF(int(id), 0)
	h.netdev(vif, id, 0)
	require.NoError(h.t, h.tools.CreateDomain(h.ctx(), id, fmt.Sprintf("guest%d", id), uuidOf(id)))
	h.event(hotplug.DomainCreated, fmt.Sprintf("guest%d", id))
	h.settle() // else the engine's first request is not about the NIC
	tr := newTrigger(func() error { return h.die(d, id) })
	if where == "kernel" {
		h.links.on(func(i int, _ string) error {
			if i == n {
				tr.pull()
			}
			return nil
		})
	} else {
		h.proxy.on(func(i int, _ request) wire.Errno {
			if i == n {
				tr.pull()
			}
			return ""
		})
	}
	h.attach(id, 0, plain)
	h.eventually(func() error {
		if tr.pulled() {
			return nil
		}
		return h.is(vif, hotplug.Plugged, "")
	})
	reached := tr.pulled()
	tr.pull()
	require.NoError(h.t, tr.err)
	h.links.on(nil)
	h.proxy.on(nil)
	h.deadAndForgotten(d, id, vif)
	return reached
}

func (h *host) deadAndForgotten(d death, id xenstore.DomID, vif string) {
	h.t.Helper()
	if d.node && !d.netdev {
		h.settle()
		require.NoError(h.t, h.die(death{netdev: true}, id))
	}
	if d.netdev && !d.node {
		h.eventually(func() error { return h.is(vif, hotplug.Seen, hotplug.CodeNetdevMissing) })
		require.NoError(h.t, h.die(death{node: true}, id))
	}
	h.gone(vif)
	h.settle()
	for _, path := range []string{h.dir(id, 0), fmt.Sprintf("/local/domain/%d/device/vif/0", id)} {
		_, err := h.store.Read(h.ctx(), path)
		require.ErrorIs(h.t, err, xenstore.ENOENT, path)
	}
	require.NotContains(h.t, h.kinds(vif), hotplug.NICFailed)
	require.NoError(h.t, h.tools.DestroyDomain(h.ctx(), id, uuidOf(id)))
}

// The write of hotplug-status or hotplug-error never makes a directory that was erased: not even between the engine's own reading and its commit.
func TestCase13StatusNeverResurrectsANode(t *testing.T) {
	stores := map[string]func(testing.TB) string{
		"embedded": xenstoretest.Start,
		"real":     func(t testing.TB) string { target, _ := xenstoretest.StartReal(t); return target },
	}
	for name, start := range stores {
		for what, bridge := range map[string]string{"connected": "xenbr0", "error": "lo"} {
			t.Run(name+" "+what, func(t *testing.T) {
				h := bareHost(t, start(t))
				h.start()
				h.netdev("vif5.0", 5, 0)
				h.domain(5)
				tr := newTrigger(func() error { return h.die(death{node: true}, 5) })
				h.proxy.on(func(_ int, r request) wire.Errno {
					if r.commits() {
						tr.pull()
					}
					return ""
				})
				h.attach(5, 0, standin.NIC{Bridge: bridge, State: "2"})
				h.eventually(func() error {
					if !tr.pulled() {
						return errors.New("no commit")
					}
					return nil
				})
				require.NoError(t, tr.err)
				h.settle()
				_, err := h.store.Read(t.Context(), h.dir(5, 0))
				require.ErrorIs(t, err, xenstore.ENOENT)
				require.NoError(t, bridgetest.Delete("vif5.0"))
				h.gone("vif5.0")
			})
		}
	}
}

// A domid is used again while the engine cannot look: it sees one event, and knows by uuid and ifindex that this is another guest.
func TestCase14DomidReuse(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0", MTU: 1400})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1400)
	before, _ := h.engine.Explain("vif5.0")
	h.settle()
	release := h.holdStore()
	h.detach(5, 0)
	require.NoError(t, h.tools.DestroyDomain(h.ctx(), 5, uuidOf(5)))
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 5, "other", uuidOf(99)))
	h.attach(5, 0, standin.NIC{Bridge: "xenbr1", State: "1"})
	h.eventually(func() error { return h.node(5, 0, "state", "2") })
	release()
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)
	after, _ := h.engine.Explain("vif5.0")
	assert.NotEqual(t, before.Link.Index, after.Link.Index)
	assert.Equal(t, hotplug.Domain{ID: 5, UUID: uuidOf(99), Name: "other"}, after.Domain)
	gone := h.event(hotplug.NICGone, "vif5.0")
	assert.Equal(t, uuidOf(5), gone.Domain.UUID, "the old guest's NIC is gone")
	assert.Equal(t, "xenbr0", gone.Bridge)
	h.eventually(func() error {
		for _, e := range h.engine.Events().Recent(gone.Seq) {
			if e.Kind == hotplug.NICSeen && e.Domain.UUID == uuidOf(99) {
				return nil
			}
		}
		return errors.New("the new guest's NIC was not seen")
	})
	h.event(hotplug.DomainDestroyed, "guest5")
	h.event(hotplug.DomainCreated, "other")
}

// holdStore lets no request of the engine's through until release is called.
func (h *host) holdStore() (release func()) {
	gate := make(chan struct{})
	var once sync.Once
	h.proxy.on(func(int, request) wire.Errno { <-gate; return "" })
	release = func() { once.Do(func() { h.proxy.on(nil); close(gate) }) }
	h.t.Cleanup(release)
	return release
}

// A reboot: the new domain is there before the old one has gone. Both are plugged, each as its own nodes say, and the old one's end is not the
// new one's.
func TestCase15RebootOverlaps(t *testing.T) {
	h := newHost(t)
	h.start()
	mac := "00:16:3e:00:00:77"
	h.domain(5, standin.NIC{Bridge: "xenbr0", MAC: mac})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.domain(6, standin.NIC{Bridge: "xenbr0", MAC: mac})
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	require.NoError(t, h.port("vif5.0", "xenbr0", 1500))
	h.detach(5, 0)
	require.NoError(t, h.tools.DestroyDomain(h.ctx(), 5, uuidOf(5)))
	h.gone("vif5.0")
	h.settle()
	require.NoError(t, h.port("vif6.0", "xenbr0", 1500))
	assert.NotContains(t, h.kinds("vif6.0"), hotplug.NICLost)
}

// Add, remove and add again come to the engine as one event.
func TestCase25AddRemoveAddIsOneEvent(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5)
	h.settle()
	release := h.holdStore()
	h.attach(5, 0, standin.NIC{Bridge: "xenbr1", VIFName: "testold"})
	h.eventually(func() error { _, err := bridgetest.Describe("vif5.0"); return err })
	h.detach(5, 0)
	h.attach(5, 0, standin.NIC{Bridge: "xenbr0", VIFName: "testnew"})
	h.eventually(func() error { return h.node(5, 0, "state", "2") })
	release()
	h.plugged(5, 0, "testnew", "xenbr0", 1500)
	h.detach(5, 0)
	h.gone("vif5.0")
}

// netback is unbound and bound again: the netdev is another one, of the same NIC.
func TestCase27DriverIsBoundAgain(t *testing.T) {
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("netdev first %v", first), func(t *testing.T) {
			h := bareHost(t, "")
			h.startNetback(standin.NetbackOptions{NetdevFirst: first})
			h.start()
			h.domain(5, standin.NIC{Bridge: "xenbr0", VIFName: "testweb", MTU: 1400})
			h.plugged(5, 0, "testweb", "xenbr0", 1400)
			h.eventually(func() error { return h.node(5, 0, "state", "4") })
			before, _ := h.engine.Explain("vif5.0")
			require.NoError(t, h.netback.Unbind(h.ctx(), 5, 0))
			h.event(hotplug.NICLost, "vif5.0")
			require.NoError(t, h.netback.Bind(h.ctx(), 5, 0))
			h.plugged(5, 0, "testweb", "xenbr0", 1400)
			h.eventually(func() error { return h.node(5, 0, "state", "4") })
			after, _ := h.engine.Explain("vif5.0")
			assert.NotEqual(t, before.Link.Index, after.Link.Index)
			h.event(hotplug.NICBack, "vif5.0")
		})
	}
}

// The toolstack died in the middle of a removal: online = 0 and nothing more. The NIC counts as going; its port goes when the state says closed.
func TestCase38OnlineZeroAlone(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.eventually(func() error { return h.node(5, 0, "state", "4") })
	h.set(5, 0, "online", "0")
	h.event(hotplug.NICDraining, "vif5.0")
	h.settle()
	require.NoError(t, h.port("vif5.0", "xenbr0", 1500), "the guest still uses it")
	h.set(5, 0, "state", "6")
	h.eventually(func() error {
		text, err := bridgetest.Describe("vif5.0")
		if err == nil && text != "veth vif5.0 mtu 1500 fe:ff:ff:ff:ff:ff master none down" {
			err = errors.New(text)
		}
		return err
	})
	require.NoError(t, h.tools.Erase(h.ctx(), 5, 0))
	h.gone("vif5.0")
	h.event(hotplug.NICGone, "vif5.0")
}

// The toolstack's offline releases a port whose netdev netback has left behind, and is content when there is nothing.
func TestCase38OfflineReleasesWhatIsLeft(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	h.netdev("vif5.0", 5, 0)
	h.domain(5, plain)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	require.NoError(t, h.tools.Detach(h.ctx(), 5, 0))
	h.event(hotplug.NICDraining, "vif5.0")
	require.NoError(t, h.port("vif5.0", "xenbr0", 1500))
	require.NoError(t, h.engine.Unplug(h.ctx(), hotplug.Key{Front: 5}))
	text, err := bridgetest.Describe("vif5.0")
	require.NoError(t, err)
	assert.Equal(t, "veth vif5.0 mtu 1500 fe:ff:ff:ff:ff:ff master none down", text)
	require.NoError(t, h.engine.Unplug(h.ctx(), hotplug.Key{Front: 77}), "a NIC that nobody knows")
}

// libxl gives up after 40 s and erases the nodes while the bridge is awaited: who waits is answered, and the bridge that comes later gets no port.
func TestCase39ToolstackErasesWhileWaiting(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	h.netdev("vif5.0", 5, 0)
	h.domain(5, standin.NIC{Bridge: "xenbr9", State: "2"})
	h.eventually(func() error { return h.is("vif5.0", hotplug.Ready, hotplug.CodeBridgeMissing) })
	answer := make(chan error, 1)
	go runPlug(h, answer)
	h.settle()
	erased := time.Now()
	require.NoError(t, h.tools.Erase(h.ctx(), 5, 0))
	select {
	case err := <-answer:
		var r *hotplug.Reason
		require.ErrorAs(t, err, &r)
		assert.Equal(t, hotplug.CodeBackendGone, r.Code)
		assert.Less(t, time.Since(erased), time.Second)
	case <-h.ctx().Done():
		require.Fail(t, "nobody answered")
	}
	h.bridge("xenbr9", 1500)
	h.settle()
	assert.Empty(t, h.links.all())
	assert.Empty(t, h.proxy.writes())
	require.NoError(t, bridgetest.Delete("vif5.0"))
	h.gone("vif5.0")
}

func runPlug(h *host, answer chan<- error) {
	answer <- h.engine.Plug(h.t.Context(), hotplug.Key{Front: 5})
}
