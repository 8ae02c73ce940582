package hotplug

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vifplug/bridge"
	"vifplug/hotplug/paths"
	"vifplug/udev"
	"vifplug/xenstore"
)

// Links is the part of the kernel that the engine reads and changes. [bridge.Conn] is the real one.
type Links interface {
	Link(index int) (bridge.Link, error)
	LinkByName(bridge.Name) (bridge.Link, error)
	Links() ([]bridge.Link, error)
	Set(index int, c bridge.Change) error
	Addresses(index int) ([]netip.Prefix, error)
	DeleteAddress(index int, a netip.Prefix) error
	IgnoreRA(bridge.Name) error
	PortVLANs(index int) ([]bridge.PortVLAN, error)
	AddPortVLAN(bridge.Name, bridge.PortVLAN) error
	DeletePortVLAN(bridge.Name, bridge.PortVLAN) error
}

// LinkMonitor tells of changed links. [bridge.Monitor] is the real one.
type LinkMonitor interface {
	Receive() ([]bridge.LinkEvent, error)
	Close() error
}

// UeventMonitor tells of kernel uevents. [udev.Monitor] is the real one.
type UeventMonitor interface {
	Receive() (udev.Event, error)
	Close() error
}

// Config is what an Engine works with.
type Config struct {
	Store   *xenstore.Client // required
	Self    xenstore.DomID   // the domain whose backends these are
	Links   Links            // required
	Monitor LinkMonitor      // required; the engine closes it
	Uevents UeventMonitor    // optional: a further source of hints; the engine closes it
	Domains DomainInfo       // optional: why a domain has shut down
	Policy  Policy
	Paths   *paths.Config // optional: how frames' paths and guards are had; without it every frame takes the bridge
	Logger  *slog.Logger  // optional
	Only    *Key          // optional: serve this NIC alone (vif-plug without a daemon), domains not at all
	Workers int           // NICs at once; 0: 8
	// ResyncEvery has everything looked at again. 0: every minute in a driver domain, whose events the store drops where they are not read
	// for 20 s; else never.
	ResyncEvery time.Duration
}

// Engine keeps every NIC of one backend domain on its bridge. It owns its goroutines from Start to Close.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	paths  layout
	queue  *Queue[Key]
	hub    *Hub
	table  *linkTable
	guests *domains
	watch  *xenstore.Watch
	keeper *paths.Keeper // of the ports' paths; nil: none

	policy  atomic.Pointer[Policy]
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup // the run… goroutines

	mu     sync.Mutex // guards all following fields; taken after a nic's mu where both are needed
	nics   map[Key]*nic
	beat   []chan struct{}
	synced chan struct{}
}

// heartbeatKey is the queue's probe: no domain has this id.
var heartbeatKey = Key{Front: 0xffff, Device: 0xffffffff}

// Start makes an engine and begins to work. It returns once every NIC that exists has been marked; [Engine.Synced] tells when each has been
// looked at.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	e := &Engine{
		cfg: cfg, log: cfg.Logger, paths: newLayout(cfg.Self), hub: NewHub(), table: newLinkTable(), nics: map[Key]*nic{},
		synced: make(chan struct{}),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Workers == 0 {
		e.cfg.Workers = 8
	}
	if cfg.ResyncEvery == 0 && cfg.Self != 0 {
		e.cfg.ResyncEvery = time.Minute
	}
	e.policy.Store(&cfg.Policy)
	e.queue = NewQueue(e.cfg.Workers, e.pass)
	if cfg.Paths != nil {
		pc := *cfg.Paths
		pc.Changed = e.pathChanged
		e.keeper = paths.New(pc)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.startSources(ctx); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

// Close ends the engine. It changes nothing about any NIC: guests keep their traffic.
func (e *Engine) Close() error {
	e.cancel()
	err := e.cfg.Monitor.Close()
	if e.cfg.Uevents != nil {
		err = errors.Join(err, e.cfg.Uevents.Close())
	}
	e.queue.Close()
	e.workers.Wait()
	if e.keeper != nil {
		err = errors.Join(err, e.keeper.Close())
	}
	for _, k := range e.keys() {
		n := e.nic(k)
		n.mu.Lock()
		n.ended = true
		n.arm(0, nil)
		for _, w := range n.waiters {
			w.done <- ErrStopping
		}
		n.waiters = nil
		n.mu.Unlock()
	}
	return err
}

// ErrStopping answers those who wait when the engine ends.
var ErrStopping = errors.New("hotplug: the service is stopping; ask again")

// Events is where domain and NIC events are published.
func (e *Engine) Events() *Hub { return e.hub }

// Synced is closed when every NIC that existed at the start has been looked at once.
func (e *Engine) Synced() <-chan struct{} { return e.synced }

// Networks are the declared networks, as the policy has them now.
func (e *Engine) Networks() Networks { return e.policy.Load().Networks }

// LeftTo says whether a NIC with this script is left to it, by the policy of now.
func (e *Engine) LeftTo(script string) bool {
	return (&Node{Script: script}).leftTo(e.policy.Load().LeaveScripts)
}

// Bridges are the bridges that exist, declared or not.
func (e *Engine) Bridges() ([]bridge.Link, error) {
	links, err := e.cfg.Links.Links()
	if err != nil {
		return nil, fmt.Errorf("hotplug: list the bridges: %w", err)
	}
	return slices.DeleteFunc(links, func(l bridge.Link) bool { return l.Kind != "bridge" }), nil
}

// Store is the store that the engine works with.
func (e *Engine) Store() *xenstore.Client { return e.cfg.Store }

// Self is the domain whose NICs the engine serves.
func (e *Engine) Self() xenstore.DomID { return e.cfg.Self }

// SetPolicy changes the policy and looks at every NIC again.
func (e *Engine) SetPolicy(p Policy) {
	e.policy.Store(&p)
	e.Resync(e.ctx)
	e.lookAtPaths()
}

// Plug has the NIC, or its tap, looked at and waits until it is plugged. The error is a [*Reason] where the engine has decided that it cannot be.
// A tap that is not to be here is fine: QEMU may make it before there is a backend, and a stub domain has it inside.
func (e *Engine) Plug(ctx context.Context, k Key) error {
	return e.ask(ctx, k, Plugged, "vif-plug "+k.command(true))
}

// Follow is Plug after a change of the NIC's nodes by who asks: what was known of it, and its being plugged as it was before, are no answer.
func (e *Engine) Follow(ctx context.Context, k Key) error {
	e.nic(k).touch("")
	return e.await(ctx, k, waiter{want: Plugged, anew: true, done: make(chan error, 1)}, "change of the nodes")
}

// Unplug tells that the toolstack is done with the NIC, or its tap: a port that netback or QEMU has left behind is released. One that is gone is
// fine.
func (e *Engine) Unplug(ctx context.Context, k Key) error {
	n := e.nic(k)
	n.mu.Lock()
	n.mem.OfflineAsked = true
	n.mu.Unlock()
	return e.ask(ctx, k, Gone, "vif-plug "+k.command(false))
}

func (e *Engine) ask(ctx context.Context, k Key, want State, trigger string) error {
	return e.await(ctx, k, waiter{want: want, done: make(chan error, 1)}, trigger)
}

func (e *Engine) await(ctx context.Context, k Key, w waiter, trigger string) error {
	n := e.nic(k)
	n.mu.Lock()
	for n.ended { // it was forgotten between the two lines above
		n.mu.Unlock()
		if e.ctx.Err() != nil {
			return ErrStopping
		}
		n = e.nic(k)
		n.mu.Lock()
	}
	if w.want == Plugged && !w.anew && n.justPlugged() {
		n.mu.Unlock()
		return nil // the watch was first
	}
	n.waiters = append(n.waiters, w)
	n.mu.Unlock()
	e.log.Debug("asked", "vif", k.String(), "trigger", trigger)
	e.queue.AddNow(k)
	select {
	case err := <-w.done:
		return err
	case <-e.ctx.Done():
		return ErrStopping
	case <-ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.reason != nil {
			return n.reason
		}
		return fmt.Errorf("hotplug: %s of %v: no answer in time: %w", trigger, k, context.Cause(ctx))
	}
}

// Alive returns when a worker of the queue has run, which is what the watchdog wants to know.
func (e *Engine) Alive(ctx context.Context) error {
	beat := make(chan struct{}, 1)
	e.mu.Lock()
	e.beat = append(e.beat, beat)
	e.mu.Unlock()
	e.queue.AddNow(heartbeatKey)
	select {
	case <-beat:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hotplug: the engine's queue does not move: %w", context.Cause(ctx))
	}
}

func (e *Engine) answerBeat() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.beat {
		b <- struct{}{}
	}
	e.beat = nil
}

// nic returns the entry of a key, made if need be.
func (e *Engine) nic(k Key) *nic {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.nics[k]
	if n == nil {
		n = &nic{key: k, since: time.Now(), stale: everything}
		e.nics[k] = n
	}
	return n
}

// forget drops the entry of a NIC that is gone, unless somebody waits for it. The caller holds n.mu.
func (e *Engine) forget(n *nic) {
	if len(n.waiters) > 0 {
		return
	}
	n.ended = true
	n.arm(0, nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.nics[n.key] == n {
		delete(e.nics, n.key)
	}
	e.table.unclaim(n.key)
	e.queue.Forget(n.key)
}

// keys lists the NICs in order of domain and device, a NIC's tap behind its netdev.
func (e *Engine) keys() []Key {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Key, 0, len(e.nics))
	for k := range e.nics {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Front, b.Front), cmp.Compare(a.Device, b.Device), tapLast(a.Tap, b.Tap))
	})
	return out
}
