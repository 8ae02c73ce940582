package hotplug

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vifplug/bridge"
	"vifplug/udev"
	"vifplug/xenstore"
)

// startSources opens what the hints come from and starts their goroutines. The sources come before the first look at the world, so that no
// change falls between the two.
func (e *Engine) startSources(ctx context.Context) error {
	e.start(e.runLinks)
	if err := e.dumpLinks(); err != nil {
		return err
	}
	root := e.paths.root
	if e.cfg.Only != nil {
		root = e.paths.backend(*e.cfg.Only)
	}
	w, err := e.cfg.Store.Watch(ctx, root, xenstore.WatchOptions{Key: e.eventKey})
	if err != nil {
		return fmt.Errorf("hotplug: watch %s: %w", root, err)
	}
	e.watch = w
	if e.cfg.Only == nil {
		if e.guests, err = startDomains(ctx, e); err != nil {
			return err
		}
		if e.cfg.Uevents != nil {
			e.start(e.runUevents)
		}
	}
	e.start(e.runStore)
	return nil
}

func (e *Engine) start(run func()) {
	e.workers.Add(1)
	go e.runOne(run)
}

func (e *Engine) runOne(run func()) {
	defer e.workers.Done()
	run()
}

// eventKey reduces a path below the vif directory to what its event can mean, so that pending events are bounded by the NICs: feature flags
// and the like mean nothing. It also marks what must be read anew: it is called before any reply that the store sent after the event is seen,
// so a run that has read a value from before the event finds out.
func (e *Engine) eventKey(path string) (string, bool) {
	k, leaf, depth := e.paths.split(path)
	switch {
	case depth < 0 || depth == 3 && !decisive[leaf]:
		return "", false
	case depth < 2:
		e.touchAll(k.Front, depth == 0)
	default:
		e.touch(k, leaf)
	}
	return path, true
}

// touch marks a value of a known NIC, which is its tap's as well. One that gets known later is read from the start.
func (e *Engine) touch(k Key, leaf string) {
	e.mu.Lock()
	n, tap := e.nics[k], e.nics[k.tap()]
	e.mu.Unlock()
	for _, n := range []*nic{n, tap} {
		if n != nil {
			n.touch(leaf)
		}
	}
}

// touchAll marks every value of a domain's NICs, or of all.
func (e *Engine) touchAll(front xenstore.DomID, all bool) {
	e.mu.Lock()
	var known []*nic
	for k, n := range e.nics {
		if all || k.Front == front {
			known = append(known, n)
		}
	}
	e.mu.Unlock()
	for _, n := range known {
		n.touch("")
	}
}

// decisive are the nodes whose change makes a look worth while: those that observe reads, and the like of them.
var decisive = func() map[string]bool {
	m := map[string]bool{}
	for _, k := range nodeKeys {
		m[k] = true
	}
	return m
}()

// runStore marks the NICs of store events.
func (e *Engine) runStore() {
	first := true
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.watch.Ready():
		}
		for _, ev := range e.watch.Take() {
			k, _, depth := e.paths.split(ev.Path)
			switch {
			case ev.Resync || depth == 0:
				e.Resync(e.ctx)
				if first {
					first = false
					e.start(e.runSynced)
				}
			case depth == 1:
				e.resyncDomain(e.ctx, k.Front)
			case depth >= 2:
				e.markNode(k)
				if first && e.cfg.Only != nil {
					first = false
					e.start(e.runSynced)
				}
			}
		}
	}
}

// markNode marks those whose backend node has changed.
func (e *Engine) markNode(k Key) {
	e.mark(k)
	if e.knows(k.tap()) {
		e.mark(k.tap())
	}
}

func (e *Engine) knows(k Key) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.nics[k] != nil
}

// runSynced closes synced once every NIC that the first scan marked has been looked at.
func (e *Engine) runSynced() {
	e.queue.Settle(e.ctx)
	close(e.synced)
	if e.keeper == nil || e.cfg.Only != nil {
		return
	}
	if err := e.keeper.Sweep(e.ctx); err != nil && e.ctx.Err() == nil {
		e.log.Warn("cannot look for guards of an earlier life", "err", err)
	}
}

// markAll has a NIC looked at with nothing taken for known.
func (e *Engine) markAll(k Key) {
	e.nic(k).touch("")
	e.queue.Add(k)
}

// Resync marks every NIC that the store or the engine knows. It is the same whatever made it necessary: start, reconnect, lost events, SIGHUP.
func (e *Engine) Resync(ctx context.Context) {
	for _, k := range e.keys() {
		e.markAll(k)
	}
	if e.cfg.Only != nil {
		e.markAll(*e.cfg.Only)
		return
	}
	fronts, err := e.cfg.Store.Directory(ctx, e.paths.root)
	if err != nil {
		e.scanFailed(e.paths.root, err)
		return
	}
	ops := make([]xenstore.Op, 0, len(fronts))
	ids := make([]xenstore.DomID, 0, len(fronts))
	for _, name := range fronts {
		if id, err := xenstore.ParseDomID(name); err == nil {
			ids = append(ids, id)
			ops = append(ops, xenstore.DirectoryOp(e.paths.root+"/"+name))
		}
	}
	const some = 64 // pipelined at a time: bounds what is in flight
	for len(ops) > 0 {
		n := min(some, len(ops))
		res, err := e.cfg.Store.Pipeline(ctx, ops[:n]...)
		if err != nil {
			e.scanFailed(e.paths.root, err)
			return
		}
		for i, r := range res {
			e.markDevices(ids[i], r.List)
		}
		ops, ids = ops[n:], ids[n:]
	}
}

func (e *Engine) markDevices(front xenstore.DomID, devices []string) {
	for _, d := range devices {
		if n, err := parseDecimal(d, 32); err == nil {
			e.markAll(Key{Front: front, Device: uint32(n)})
		}
	}
}

// scanFailed notes a scan that the store broke off. A lost connection brings its own resync; an absent directory is a host without NICs.
func (e *Engine) scanFailed(path string, err error) {
	if !errors.Is(err, xenstore.ENOENT) && !errors.Is(err, xenstore.ErrDisconnected) && !errors.Is(err, context.Canceled) && !errors.Is(err, xenstore.ErrClosed) {
		e.log.Warn("cannot list the backends", "path", path, "err", err)
	}
}

// resyncDomain marks one domain's NICs: those known and those in the store.
func (e *Engine) resyncDomain(ctx context.Context, front xenstore.DomID) {
	for _, k := range e.keys() {
		if k.Front == front {
			e.markAll(k)
		}
	}
	path := fmt.Sprintf("%s/%d", e.paths.root, front)
	devices, err := e.cfg.Store.Directory(ctx, path)
	if err != nil {
		e.scanFailed(path, err)
		return
	}
	e.markDevices(front, devices)
}

// runLinks marks the NICs of link events. Lost events mean: dump all and mark all.
func (e *Engine) runLinks() {
	for {
		events, err := e.cfg.Monitor.Receive()
		switch {
		case e.ctx.Err() != nil:
			return
		case errors.Is(err, bridge.ErrOverflow):
			e.log.Warn("the kernel dropped link events; looking at everything again")
			if err := e.dumpLinks(); err != nil {
				e.log.Error("cannot list the links", "err", err)
			}
			e.Resync(e.ctx)
		case err != nil:
			e.log.Error("cannot receive link events", "err", err)
			if !e.pause(time.Second) {
				return
			}
		}
		for _, ev := range events {
			for _, k := range e.table.event(ev) {
				e.mark(k)
			}
		}
	}
}

// mark adds a key that an event named, where it may be served here.
func (e *Engine) mark(k Key) {
	if e.cfg.Only == nil || *e.cfg.Only == k {
		e.queue.Add(k)
	}
}

// dumpLinks brings the link table up to date and marks what a change concerns.
func (e *Engine) dumpLinks() error {
	links, err := e.cfg.Links.Links()
	if err != nil {
		return fmt.Errorf("hotplug: list the links: %w", err)
	}
	for _, k := range e.table.reset(links) {
		e.mark(k)
	}
	return nil
}

// runUevents marks the NICs of xen-backend uevents. They repeat what the store and rtnetlink say, at times earlier.
func (e *Engine) runUevents() {
	for {
		ev, err := e.cfg.Uevents.Receive()
		switch {
		case e.ctx.Err() != nil:
			return
		case errors.Is(err, udev.ErrOverflow):
			e.Resync(e.ctx)
		case err != nil:
			e.log.Error("cannot receive uevents", "err", err)
			if !e.pause(time.Second) {
				return
			}
		default:
			if front, device, ok := ev.Backend(); ok {
				e.queue.Add(Key{Front: xenstore.DomID(front), Device: device})
			}
		}
	}
}

// pause waits; it says false when the engine ends.
func (e *Engine) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-e.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
