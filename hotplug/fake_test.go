package hotplug

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/hotplug/domctl"
	"vifplug/xenstore"
	"vifplug/xenstore/xenstoretest"
)

// kernel is a kernel in memory, with its monitor: what test/cases does with the real one, for what needs no kernel.
type kernel struct {
	mu     sync.Mutex // guards all following fields
	links  map[int]bridge.Link
	vlans  map[int][]bridge.PortVLAN // of ports, by index
	next   int
	events chan bridge.LinkEvent
	closed bool
}

func newKernel() *kernel {
	return &kernel{links: map[int]bridge.Link{}, vlans: map[int][]bridge.PortVLAN{}, next: 3, events: make(chan bridge.LinkEvent, 4096)}
}

func (k *kernel) add(l bridge.Link) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.Index = k.next
	k.next++
	k.put(l)
	return l.Index
}

// put sets a link and tells of it. The caller holds mu.
func (k *kernel) put(l bridge.Link) {
	k.links[l.Index] = l
	if !k.closed {
		k.events <- bridge.LinkEvent{Link: l}
	}
}

func (k *kernel) vif(key Key) int {
	return k.add(bridge.Link{Name: bridge.Name(key.VIF()), Kind: "vif", MAC: portMAC, MTU: 1500, MaxMTU: 65517, Parent: key.Parent(), ParentBus: backendBus})
}

func (k *kernel) bridge(name string) int {
	return k.add(bridge.Link{Name: bridge.Name(name), Kind: "bridge", MTU: 1500, Up: true})
}

func (k *kernel) delete(index int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[index]
	delete(k.links, index)
	k.events <- bridge.LinkEvent{Link: l, Deleted: true}
}

func notFound() error { return &bridge.Error{Op: "read link", Object: "x", Err: unix.ENODEV} }

func (k *kernel) Link(index int) (bridge.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l, ok := k.links[index]; ok {
		return l, nil
	}
	return bridge.Link{}, notFound()
}

func (k *kernel) LinkByName(n bridge.Name) (bridge.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.links {
		if l.Name == n {
			return l, nil
		}
	}
	return bridge.Link{}, notFound()
}

func (k *kernel) Links() (out []bridge.Link, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.links {
		out = append(out, l)
	}
	return out, nil
}

func (k *kernel) Set(index int, c bridge.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.links[index]
	if !ok {
		return notFound()
	}
	f := Facts{Link: &l, Bridge: &bridge.Link{}}
	applyLink(&f, c)
	if c.Master != nil && k.links[*c.Master].Filtering {
		k.vlans[index] = []bridge.PortVLAN{ownVLAN(firstVLAN)} // as the kernel gives a port that joins
	}
	k.put(l)
	return nil
}

// PortVLANs, AddPortVLAN and DeletePortVLAN know single VLANs alone.
func (k *kernel) PortVLANs(index int) ([]bridge.PortVLAN, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.vlans[index]), nil
}

func (k *kernel) AddPortVLAN(name bridge.Name, p bridge.PortVLAN) error {
	return k.changeVLANs(name, func(have []bridge.PortVLAN) []bridge.PortVLAN { return append(have, p) })
}

func (k *kernel) DeletePortVLAN(name bridge.Name, p bridge.PortVLAN) error {
	return k.changeVLANs(name, func(have []bridge.PortVLAN) []bridge.PortVLAN {
		return slices.DeleteFunc(have, func(h bridge.PortVLAN) bool { return h.From == p.From })
	})
}

func (k *kernel) changeVLANs(name bridge.Name, change func([]bridge.PortVLAN) []bridge.PortVLAN) error {
	l, err := k.LinkByName(name)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.vlans[l.Index] = change(k.vlans[l.Index])
	return nil
}

func (k *kernel) Addresses(int) ([]netip.Prefix, error) { return nil, nil }
func (k *kernel) DeleteAddress(int, netip.Prefix) error { return nil }
func (k *kernel) IgnoreRA(bridge.Name) error            { return nil }
func (k *kernel) Receive() ([]bridge.LinkEvent, error) {
	e, ok := <-k.events
	if !ok {
		return nil, errors.New("closed")
	}
	return []bridge.LinkEvent{e}, nil
}

func (k *kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	close(k.events)
	return nil
}

// world is an engine on a kernel in memory and an embedded store.
type world struct {
	*Engine
	t      *testing.T
	store  *xenstore.Client // the toolstack's
	kernel *kernel
	log    *syncBuffer
	sub    *Subscription
	seen   []Event
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func openStore(t *testing.T, target string) *xenstore.Client {
	t.Helper()
	c, err := xenstore.Open(t.Context(), target, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// newWorld makes one; change may alter the configuration.
func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	target := xenstoretest.Start(t)
	w := &world{t: t, store: openStore(t, target), kernel: newKernel(), log: &syncBuffer{}}
	w.kernel.bridge("xenbr0")
	cfg := Config{Store: openStore(t, target), Links: w.kernel, Monitor: w.kernel, Policy: DefaultPolicy(), Logger: slog.New(slog.NewTextHandler(w.log, nil))}
	if change != nil {
		change(&cfg)
	}
	e, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	w.Engine, w.sub = e, e.Events().Subscribe(0)
	t.Cleanup(w.end)
	<-e.Synced()
	return w
}

func (w *world) end() {
	if w.Engine != nil {
		assert.NoError(w.t, w.Close())
		w.Engine = nil
	}
}

func (w *world) write(kv ...string) {
	w.t.Helper()
	require.NoError(w.t, w.store.Transaction(w.t.Context(), func(tx *xenstore.Tx) error {
		for i := 0; i < len(kv); i += 2 {
			if err := tx.Write(w.t.Context(), kv[i], kv[i+1]); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (w *world) read(path string) string {
	v, _ := w.store.Read(w.t.Context(), path)
	return v
}

const (
	back  = "/local/domain/0/backend/vif/5/0"
	front = "/local/domain/5/device/vif/0"
)

// attach writes a NIC's nodes in state 2.
func (w *world) attach(bridgeName string) {
	w.t.Helper()
	w.write(back+"/frontend-id", "5", back+"/state", "2", back+"/online", "1", back+"/bridge", bridgeName, front+"/backend-id", "0",
		"/local/domain/5/name", "web01", "/local/domain/5/vm", "/vm/u-5")
}

// next awaits an event of a kind.
func (w *world) next(kind Kind) Event {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		for i, e := range w.seen {
			if e.Kind == kind {
				w.seen = append(w.seen[:i:i], w.seen[i+1:]...)
				return e
			}
		}
		select {
		case <-w.sub.Ready():
			w.seen = append(w.seen, w.sub.Take()...)
		case <-deadline:
			require.Failf(w.t, "no event", "%s did not come\n%s", kind, w.log)
		}
	}
}

func (w *world) eventually(what func() bool) {
	w.t.Helper()
	require.Eventually(w.t, what, 20*time.Second, time.Millisecond, "%s", w.log)
}

// hypervisor answers what a test says of domains.
type hypervisor struct {
	mu    sync.Mutex // guards infos
	infos map[uint16]domctl.Info
}

func (h *hypervisor) set(id uint16, i domctl.Info) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.infos[id] = i
}

func (h *hypervisor) Info(id uint16) (domctl.Info, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i, ok := h.infos[id]; ok {
		return i, nil
	}
	return domctl.Info{}, domctl.ErrNotFound
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
