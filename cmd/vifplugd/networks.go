package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/host"
	"vifplug/bridge/network"
	"vifplug/hotplug"
)

// networks keeps the declared networks of the host.
type networks struct {
	*host.Manager
	conn    *bridge.Conn
	changed chan struct{} // another declaration holds: the engine's policy must follow

	mu     sync.Mutex // guards all following fields
	engine *hotplug.Engine
	early  []hotplug.Event // what happened before there was an engine
}

// startNetworks goes on where an earlier daemon left off, makes the host as it was declared, and keeps it so. When it returns, what can be made has
// been: a daemon that ends right afterwards, for want of a store, has done that much.
func startNetworks(ctx context.Context, stateDir string, log *slog.Logger) (*networks, error) {
	n := &networks{changed: make(chan struct{}, 1)}
	var err error
	if n.conn, err = bridge.Open(); err != nil {
		return nil, err
	}
	n.Manager, err = host.New(host.Options{Kernel: n.conn, Dir: stateDir, Logger: log, Notify: n.notify, Guests: n.guests})
	if err != nil {
		_ = n.conn.Close()
		return nil, err
	}
	if err := n.begin(ctx, log); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *networks) begin(ctx context.Context, log *slog.Logger) error {
	if err := n.Recover(ctx); err != nil {
		// An undo that met an error has been told. Whatever is wrong with the host's networks, guests are served.
		log.Error("the networks could not be recovered", "err", err)
	}
	if err := n.Reconcile(ctx); err != nil {
		log.Error("the networks could not be made as they were applied", "err", err)
	}
	m, err := bridge.OpenHostMonitor()
	if err != nil {
		return err
	}
	n.Start(m)
	return nil
}

// Close stops keeping the networks. It changes nothing about them.
func (n *networks) Close() error { return errors.Join(n.Manager.Close(), n.conn.Close()) }

// notify passes the manager's events on to whoever listens.
func (n *networks) notify(e host.Event) {
	switch e.Kind {
	case host.ApplyDone, host.ApplyWaiting, host.ApplyConfirmed, host.ApplyUndone, host.ApplyStuck, host.ApplyDropped:
		select {
		case n.changed <- struct{}{}:
		default: // one is enough
		}
	}
	event := hotplug.Event{Kind: hotplug.Kind(e.Kind), Netdev: string(e.Device), Network: e.Network, Detail: e.Text, Time: e.Time}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.engine == nil {
		n.early = append(n.early, event)
		return
	}
	n.engine.Events().Publish(event)
}

// join tells the engine's listeners what happened before it, and from now on what happens.
func (n *networks) join(e *hotplug.Engine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, event := range n.early {
		e.Events().Publish(event)
	}
	n.engine, n.early = e, nil
}

func (n *networks) guests() []network.Guest {
	n.mu.Lock()
	engine := n.engine
	n.mu.Unlock()
	if engine == nil {
		return nil
	}
	return engine.Guests()
}

// followNetworks gives the engine the networks of the declaration that holds.
func (d *daemon) followNetworks() {
	d.engine.SetPolicy(d.policy())
}

// policy is the configuration's, with the flags and the networks that hold.
func (d *daemon) policy() hotplug.Policy {
	p := d.cfg.Load().Policy
	spec, _, err := d.networks.Current()
	if err != nil {
		d.log.Error("the declaration that holds cannot be read: guests' NICs know no networks by name", "err", err)
	}
	p.AnyNetdev, p.Networks = d.opt.anyNetdev, hotplug.NetworksOf(spec)
	return p
}

func (d *daemon) runNetworks(ctx context.Context) {
	defer d.tasks.Done()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.networks.changed:
			d.followNetworks()
		}
	}
}

// What a changed configuration has done with the networks that it declares.
const (
	watchOff   = "off"
	watchPlan  = "plan"
	watchApply = "apply"
)

// declare takes a changed declaration: it is planned and logged, and carried out only where the flag says so.
func (d *daemon) declare(spec network.Spec) {
	switch d.opt.watchConfig {
	case watchPlan:
		d.networks.Preview(spec, d.networks.guests())
	case watchApply:
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := d.networks.Apply(ctx, spec, host.ApplyOptions{Confirm: host.Never, Guests: d.networks.guests()}); err != nil {
			d.log.Error("the changed networks could not be applied", "err", err)
		}
	}
}
