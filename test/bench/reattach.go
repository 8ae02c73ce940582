package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/xenstore"
)

// big is a bridge with as many ports as the kernel nearly allows.
const big = "xenbig"

// theReturn moves the storm's NICs to one bridge by their backend nodes, deletes that bridge, and makes it again, as whoever keeps it would.
// The times are from the change to the last port.
func (b *bench) theReturn(ctx context.Context, ids []xenstore.DomID) error {
	ports, err := openPorts()
	if err != nil {
		return err
	}
	defer ports.monitor.Close() //nolint:errcheck // it has served
	if err := bridgetest.MakeBridge(big, 1500); err != nil {
		return err
	}
	err = b.client.Transaction(ctx, func(tx *xenstore.Tx) error {
		for _, id := range ids {
			if err := tx.Write(ctx, fmt.Sprintf("/local/domain/0/backend/vif/%d/0/bridge", id), big); err != nil {
				return err
			}
		}
		return nil
	})
	start := time.Now()
	if err == nil {
		err = ports.on(big, len(ids))
	}
	if err != nil {
		return err
	}
	fmt.Printf("\n%d NICs moved to one bridge by their nodes: all there after %s\n", len(ids), ms(time.Since(start)))
	if err := b.settle(ctx); err != nil {
		return err
	}
	if err := bridgetest.Delete(big); err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	start = time.Now()
	if err := bridgetest.MakeBridge(big, 1500); err != nil {
		return err
	}
	if err := ports.on(big, len(ids)); err != nil {
		return err
	}
	fmt.Printf("a bridge comes back: its %d ports are on it after %s (wanted 1,000 ms at most for 1,000)\n", len(ids), ms(time.Since(start)))
	return nil
}

// ports counts by the kernel's events.
type ports struct{ monitor *bridge.Monitor }

func openPorts() (*ports, error) {
	m, err := bridge.OpenMonitor()
	return &ports{m}, err
}

// on waits until a bridge has as many ports, all up.
func (p *ports) on(name string, want int) error {
	index, err := bridgetest.Index(name)
	if err != nil {
		return err
	}
	seen := map[int]bool{}
	for len(seen) < want {
		events, err := p.monitor.Receive()
		if errors.Is(err, bridge.ErrOverflow) {
			return fmt.Errorf("the events of %d ports were too many to count", want)
		}
		if err != nil {
			return err
		}
		for _, e := range events {
			if !e.Deleted && e.Link.Master == index && e.Link.Up {
				seen[e.Link.Index] = true
			}
		}
	}
	return nil
}
