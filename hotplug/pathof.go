package hotplug

import (
	"cmp"
	"context"
	"fmt"

	"vifplug/bridge"
	"vifplug/hotplug/paths"
)

// The engine plugs ports, the keeper of paths has their frames go fast: the engine tells it of every plugged port, and never waits for it. The one
// exception is a guard, which a port must have before it is up.

// portName is the fixed name by which the keeper knows a port.
func (k Key) portName() string {
	if k.Tap {
		return k.VIF() + emuSuffix
	}
	return k.VIF()
}

// wishOf is what the keeper must know of a port.
func (e *Engine) wishOf(f Facts) paths.Wish {
	p, n := e.policy.Load(), f.Node
	w := paths.Wish{
		Port: f.Key.portName(), NIC: fmt.Sprintf("%d.%d", f.Key.Front, f.Key.Device), Name: f.Link.Name, Index: f.Link.Index, Bridge: f.Link.Master, MTU: f.Link.MTU,
		Path: p.Path, Guard: p.Guard,
	}
	w.MAC, _ = bridge.ParseMAC(n.MAC) // the zero address where there is none
	if n.Network != nil {
		w.Path, w.Guard = cmp.Or(n.Network.Path, w.Path), cmp.Or(n.Network.Guard, w.Guard)
	}
	w.Path = cmp.Or(n.Path, w.Path)
	if f.Key.Tap {
		w.Made = madeFor(f.Link)
	}
	return w
}

// observeGuard finds out whether the port is to be guarded, and whether it is.
func (e *Engine) observeGuard(f *Facts) {
	if f.Link == nil || e.keeper == nil {
		return
	}
	w := e.wishOf(*f)
	f.Guard = w.Guard == paths.MAC
	f.Guarded = f.Guard && e.keeper.Guarded(w.Index, w.MAC)
}

// tellKeeper tells the outcome of a run.
func (e *Engine) tellKeeper(k Key, f Facts, d Decision) {
	switch {
	case e.keeper == nil || e.cfg.Only != nil: // who serves one NIC ends with it, and a path with him
	case d.State == Plugged && f.Link != nil && f.Link.Master != 0:
		e.keeper.Want(e.wishOf(f))
	default:
		e.keeper.Unwant(k.portName())
	}
}

// pathOf is the path of a plugged port; nil: none is known.
func (e *Engine) pathOf(k Key) *paths.State {
	if e.keeper == nil {
		return nil
	}
	s, ok := e.keeper.State(k.portName())
	if !ok {
		return nil
	}
	if c, on := e.keeper.Counters(k.portName()); on {
		s.Redirected, s.Dropped = c.Redirected, c.Dropped
	}
	return &s
}

// lookAtPaths has what cannot be watched looked at again.
func (e *Engine) lookAtPaths() {
	if e.keeper != nil {
		e.keeper.Look()
	}
}

// pathChanged tells of another path.
func (e *Engine) pathChanged(port string, s paths.State) {
	k, err := ParseVIF(port)
	if err != nil {
		if k, err = ParseTap(port); err != nil {
			return
		}
	}
	e.mu.Lock()
	n := e.nics[k]
	e.mu.Unlock()
	if n == nil {
		return
	}
	n.mu.Lock()
	f := n.facts
	n.mu.Unlock()
	ev := Event{Kind: NICPath.of(k), Domain: f.Domain, VIF: k.VIF(), Detail: s.With() + ": " + s.Reason}
	if f.Node != nil {
		ev.Bridge, ev.Network = printable(f.Node.bridgeName(), 64), f.Node.networkName()
	}
	if f.Link != nil {
		ev.Netdev = string(f.Link.Name)
	}
	e.tell(e.hub.Publish(ev))
}

// PathsSettled waits until the NIC's path is decided for what is known now.
func (e *Engine) PathsSettled(ctx context.Context, k Key) error {
	if e.keeper == nil {
		return nil
	}
	if e.knows(k.tap()) { // its worker may still have to tell
		if err := e.Plug(ctx, k.tap()); err != nil {
			e.log.Debug("a tap that is not plugged has no path", "vif", k.String(), "err", err)
		}
	}
	return e.keeper.Settle(ctx)
}
