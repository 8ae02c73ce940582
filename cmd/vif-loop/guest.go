package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/control"
)

// pair says what the port is called, whose it is, and how long its frames may be.
func (o *options) pair(ctx context.Context, log *slog.Logger) (*pair, int, error) {
	p := &pair{tap: bridge.Name(o.tap), owner: network.ByHand, mark: handMark, bridge: bridge.Name(o.bridge), log: log}
	near := p.bridge
	if o.guest != "" {
		id, br, err := o.lookForGuest(ctx)
		if err != nil {
			return nil, 0, err
		}
		p.tap = bridge.Name(fmt.Sprintf("tap%d.%d", id, o.nic))
		p.owner = o.owner()
		p.mark = network.MadeTapAlias(id, int(o.nic), "socket")
		if near == "" {
			near = br
		}
	} else if k, err := hotplug.ParseTap(o.tap); err == nil && o.bridge == "" {
		p.mark = network.MadeTapAlias(uint16(k.Front), int(k.Device), "socket")
	}
	p.hidden = network.HiddenName(p.tap)
	mtu, err := o.mtuNear(near, p.tap)
	p.mtu = mtu
	return p, mtu, err
}

// owner is what a pair of a guest's is marked with.
func (o *options) owner() string { return fmt.Sprintf("%s.%d", o.guest, o.nic) }

// mtuNear is how long frames may be: as was said, else as the bridge has it, else as the port has it already.
func (o *options) mtuNear(br, tap bridge.Name) (int, error) {
	if o.mtu != 0 {
		return o.mtu, nil
	}
	c, err := bridge.Open()
	if err != nil {
		return 0, err
	}
	defer c.Close() //nolint:errcheck // nothing is pending
	for _, name := range []bridge.Name{br, tap} {
		if name == "" {
			continue
		}
		if l, err := c.LinkByName(name); err == nil {
			return l.MTU, nil
		}
	}
	return 0, nil
}

// again is how often vifplugd is asked for a guest that it does not know yet: QEMU is started, and may connect, before all of the guest is there.
const again = 200 * time.Millisecond

// lookForGuest asks vifplugd for a guest's number, and for the bridge of its NIC where that has one.
func (o *options) lookForGuest(ctx context.Context) (id uint16, br bridge.Name, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	client, tick := control.NewClient(o.control), time.NewTicker(again)
	defer tick.Stop()
	for {
		s, err := client.Status(ctx)
		if err == nil {
			if id, br, err = findGuest(s, o.guest, uint32(o.nic)); err == nil {
				return id, br, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, "", fmt.Errorf("find the guest %q: %w", o.guest, err)
		case <-tick.C:
		}
	}
}

var errNoGuest = errors.New("vifplugd knows no such guest")

// findGuest finds the guest of a name. One that is being restarted may be there twice for a moment: then it is the later one.
func findGuest(s control.Status, name string, nic uint32) (id uint16, br bridge.Name, err error) {
	err = errNoGuest
	for _, d := range s.Domains {
		if d.Name == name && (err != nil || d.ID > id) {
			id, err = d.ID, nil
		}
	}
	for _, n := range s.NICs {
		if err == nil && n.Domain.ID == id && n.Device == nic && n.Backend != nil {
			br = bridge.Name(n.Backend.Bridge)
		}
	}
	return id, br, err
}
