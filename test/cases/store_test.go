package cases

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strings"
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
	"vifplug/xenstore/xenstored"
	"vifplug/xenstore/xenstoretest"
)

// guest is a connection that speaks as an unprivileged domain: a socket of its own to an embedded store.
func guestSocket(t *testing.T, s *xenstored.Server, id xenstore.DomID) (target string) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "g"))
	require.NoError(t, err)
	var done sync.WaitGroup
	done.Add(1)
	go runGuestSocket(l, s, id, &done)
	t.Cleanup(func() { _ = l.Close(); done.Wait() })
	return "unix:" + l.Addr().String()
}

func runGuestSocket(l net.Listener, s *xenstored.Server, id xenstore.DomID, done *sync.WaitGroup) {
	defer done.Done()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.ServeConn(c, uint16(id))
	}
}

// A guest writes whatever it may into its own directories: the engine asks the store nothing because of it, and nothing of it is shown.
func TestCase16HostileFrontend(t *testing.T) {
	target, server := xenstoretest.StartServer(t)
	h := bareHost(t, target)
	h.startNetback(standin.NetbackOptions{})
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.eventually(func() error { return h.node(5, 0, "state", "4") })
	h.settle()
	h.proxy.on(nil)
	h.links.on(nil)
	g := h.open(guestSocket(t, server, 5))
	front := "/local/domain/5/device/vif/0"
	for i := range 500 {
		res, err := g.Pipeline(h.ctx(),
			xenstore.WriteOp(front+"/state", []string{"5", "6", "3", "4", "\x00\xff\n", "99999999999"}[i%6]),
			xenstore.WriteOp(fmt.Sprintf("%s/junk-%d", front, i), "\x1b[2JEVIL\n"+strings.Repeat("\xff", 100+1400*(i%500/499))),
			xenstore.WriteOp(front+"/mtu", "EVIL\x1b"), xenstore.WriteOp(front+"/backend", "/local/domain/0/EVIL"), xenstore.WriteOp(front+"/mac", "EVIL"))
		require.NoError(t, err)
		require.NoError(t, res[0].Err, "the guest owns its state") // what it litters the store with, a quota may stop
	}
	require.NoError(t, g.Remove(h.ctx(), front+"/backend-id"))
	h.settle()
	assert.Zero(t, h.proxy.count(func(request) bool { return true }), "requests of the engine's")
	assert.Zero(t, h.links.readCount())
	assert.Empty(t, h.links.all())
	require.NoError(t, h.is("vif5.0", hotplug.Plugged, ""))
	shown := fmt.Sprintf("%+v %+v", h.engine.Status(), h.engine.Events().Recent(0)) + h.log.String()
	assert.NotContains(t, shown, "EVIL")
	assert.NotContains(t, shown, "\x1b")
}

// A guest that rewrites its directory all the time while its NIC is being plugged costs itself the hint of the MTU at most, never its status; and the others
// nothing.
func TestCase16HostileFrontendAtPlugging(t *testing.T) {
	target, server := xenstoretest.StartServer(t)
	h := bareHost(t, target)
	h.startNetback(standin.NetbackOptions{})
	h.start()
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 5, "evil", uuidOf(5)))
	g := h.open(guestSocket(t, server, 5))
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	go runRewriting(h, g, stop, &done)
	began := time.Now()
	h.attach(5, 0, standin.NIC{Bridge: "xenbr0"})
	h.domain(6, standin.NIC{Bridge: "xenbr0"})
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	close(stop)
	done.Wait()
	assert.Less(t, time.Since(began), 5*time.Second)
}

func runRewriting(h *host, g *xenstore.Client, stop <-chan struct{}, done *sync.WaitGroup) {
	defer done.Done()
	front := "/local/domain/5/device/vif/0"
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
			_, _ = g.Pipeline(h.t.Context(), xenstore.WriteOp(front+"/backend-id", "0"), xenstore.WriteOp(front+"/mtu", fmt.Sprint(i))) // the guest does not care
		}
	}
}

// The states that netback copies from a flapping guest: the netdev stays and is not replumbed, and however many they are the looks are few.
func TestCase17FlappingStates(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, standin.NIC{Bridge: "xenbr0"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.eventually(func() error { return h.node(5, 0, "state", "4") })
	h.settle()
	h.proxy.on(nil)
	h.links.on(nil)
	began := time.Now()
	const flaps = 4000
	for i := range flaps {
		h.set(5, 0, "state", []string{"5", "6", "3", "7", "8", "4"}[i%6])
		if i == flaps/2 { // its neighbour does not feel it
			h.domain(6, standin.NIC{Bridge: "xenbr1"})
			asked := time.Now()
			h.plugged(6, 0, "vif6.0", "xenbr1", 1500)
			assert.Less(t, time.Since(asked), 2*time.Second)
		}
	}
	h.set(5, 0, "state", "4")
	looks := h.proxy.count(func(r request) bool { return r.Path == h.dir(5, 0)+"/state" })
	seconds := time.Since(began).Seconds()
	assert.Less(t, float64(looks), 100+40*seconds, "looks at the NIC in %.1f s", seconds)
	assert.NotContains(t, strings.Join(h.proxy.writes(), " "), h.dir(5, 0))
	require.NoError(t, h.port("vif5.0", "xenbr0", 1500))
	h.settle()
	assert.NotContains(t, h.kinds("vif5.0"), hotplug.NICLost)
}

// What a driver domain has in its own backend directory is no business of dom0's.
func TestCase18NodesOfAnotherBackendAreNotEvenRead(t *testing.T) {
	h := newHost(t)
	h.start()
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 7, "driver", uuidOf(7)))
	other := &standin.Toolstack{Store: h.store, Backend: 7}
	h.domain(5)
	require.NoError(t, other.Attach(h.ctx(), 5, 0, standin.NIC{Bridge: "xenbr0", MAC: "00:16:3e:00:00:01", State: "2"}))
	h.netdev("vif5.0", 5, 0)
	h.settle()
	assert.Zero(t, h.proxy.count(func(r request) bool { return strings.HasPrefix(r.Path, "/local/domain/7/backend") }))
	assert.Empty(t, h.links.all())
	assert.Empty(t, h.proxy.writes())
	assert.Empty(t, h.engine.Status())
}

// xenstored dies and comes back with nothing in it: no port is touched, frames go on; when the nodes come back, so do the NICs.
func TestCase22StoreRestarts(t *testing.T) {
	type store struct {
		target string
		kill   func()
	}
	stores := map[string]func(t *testing.T) store{
		"embedded": func(t *testing.T) store {
			target, s := xenstoretest.StartServer(t)
			return store{target, func() { _ = s.Close() }}
		},
		"real": func(t *testing.T) store {
			s := xenstoretest.StartRealStore(t)
			return store{"unix:" + s.Socket, func() { _ = s.Close() }}
		},
	}
	for name, start := range stores {
		t.Run(name, func(t *testing.T) {
			first := start(t)
			h := bareHost(t, first.target)
			h.start()
			for id := xenstore.DomID(5); id < 8; id++ {
				h.netdev(standin.VIF(int(id), 0), id, 0)
				require.NoError(t, bridgetest.SetUp(standin.GuestEnd(int(id), 0)))
				h.domain(id, plain)
				h.plugged(id, 0, standin.VIF(int(id), 0), "xenbr0", 1500)
			}
			h.settle()
			h.links.on(nil)
			first.kill()
			h.eventually(func() error {
				if _, err := h.client.Read(t.Context(), "/local"); !errors.Is(err, xenstore.ErrDisconnected) {
					return fmt.Errorf("the client has not noticed: %w", err)
				}
				return nil
			})
			_, err := bridgetest.Frame("g5.0", "g6.0")
			require.NoError(t, err, "the data plane goes on without a store")
			second := start(t)
			h.proxy.move(second.target)
			h.root = second.target
			h.store = h.open(second.target)
			h.tools.Store = h.store
			h.eventually(func() error { return h.is("vif7.0", hotplug.Draining, hotplug.CodeBackendGone) })
			h.settle()
			for id := 5; id < 8; id++ {
				require.NoError(t, h.port(standin.VIF(id, 0), "xenbr0", 1500))
			}
			_, err = bridgetest.Frame("g5.0", "g6.0")
			require.NoError(t, err)
			for id := xenstore.DomID(5); id < 8; id++ {
				h.domain(id, plain)
				h.plugged(id, 0, standin.VIF(int(id), 0), "xenbr0", 1500)
			}
			assert.Empty(t, h.links.all(), "nothing was changed in all that time")
		})
	}
}

// The connection breaks at any moment of a plugging, and breaks again: the NIC gets plugged.
func TestCase22ConnectionBreaksAtEveryRequest(t *testing.T) {
	h := bareHost(t, "")
	for n := 1; n <= 40; n += 3 {
		h.start() // with a client that has not learnt to wait
		id := xenstore.DomID(10 + n)
		h.netdev(standin.VIF(int(id), 0), id, 0)
		h.proxy.on(func(i int, _ request) wire.Errno {
			if i == n {
				h.proxy.cut()
			}
			return ""
		})
		h.domain(id, plain)
		h.plugged(id, 0, standin.VIF(int(id), 0), "xenbr0", 1500)
		assert.NotContains(t, h.kinds(standin.VIF(int(id), 0)), hotplug.NICFailed)
		h.proxy.on(nil)
		h.stop()
	}
}

// A storm of EAGAIN: a few are nothing, without end they are an error that ends with the storm, and the attempts are bounded.
func TestCase23StormOfConflicts(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	refuse := func(first int) func(int, request) wire.Errno {
		var mu sync.Mutex
		n := 0
		return func(_ int, r request) wire.Errno {
			mu.Lock()
			defer mu.Unlock()
			if n++; !r.commits() || n > first {
				return ""
			}
			return wire.EAGAIN
		}
	}
	commits := func(r request) bool { return r.commits() }
	h.netdev("vif5.0", 5, 0)
	h.proxy.on(refuse(60)) // some requests, among them the first commits
	h.domain(5, plain)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	assert.NotContains(t, h.kinds("vif5.0"), hotplug.NICFailed)

	h.netdev("vif6.0", 6, 0)
	h.proxy.on(refuse(1 << 30))
	h.domain(6, plain)
	h.eventually(func() error { return h.is("vif6.0", hotplug.Failed, hotplug.CodeStep) })
	x, _ := h.engine.Explain("vif6.0")
	assert.Contains(t, x.Reason.Error(), "EAGAIN")
	assert.Less(t, h.proxy.count(commits), 100, "bounded attempts")
	require.NoError(t, h.port("vif6.0", "xenbr0", 1500), "the port itself is as it should be")
	h.proxy.on(nil)
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	require.NoError(t, h.node(6, 0, "hotplug-error", ""))
}

// Another client changes what the engine's transaction has read, every time: real conflicts, on the real store too.
func TestCase23RealConflicts(t *testing.T) {
	target, _ := xenstoretest.StartReal(t)
	h := bareHost(t, target)
	h.bridge("xenbr2", 1400)
	h.start()
	h.netdev("vif5.0", 5, 0)
	front := "/local/domain/5/device/vif/0"
	var left sync.WaitGroup
	h.proxy.on(func(_ int, r request) wire.Errno {
		if r.commits() {
			left.Add(1)
			defer left.Done()
			_ = h.store.Write(h.t.Context(), front+"/backend-id", "0")
		}
		return ""
	})
	nic := plain
	nic.Bridge = "xenbr2"
	h.domain(5, nic)
	h.plugged(5, 0, "vif5.0", "xenbr2", 1400)
	left.Wait()
	assert.Equal(t, 9, h.proxy.count(request.commits), "eight with the guest's part, one without")
	told, err := h.store.Read(t.Context(), front+"/mtu")
	require.NoError(t, err)
	assert.Equal(t, "1500", told, "the guest did without the hint")
}

// A store that comes back has the engine's watches, each once.
func TestCase26WatchesAreRenewedOnce(t *testing.T) {
	h := bareHost(t, "")
	h.start()
	h.netdev("vif5.0", 5, 0)
	h.domain(5, plain)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.settle()
	first := h.proxy.watches()
	require.NotEmpty(t, first)
	for range 3 {
		h.proxy.on(nil)
		h.proxy.cut()
		h.eventually(func() error {
			if got := h.proxy.watches(); !maps.Equal(first, got) {
				return fmt.Errorf("watched at first: %v, now: %v", first, got)
			}
			return nil
		})
		h.settle()
		assert.Equal(t, first, h.proxy.watches())
	}
	// The name's watch of a domain that is gone tells nothing of the next with its id.
	require.NoError(t, h.tools.DestroyDomain(h.ctx(), 5, uuidOf(5)))
	h.event(hotplug.DomainDestroyed, "guest5")
	h.event(hotplug.NICDraining, "vif5.0") // a look at the NIC may read the name
	require.NoError(t, h.store.Write(h.ctx(), "/local/domain/5/name", "stale"))
	h.settle()
	assert.NotContains(t, h.log.String(), "stale")
}
