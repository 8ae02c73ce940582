package main

import (
	"context"
	"strings"

	"vifplug/bridge"
	"vifplug/hotplug"
	"vifplug/hotplug/rings"
	"vifplug/xenstore"
)

// makeRings has ports for QEMUs at AF_XDP rings made, by a connection to the kernel of their own, so that no NIC waits for them.
func (d *daemon) makeRings() error {
	links, err := bridge.Open()
	if err != nil {
		return err
	}
	d.closers = append(d.closers, links)
	d.rings = &rings.Maker{Links: links, Pins: d.opt.bpfDir}
	return nil
}

// runRings removes the ports of guests that are no more: those that ended while nobody was here, and those that end.
func (d *daemon) runRings(ctx context.Context, store *xenstore.Client) {
	defer d.tasks.Done()
	select {
	case <-ctx.Done():
		return
	case <-d.engine.Synced():
	}
	events := d.engine.Events().Subscribe(^uint64(0)) // new ones alone
	defer events.Close()
	for sweep := true; ; sweep = false {
		for _, e := range events.Take() {
			sweep = sweep || e.Kind == hotplug.DomainDestroyed
		}
		if sweep {
			d.sweepRings(ctx, store)
		}
		select {
		case <-ctx.Done():
			return
		case <-events.Ready():
		}
	}
}

// sweepRings removes no port of a guest of which the store does not say that it is no more.
func (d *daemon) sweepRings(ctx context.Context, store *xenstore.Client) {
	gone, err := d.rings.Sweep(func(domain uint16) bool {
		lives, err := store.Introduced(ctx, xenstore.DomID(domain))
		return err != nil || lives
	})
	if err != nil {
		d.log.Warn("cannot remove ports of guests that are no more", "err", err)
	}
	if len(gone) > 0 {
		d.log.Info("ports removed that were made for guests, since those are no more", "taps", strings.Join(gone, " "))
	}
}
