package main

import (
	"context"
	"fmt"
	"time"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/control"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// runTaps is the run of --taps.
func runTaps(ctx context.Context, many int) error {
	b := &bench{next: 1}
	defer b.close()
	if err := b.setUp(ctx); err != nil {
		return err
	}
	return b.theTaps(ctx, many)
}

// theTaps has many HVM guests come, each with an emulated NIC whose tap QEMU makes, and measures how long the tap takes from its making until it is
// plugged, and what the daemon costs: with few taps and with many it must be the same.
func (b *bench) theTaps(ctx context.Context, many int) error {
	const some = 20
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan hotplug.Event, 4*many)
	b.done.Add(1)
	go b.runEvents(ctx, events)
	var guests []*standin.QEMU
	defer func() {
		for _, q := range guests {
			q.Close()
		}
	}()
	var took sample
	for i := range many {
		q, d, err := b.tap(ctx, events)
		if err != nil {
			return err
		}
		guests, took = append(guests, q), append(took, d)
		if i+1 == some {
			if err := b.cost(ctx, some); err != nil {
				return err
			}
		}
	}
	if err := b.cost(ctx, many); err != nil {
		return err
	}
	first, last := took[:some].sorted(), took[many-some:].sorted()
	fmt.Printf("from QEMU's making of a tap until it is plugged: %s with the first %d, %s with the last %d of %d: ratio %.2f (wanted 1)\n",
		ms(first.median()), some, ms(last.median()), some, many, ratio(last.median(), first.median()))
	return nil
}

// tap has one guest come, with netback's device plugged, and then its tap.
func (b *bench) tap(ctx context.Context, events <-chan hotplug.Event) (*standin.QEMU, time.Duration, error) {
	n := nic{id: xenstore.DomID(b.next)}
	b.next++
	c := b.config(n.id)
	c.Type = "vif_ioemu"
	if err := b.tools.Attach(ctx, n.id, 0, c); err != nil {
		return nil, 0, err
	}
	n.dir, n.vif = b.tools.BackendDir(n.id, 0), standin.VIF(int(n.id), 0)
	if err := bridgetest.MakeVeth(n.vif, standin.GuestEnd(int(n.id), 0)); err != nil {
		return nil, 0, err
	}
	if err := b.ready(ctx, n); err != nil {
		return nil, 0, err
	}
	if err := until(events, hotplug.NICPlugged, n.vif); err != nil {
		return nil, 0, err
	}
	start := time.Now()
	q, err := standin.StartQEMU(n.vif + "-emu")
	if err != nil {
		return nil, 0, err
	}
	if err := until(events, hotplug.TapPlugged, n.vif); err != nil {
		q.Close()
		return nil, 0, err
	}
	return q, time.Since(start), nil
}

// runEvents passes the daemon's events on.
func (b *bench) runEvents(ctx context.Context, to chan<- hotplug.Event) {
	defer b.done.Done()
	defer close(to)
	_ = control.NewClient(b.socket()).Events(ctx, 0, true, func(ev hotplug.Event) bool {
		select {
		case to <- ev:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

// until reads events up to one of a NIC.
func until(events <-chan hotplug.Event, kind hotplug.Kind, vif string) error {
	late := time.After(10 * time.Second)
	for {
		select {
		case ev, ok := <-events:
			switch {
			case !ok:
				return fmt.Errorf("no %s of %s: the daemon tells no more", kind, vif)
			case ev.Kind == kind && ev.VIF == vif:
				return nil
			}
		case <-late:
			return fmt.Errorf("no %s of %s within 10 s", kind, vif)
		}
	}
}

// cost prints what the daemon costs at rest.
func (b *bench) cost(ctx context.Context, taps int) error {
	if err := b.settle(ctx); err != nil {
		return err
	}
	kb, err := rss(b.daemon.Process.Pid)
	if err != nil {
		return err
	}
	w, c, err := b.atRest(ctx, time.Second)
	if err != nil {
		return err
	}
	fmt.Printf("with %3d taps: %.1f MB resident; at rest %d wake-ups and %.3f ms of CPU a second\n", taps, mb(kb), w, float64(c)/1e6)
	return nil
}
