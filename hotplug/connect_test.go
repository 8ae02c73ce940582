package hotplug

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore"
)

// doConnect runs the connecting transaction alone, as the step does.
func (w *world) doConnect(f *Facts) error {
	c := w.prepareConnect(w.t.Context(), f.Key)
	defer c.end()
	return c.connect(w.t.Context(), f)
}

func TestConnectTellsNetbackAndGuest(t *testing.T) {
	w := newWorld(t, func(c *Config) { k := Key{Front: 99, Device: 0}; c.Only = &k }) // the engine itself keeps away
	for _, c := range []struct {
		name                          string
		frontend, told, failed        string // what is there before
		wantTold, wantStatus, wantErr string
	}{
		{"plain", "0", "", "", "9000", "connected", ""},
		{"told otherwise before", "0", "1500", "", "9000", "connected", ""},
		{"failed before", "0", "", "it was so", "9000", "connected", ""},
		{"no frontend: it is not made", "", "", "", "", "connected", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.write(back+"/frontend-id", "5")
			for path, v := range map[string]string{front + "/backend-id": c.frontend, front + "/mtu": c.told, back + "/hotplug-error": c.failed} {
				if v != "" {
					w.write(path, v)
				}
			}
			f := settled()
			f.Node.Status, f.Node.Error, f.Link.MTU = "", c.failed, 9000
			require.NoError(t, w.doConnect(&f))
			assert.Equal(t, c.wantStatus, w.read(back+"/hotplug-status"))
			assert.Equal(t, c.wantErr, w.read(back+"/hotplug-error"))
			assert.Equal(t, c.wantTold, w.read(front+"/mtu"))
			assert.Equal(t, statusConnected, f.Node.Status)
			assert.Empty(t, f.Node.Error)
			for _, p := range []string{back, "/local/domain/5"} {
				require.NoError(t, w.store.Remove(t.Context(), p))
			}
		})
	}
}

// A guest's mtu that is right already is not written: the guest watches it.
func TestConnectLeavesARightMTUAlone(t *testing.T) {
	w := newWorld(t, func(c *Config) { k := Key{Front: 99, Device: 0}; c.Only = &k })
	w.write(back+"/frontend-id", "5", front+"/backend-id", "0", front+"/mtu", "1500")
	watch, err := w.store.Watch(t.Context(), front, xenstore.WatchOptions{})
	require.NoError(t, err)
	<-watch.Ready()
	watch.Take()
	f := settled()
	require.NoError(t, w.doConnect(&f))
	w.read(back) // an answer comes after the events before it
	assert.Empty(t, watch.Take())
	require.NoError(t, watch.Close(t.Context()))
}

func TestConnectToNothing(t *testing.T) {
	w := newWorld(t, func(c *Config) { k := Key{Front: 99, Device: 0}; c.Only = &k })
	f := settled()
	require.ErrorIs(t, w.doConnect(&f), errNoNode)
	_, err := w.store.Read(t.Context(), back)
	require.ErrorIs(t, err, xenstore.ENOENT)
	w.writeFailure(f.Key, f, because(CodeStep, "x"))
	_, err = w.store.Read(t.Context(), back)
	require.ErrorIs(t, err, xenstore.ENOENT)
}

// A failure that stands in the node already is not written again: every write wakes whoever watches.
func TestWriteFailureOnce(t *testing.T) {
	w := newWorld(t, func(c *Config) { k := Key{Front: 99, Device: 0}; c.Only = &k })
	w.write(back+"/frontend-id", "5")
	r := because(CodeBridgeMissing, "the bridge x does not exist")
	f := born()
	w.writeFailure(f.Key, f, r)
	assert.Equal(t, "error", w.read(back+"/hotplug-status"))
	assert.Equal(t, r.Error(), w.read(back+"/hotplug-error"))
	w.write(back+"/hotplug-error", "sentinel")
	f.Node.Status, f.Node.Error = "error", r.Error()
	w.writeFailure(f.Key, f, r)
	assert.Equal(t, "sentinel", w.read(back+"/hotplug-error"))
	f.Node = nil
	w.writeFailure(f.Key, f, r)
	assert.Equal(t, "sentinel", w.read(back+"/hotplug-error"))
}

// An open transaction that is not needed any more is given up, whatever has become of the caller.
func TestConnectionEnds(t *testing.T) {
	w := newWorld(t, func(c *Config) { k := Key{Front: 99, Device: 0}; c.Only = &k })
	w.write(back+"/frontend-id", "5")
	for range 50 { // dom0 has no quota; that no goroutine is left is goleak's
		ctx, cancel := context.WithCancel(t.Context())
		c := w.prepareConnect(ctx, Key{Front: 5, Device: 0})
		cancel()
		c.end()
	}
	f := settled()
	require.NoError(t, w.doConnect(&f))
}

func TestSelf(t *testing.T) {
	w := newWorld(t, nil)
	id, err := Self(t.Context(), w.store)
	require.NoError(t, err)
	assert.Zero(t, id, "no such node: dom0")
	w.write("/local/domain/0/domid", "0")
	id, err = Self(t.Context(), w.store)
	require.NoError(t, err)
	assert.Zero(t, id)
	w.write("/local/domain/0/domid", "12\n")
	id, err = Self(t.Context(), w.store)
	require.NoError(t, err)
	assert.EqualValues(t, 12, id, "never hard-coded")
	w.write("/local/domain/0/domid", "junk")
	_, err = Self(t.Context(), w.store)
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Self(ctx, w.store)
	require.ErrorIs(t, err, context.Canceled)
	assert.Contains(t, err.Error(), "which domain is this")
}

func TestWriteError(t *testing.T) {
	w := newWorld(t, nil)
	require.ErrorIs(t, WriteError(t.Context(), w.store, Key{Front: 5, Device: 0}, "no answer"), xenstore.ENOENT)
	_, err := w.store.Read(t.Context(), back)
	require.ErrorIs(t, err, xenstore.ENOENT, "a node that is gone stays gone")
	w.write(back+"/frontend-id", "5")
	require.NoError(t, WriteError(t.Context(), w.store, Key{Front: 5, Device: 0}, "no answer"))
	assert.Equal(t, "error", w.read(back+"/hotplug-status"))
	assert.Equal(t, "no answer", w.read(back+"/hotplug-error"))
}
