package toolstack

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/bridge"
	"vifplug/hotplug"
	"vifplug/xenstore"
	"vifplug/xenstore/wire"
	"vifplug/xenstore/xenstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a host with two declared networks for guests, one that is not, and bridges that nobody declared; its store is the test's.
type host struct {
	*testing.T
	*Toolstack
	store *xenstore.Client
	self  xenstore.DomID
}

func (h *host) Store() *xenstore.Client { return h.store }
func (h *host) Self() xenstore.DomID    { return h.self }
func (h *host) LeftTo(s string) bool    { return strings.HasSuffix(s, "/vif-route") }

func (h *host) Networks() hotplug.Networks {
	return hotplug.Networks{
		{Number: 1, Name: "management", ID: "10.11.10.0", Roles: "server-management"},
		{Number: 4, Name: "guests", ID: "4B", Roles: "virtual-machine", Guests: true},
		{Number: 5, Name: "trunk", ID: "5C", Roles: "virtual-machine", Guests: true, Filtering: true},
	}
}

func (h *host) Bridges() ([]bridge.Link, error) {
	return []bridge.Link{{Name: "4B", Kind: "bridge"}, {Name: "xenbr0", Kind: "bridge"}, {Name: "xenbr1", Kind: "bridge", Filtering: true}}, nil
}

// stores are what everything is asserted on: the embedded store, and Debian's C xenstored.
var stores = map[string]func(t *testing.T) string{
	"embedded": func(t *testing.T) string { return xenstoretest.Start(t) },
	"C":        func(t *testing.T) string { target, _ := xenstoretest.StartReal(t); return target },
}

// each runs a test on a host with both stores.
func each(t *testing.T, test func(*host)) {
	for name, start := range stores {
		t.Run(name, func(t *testing.T) { test(newHost(t, start(t))) })
	}
}

func newHost(t *testing.T, target string) *host {
	t.Helper()
	store, err := xenstore.Open(t.Context(), target, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	h := &host{T: t, store: store}
	h.Toolstack = New(h)
	return h
}

// domain makes a guest as libxl does, as far as NICs are concerned.
func (h *host) domain(id xenstore.DomID, name string) {
	h.Helper()
	dir := fmt.Sprintf("/local/domain/%d", id)
	require.NoError(h, h.store.Transaction(h.Context(), func(tx *xenstore.Tx) error {
		ops := directory(dir, perms(0, id), [][2]string{{"name", name}, {"vm", fmt.Sprintf("/vm/u-%d", id)}, {"domid", fmt.Sprint(id)}, {"device/suspend", ""}})
		ops = append(ops, directory(fmt.Sprintf("/libxl/%d", id), []wire.Perm{{Letter: 'n'}}, [][2]string{{"type", "pv"}})...)
		return all(tx.Pipeline(h.Context(), ops...))
	}))
	require.NoError(h, h.store.Introduce(h.Context(), id, 1, uint32(id)))
}

// tree is what stands below some paths, sorted, with permissions, as xenstore-ls -fp shows it.
func (h *host) tree(roots ...string) string {
	h.Helper()
	var lines []string
	for _, r := range roots {
		h.walk(r, &lines)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func (h *host) walk(node string, lines *[]string) {
	value, err := h.store.Read(h.Context(), node)
	if err != nil {
		return
	}
	list, err := h.store.Perms(h.Context(), node)
	require.NoError(h, err)
	var text []string
	for _, p := range list {
		text = append(text, p.String())
	}
	*lines = append(*lines, fmt.Sprintf("%s = %q (%s)", node, value, strings.Join(text, ",")))
	names, err := h.store.Directory(h.Context(), node)
	require.NoError(h, err)
	for _, n := range names {
		h.walk(path.Join(node, n), lines)
	}
}

// all three places of NICs of a domain, and the domain itself.
func (h *host) nics(id xenstore.DomID) string {
	h.Helper()
	return h.tree("/local/domain/0/backend", fmt.Sprintf("/local/domain/%d/device", id), fmt.Sprintf("/libxl/%d", id))
}

func (h *host) read(node string) string {
	v, _ := h.store.Read(h.Context(), node)
	return v
}

// closes plays a guest that closes its side when it is asked to.
func (h *host) closes(k hotplug.Key) {
	h.Helper()
	d := dirsOf(h.self, k)
	w, err := h.store.Watch(h.Context(), d.back+"/state", xenstore.WatchOptions{})
	require.NoError(h, err)
	ctx, cancel := context.WithCancel(h.Context())
	done := make(chan struct{})
	go h.runCloses(ctx, w, d, done)
	h.Cleanup(func() { cancel(); <-done })
}

func (h *host) runCloses(ctx context.Context, w *xenstore.Watch, d dirs, done chan<- struct{}) {
	defer close(done)
	for {
		if state, err := h.store.Read(ctx, d.back+"/state"); err == nil && state == closing {
			_ = h.store.Write(ctx, d.back+"/state", closed)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.Ready():
			w.Take()
		}
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
