package cases

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/test/netns"
	"vifplug/test/standin"
	"vifplug/xenstore"
	"vifplug/xenstore/xenstoretest"
)

// host is a Xen host as far as vifplug is concerned: a store, the kernel with two bridges, toolstack, netback, and the engine, each with its
// own connection.
type host struct {
	t      *testing.T
	root   string           // the store, as dom0's own tools reach it
	target string           // the store, as the engine reaches it: through the proxy
	store  *xenstore.Client // the toolstack's connection, past the proxy
	tools  *standin.Toolstack
	kernel *standin.Kernel
	proxy  *proxy
	links  *recorder
	policy hotplug.Policy
	domids hotplug.DomainInfo
	self   xenstore.DomID
	resync time.Duration
	lossy  *lossyMonitor

	netback *standin.Netback
	engine  *hotplug.Engine
	client  *xenstore.Client // the engine's
	log     *safeBuffer
	events  *hotplug.Subscription
	seen    []hotplug.Event
}

// newHost makes a host on an embedded store, with xenbr0 and xenbr1, netback running, the engine not yet.
func newHost(t *testing.T) *host {
	h := bareHost(t, "")
	h.startNetback(standin.NetbackOptions{})
	return h
}

// bareHost is newHost without netback: the test plays it. target "" is an embedded store.
func bareHost(t *testing.T, target string) *host {
	t.Helper()
	netns.Need(t)
	if target == "" {
		target = xenstoretest.Start(t)
	}
	return hostOn(t, target, target)
}

// hostOn makes a host whose engine reaches the store by an address of its own.
func hostOn(t *testing.T, target, engines string) *host {
	t.Helper()
	p := startProxy(t, engines)
	h := &host{t: t, proxy: p, target: p.target(), kernel: &standin.Kernel{}, links: &recorder{}, policy: hotplug.DefaultPolicy(), log: &safeBuffer{}}
	h.policy.BridgeWait, h.policy.NetdevWait = 20*time.Second, 10*time.Second
	h.root = target
	h.store = h.open(target)
	h.tools = &standin.Toolstack{Store: h.store}
	h.bridge("xenbr0", 1500)
	h.bridge("xenbr1", 1500)
	t.Cleanup(h.nothingLeft)
	return h
}

func (h *host) open(target string) *xenstore.Client {
	h.t.Helper()
	c, err := xenstore.Open(h.ctx(), target, nil)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { assert.NoError(h.t, c.Close()) })
	return c
}

// ctx bounds every single thing that a test awaits.
func (h *host) ctx() context.Context {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	h.t.Cleanup(cancel)
	return ctx
}

// patience is for a busy machine; what must be quick is measured.
const patience = 20 * time.Second

func (h *host) startNetback(o standin.NetbackOptions) {
	h.t.Helper()
	o.Kernel = h.kernel
	n, err := standin.StartNetbackAs(h.ctx(), h.open(h.root), o)
	require.NoError(h.t, err)
	h.netback = n
	h.t.Cleanup(func() {
		n.Close()
		select {
		case err := <-n.Err:
			assert.NoError(h.t, err, "netback")
		default:
		}
	})
}

// start starts the engine, as the daemon does.
func (h *host) start() {
	h.t.Helper()
	links, err := bridge.Open()
	require.NoError(h.t, err)
	monitor, err := bridge.OpenMonitor()
	require.NoError(h.t, err)
	h.lossy = &lossyMonitor{LinkMonitor: h.kernel.Monitor(monitor)}
	h.startWith(links, h.lossy)
	h.t.Cleanup(func() { assert.NoError(h.t, links.Close()) })
}

func (h *host) startWith(links hotplug.Links, monitor hotplug.LinkMonitor) {
	h.t.Helper()
	h.links.inner = h.kernel.Links(links)
	client, err := xenstore.Open(h.ctx(), h.target, nil)
	require.NoError(h.t, err)
	h.client = client
	e, err := hotplug.Start(h.ctx(), hotplug.Config{
		Store: client, Self: h.self, Links: h.links, Monitor: monitor, Policy: h.policy, Domains: h.domids, ResyncEvery: h.resync,
		Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(h.t, err)
	h.engine, h.events, h.seen = e, e.Events().Subscribe(0), nil
	h.t.Cleanup(func() { h.stop() })
	select {
	case <-e.Synced():
	case <-h.ctx().Done():
		require.Fail(h.t, "the first look at every NIC does not end")
	}
}

// stop stops the engine, as the daemon's end does: nothing else changes.
func (h *host) stop() {
	if h.engine == nil {
		return
	}
	h.events.Close()
	assert.NoError(h.t, h.engine.Close())
	assert.NoError(h.t, h.client.Close())
	h.engine = nil
}

// nothingLeft removes what the test made; that nothing lives on is goleak's.
func (h *host) nothingLeft() {
	names, err := bridgetest.Names()
	assert.NoError(h.t, err)
	for _, n := range names {
		if strings.HasPrefix(n, "vif") || strings.HasPrefix(n, "g") && strings.Contains(n, ".") || strings.HasPrefix(n, "xenbr") || strings.HasPrefix(n, "test") {
			_ = bridgetest.Delete(n) // the other end of a pair goes with the first
		}
	}
}

func (h *host) bridge(name string, mtu int) {
	h.t.Helper()
	require.NoError(h.t, bridgetest.MakeBridge(name, mtu))
}

func uuidOf(id xenstore.DomID) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", id) }

// domain creates a domain with NICs.
func (h *host) domain(id xenstore.DomID, nics ...standin.NIC) {
	h.t.Helper()
	require.NoError(h.t, h.tools.CreateDomain(h.ctx(), id, fmt.Sprintf("guest%d", id), uuidOf(id)))
	for i, n := range nics {
		h.attach(id, i, n)
	}
}

func (h *host) attach(id xenstore.DomID, dev int, n standin.NIC) {
	h.t.Helper()
	if n.MAC == "" {
		n.MAC = fmt.Sprintf("00:16:3e:%02x:%02x:%02x", id>>8, id&255, dev&255)
	}
	require.NoError(h.t, h.tools.Attach(h.ctx(), id, dev, n))
}

// detach removes a NIC as xl network-detach does.
func (h *host) detach(id xenstore.DomID, dev int) {
	h.t.Helper()
	require.NoError(h.t, h.tools.Detach(h.ctx(), id, dev))
	h.eventually(func() error { return h.node(id, dev, "state", "6") })
	require.NoError(h.t, h.tools.Erase(h.ctx(), id, dev))
}

func (h *host) dir(id xenstore.DomID, dev int) string { return h.tools.BackendDir(id, dev) }

// node says whether a backend node has a value; "" also stands for none.
func (h *host) node(id xenstore.DomID, dev int, leaf, want string) error {
	got, err := h.store.Read(h.ctx(), h.dir(id, dev)+"/"+leaf)
	if err != nil && (want != "" || !isGone(err)) {
		return err
	}
	if got != want {
		return fmt.Errorf("%s of vif%d.%d is %q, want %q", leaf, id, dev, got, want)
	}
	return nil
}

func (h *host) set(id xenstore.DomID, dev int, leaf, value string) {
	h.t.Helper()
	require.NoError(h.t, h.store.Write(h.ctx(), h.dir(id, dev)+"/"+leaf, value))
}

// eventually polls where nothing tells when the kernel or the store will be so.
func (h *host) eventually(what func() error) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := what()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(h.t, err, h.state())
		}
		time.Sleep(2 * time.Millisecond) // between two questions
	}
}

// state is what a failed test says of the host.
func (h *host) state() string {
	var b strings.Builder
	names, _ := bridgetest.Names()
	for _, n := range names {
		text, _ := bridgetest.Describe(n)
		b.WriteString(text + "\n")
	}
	if h.engine != nil {
		for _, s := range h.engine.Status() {
			fmt.Fprintf(&b, "%s %v %v\n", s.VIF, s.State, s.Reason)
		}
	}
	return b.String() + h.log.String()
}

// port says whether a device is what a plugged one is: on its bridge, up, with the port's MAC and an MTU.
func (h *host) port(name, master string, mtu int) error {
	got, err := bridgetest.Describe(name)
	want := fmt.Sprintf("veth %s mtu %d fe:ff:ff:ff:ff:ff master %s up", name, mtu, master)
	if err == nil && got != want {
		err = fmt.Errorf("the kernel has %q, want %q", got, want)
	}
	return err
}

// plugged awaits a NIC in its final state: kernel, store and engine say so.
func (h *host) plugged(id xenstore.DomID, dev int, name, master string, mtu int) {
	h.t.Helper()
	h.eventually(func() error {
		if err := h.port(name, master, mtu); err != nil {
			return err
		}
		if err := h.node(id, dev, "hotplug-status", "connected"); err != nil {
			return err
		}
		return h.is(standin.VIF(int(id), dev), hotplug.Plugged, "")
	})
}

// is says whether the engine has a NIC in a state, for a reason.
func (h *host) is(vif string, want hotplug.State, code hotplug.Code) error {
	x, ok := h.engine.Explain(vif)
	switch {
	case !ok:
		return fmt.Errorf("the engine knows no %s", vif)
	case x.State != want:
		return fmt.Errorf("%s is %v, want %v (%v)", vif, x.State, want, x.Reason)
	case code == "" && x.Reason != nil, code != "" && (x.Reason == nil || x.Reason.Code != code):
		return fmt.Errorf("%s is %v because %v, want %q", vif, x.State, x.Reason, code)
	}
	return nil
}

// failed awaits a failure, and that engine, event and hotplug-error say the same.
func (h *host) failed(id xenstore.DomID, dev int, code hotplug.Code) *hotplug.Reason {
	h.t.Helper()
	vif := standin.VIF(int(id), dev)
	h.eventually(func() error { return h.is(vif, hotplug.Failed, code) })
	x, _ := h.engine.Explain(vif)
	require.NotNil(h.t, x.Reason)
	h.eventually(func() error { return h.node(id, dev, "hotplug-error", x.Reason.Error()) })
	h.eventually(func() error { return h.node(id, dev, "hotplug-status", "error") })
	ev := h.event(hotplug.NICFailed, vif)
	assert.Equal(h.t, x.Reason, ev.Reason)
	assert.NotContains(h.t, x.Reason.Error(), "\n")
	return x.Reason
}

// gone awaits that the engine has forgotten a NIC.
func (h *host) gone(vif string) {
	h.t.Helper()
	h.eventually(func() error {
		if x, ok := h.engine.Explain(vif); ok {
			return fmt.Errorf("%s is still %v", vif, x.State)
		}
		return nil
	})
}

// event awaits one and takes it off what has been seen, with all before it of the same NIC or domain.
func (h *host) event(kind hotplug.Kind, vif string) hotplug.Event {
	h.t.Helper()
	deadline := time.After(patience)
	for {
		for i, e := range h.seen {
			if e.Kind == kind && (e.VIF == vif || e.VIF == "" && e.Domain.Name == vif) {
				h.seen = append(h.seen[:i:i], h.seen[i+1:]...)
				return e
			}
		}
		select {
		case <-h.events.Ready():
			h.seen = append(h.seen, h.events.Take()...)
		case <-deadline:
			require.Failf(h.t, "no event", "%s %s did not come\n%s", kind, vif, h.state())
		}
	}
}

// kinds are the events of a NIC so far that nobody has awaited, in order.
func (h *host) kinds(vif string) []hotplug.Kind {
	h.seen = append(h.seen, h.events.Take()...)
	var out []hotplug.Kind
	for _, e := range h.seen {
		if e.VIF == vif {
			out = append(out, e.Kind)
		}
	}
	return out
}

// settle returns when the engine has looked at everything that it had been told of.
func (h *host) settle() {
	h.t.Helper()
	time.Sleep(30 * time.Millisecond) // longer than the quiet after work: of what does not happen nothing tells
	require.NoError(h.t, h.engine.Alive(h.ctx()))
}

// safeBuffer is a log that is written while it is read.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
