package hotplug

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/udev"
)

func TestPlugAnswersWhenTheNICIsPlugged(t *testing.T) {
	w := newWorld(t, nil)
	w.attach("xenbr0")
	answer := make(chan error, 3)
	for range 3 {
		go runAsk(w.Engine, t.Context(), answer)
	}
	w.next(NICSeen)
	w.kernel.vif(Key{Front: 5, Device: 0})
	for range 3 {
		require.NoError(t, <-answer)
	}
	assert.Equal(t, "connected", w.read(back+"/hotplug-status"))
	require.NoError(t, w.Plug(t.Context(), Key{Front: 5, Device: 0}), "and again: idempotent")
}

func runAsk(e *Engine, ctx context.Context, answer chan<- error) {
	answer <- e.Plug(ctx, Key{Front: 5, Device: 0})
}

func TestPlugAnswersWhyNot(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Policy.BridgeWait = 20 * time.Millisecond })
	var r *Reason
	require.ErrorAs(t, w.Plug(t.Context(), Key{Front: 5, Device: 0}), &r, "nobody knows that NIC")
	assert.Equal(t, CodeBackendGone, r.Code)
	w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("nobridge")
	require.ErrorAs(t, w.Plug(t.Context(), Key{Front: 5, Device: 0}), &r)
	assert.Equal(t, CodeBridgeMissing, r.Code)
	w.write(back+"/online", "0")
	require.ErrorAs(t, w.Plug(t.Context(), Key{Front: 5, Device: 0}), &r)
	assert.Equal(t, CodeBackendGone, r.Code)
	assert.Contains(t, r.Error(), "is being removed")
}

// Who gives up waiting is told what was awaited.
func TestPlugThatTakesTooLongSaysWhatIsAwaited(t *testing.T) {
	w := newWorld(t, nil)
	w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("nobridge")
	w.next(NICSeen)
	err := w.Plug(within(t, 30*time.Millisecond), Key{Front: 5, Device: 0})
	var r *Reason
	require.ErrorAs(t, err, &r)
	assert.Equal(t, CodeBridgeMissing, r.Code)
	w.kernel.bridge("nobridge")
	w.next(NICPlugged)
	require.NoError(t, w.Plug(t.Context(), Key{Front: 5, Device: 0}), "who gave up is in nobody's way")
}

func TestClosingAnswersWhoWaits(t *testing.T) {
	w := newWorld(t, nil)
	w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("nobridge")
	w.next(NICSeen)
	answer := make(chan error, 1)
	e := w.Engine
	go runAsk(e, t.Context(), answer)
	w.eventually(func() bool {
		n := e.nic(Key{Front: 5, Device: 0})
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.waiters) == 1
	})
	w.end()
	require.ErrorIs(t, <-answer, ErrStopping)
	require.ErrorIs(t, e.Plug(t.Context(), Key{Front: 5, Device: 0}), ErrStopping, "after the end too")
}

func TestUnplugOfWhatIsGone(t *testing.T) {
	w := newWorld(t, nil)
	require.NoError(t, w.Unplug(t.Context(), Key{Front: 5, Device: 0}))
	w.eventually(func() bool { return len(w.keys()) == 0 })
	i := w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("xenbr0")
	w.next(NICPlugged)
	w.write(back+"/online", "0", back+"/state", "5")
	w.next(NICDraining)
	require.NoError(t, w.Unplug(t.Context(), Key{Front: 5, Device: 0}))
	l, err := w.kernel.Link(i)
	require.NoError(t, err)
	assert.Zero(t, l.Master)
	assert.False(t, l.Up)
	require.NoError(t, w.store.Remove(t.Context(), back))
	w.kernel.delete(i)
	w.next(NICGone)
}

func TestAlive(t *testing.T) {
	w := newWorld(t, nil)
	require.NoError(t, w.Alive(t.Context()))
	e := w.Engine
	w.end()
	err := e.Alive(within(t, 10*time.Millisecond))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Contains(t, err.Error(), "the engine's queue does not move")
}

// A worker that hangs is what the watchdog is for.
func TestAliveNoticesAStuckQueue(t *testing.T) {
	stuck := &stuckLinks{gate: make(chan struct{}), reached: make(chan struct{}, 100)}
	w := newWorld(t, func(c *Config) { stuck.kernel, c.Links, c.Workers = c.Links.(*kernel), stuck, 1 })
	w.attach("xenbr0")
	<-stuck.reached
	require.Error(t, w.Alive(within(t, 20*time.Millisecond)))
	close(stuck.gate)
	require.NoError(t, w.Alive(t.Context()))
}

type stuckLinks struct {
	*kernel
	gate, reached chan struct{}
}

func (s *stuckLinks) LinkByName(n bridge.Name) (bridge.Link, error) {
	s.reached <- struct{}{}
	<-s.gate
	return s.kernel.LinkByName(n)
}

func TestStatusAndExplain(t *testing.T) {
	w := newWorld(t, nil)
	assert.Empty(t, w.Status())
	w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("nobridge")
	w.next(NICSeen)
	w.eventually(func() bool { return len(w.Status()) == 1 && w.Status()[0].Reason != nil })
	s := w.Status()[0]
	assert.Equal(t, "vif5.0", s.VIF)
	assert.Equal(t, Ready, s.State)
	assert.Equal(t, "nobridge", s.Backend.Bridge)
	assert.Equal(t, "InitWait", s.Backend.StateName)
	assert.Equal(t, "0 NICs plugged, 0 failed, 1 on their way", w.Summary())
	w.kernel.bridge("nobridge")
	w.next(NICPlugged)
	x, ok := w.Explain("vif5.0")
	require.True(t, ok)
	assert.Equal(t, Plugged, x.State)
	assert.Nil(t, x.Reason)
	assert.Equal(t, &LinkStatus{Name: "vif5.0", Index: x.Link.Index, MAC: "fe:ff:ff:ff:ff:ff", MTU: 1500, Up: true, Bridge: "nobridge"}, x.Link)
	require.Len(t, x.Runs, 2)
	assert.Equal(t, CodeBridgeMissing, x.Runs[0].Reason.Code)
	assert.Contains(t, x.Runs[1].Observed, `bridge "nobridge"`)
	assert.Equal(t, verifyText, x.Runs[1].Steps[len(x.Runs[1].Steps)-2].Text)
	assert.Equal(t, "1 NIC plugged, 0 failed, 0 on their way", w.Summary())
	_, ok = w.Explain("vif6.0")
	assert.False(t, ok)
	_, ok = w.Explain("")
	assert.False(t, ok)
}

func TestRunsAreBounded(t *testing.T) {
	n := &nic{}
	for i := range 3 * keptRuns {
		n.remember(Run{Observed: fmt.Sprint(i)})
	}
	require.Len(t, n.runs, keptRuns)
	assert.Equal(t, fmt.Sprint(3*keptRuns-1), n.runs[keptRuns-1].Observed)
}

func TestSetPolicyLooksAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("nobridge")
	w.next(NICSeen)
	p := DefaultPolicy()
	p.BridgeWait = 0
	w.SetPolicy(p)
	assert.Equal(t, CodeBridgeMissing, w.next(NICFailed).Reason.Code)
	assert.Equal(t, "0 NICs plugged, 1 failed, 0 on their way", w.Summary())
}

// Everything that the engine held of a NIC goes with it: a host's domids go up for years.
func TestNothingIsKeptOfWhatIsGone(t *testing.T) {
	w := newWorld(t, nil)
	for range 5 {
		i := w.kernel.vif(Key{Front: 5, Device: 0})
		w.attach("xenbr0")
		w.next(NICPlugged)
		require.NoError(t, w.store.Remove(t.Context(), back))
		w.kernel.delete(i)
		w.next(NICGone)
	}
	w.eventually(func() bool {
		w.queue.mu.Lock()
		defer w.queue.mu.Unlock()
		w.table.mu.Lock()
		defer w.table.mu.Unlock()
		_, queued := w.queue.entries[Key{Front: 5, Device: 0}]
		return !queued && len(w.table.byKey)+len(w.table.byIndex)+len(w.table.parents)+len(w.table.wants)+len(w.table.wanted) == 0
	})
	assert.Empty(t, w.keys())
}

// A driver domain looks at everything each minute, dom0 never of itself.
func TestResyncDefaults(t *testing.T) {
	assert.Zero(t, newWorld(t, nil).cfg.ResyncEvery)
	assert.Equal(t, time.Minute, newWorld(t, func(c *Config) { c.Self = 7 }).cfg.ResyncEvery)
}

type uevents chan udev.Event

func (u uevents) Close() error { close(u); return nil }

func (u uevents) Receive() (udev.Event, error) {
	e, ok := <-u
	if !ok {
		return udev.Event{}, errors.New("closed")
	}
	if e.Action == "overflow" {
		return udev.Event{}, udev.ErrOverflow
	}
	return e, nil
}

// A uevent is a hint like any other, and so is the news that some were lost.
func TestUevents(t *testing.T) {
	u := make(uevents)
	w := newWorld(t, func(c *Config) { c.Uevents = u })
	w.attach("xenbr0")
	w.next(NICSeen)
	// The netdev appears without a word from rtnetlink.
	quiet := func(dev uint32) {
		w.kernel.mu.Lock()
		defer w.kernel.mu.Unlock()
		k := Key{Front: 5, Device: dev}
		w.kernel.links[900+int(dev)] = bridge.Link{Index: 900 + int(dev), Name: bridge.Name(k.VIF()), MAC: portMAC, MTU: 1500, Parent: k.Parent(), ParentBus: backendBus}
	}
	quiet(0)
	u <- udev.Event{Action: "overflow"}
	w.next(NICPlugged)
}

// For vif-plug without a daemon: one NIC and nothing else, domains neither.
func TestOnlyOneNIC(t *testing.T) {
	k := Key{Front: 5, Device: 0}
	w := newWorld(t, func(c *Config) { c.Only = &k })
	w.kernel.vif(k)
	w.kernel.vif(Key{Front: 5, Device: 1})
	other := "/local/domain/0/backend/vif/5/1"
	w.write(other+"/frontend-id", "5", other+"/state", "2", other+"/bridge", "xenbr0")
	w.attach("xenbr0")
	require.NoError(t, w.Plug(t.Context(), k))
	require.NoError(t, w.Alive(t.Context()))
	assert.Equal(t, []Key{k}, w.keys())
	assert.Empty(t, w.read(other+"/hotplug-status"))
	assert.Nil(t, w.Domains())
}

func TestStartFailsCleanly(t *testing.T) {
	target := newWorld(t, nil).cfg.Store
	k := newKernel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, Config{Store: target, Links: k, Monitor: k, Policy: DefaultPolicy()})
	require.ErrorIs(t, err, context.Canceled)
	assert.True(t, k.closed, "the monitor is closed")
}
