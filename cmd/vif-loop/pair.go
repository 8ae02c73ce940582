package main

import (
	"errors"
	"fmt"
	"log/slog"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/qemu/loop"
)

// pair is a veth pair: the guest's port, and the hidden end that the loop opens.
type pair struct {
	tap    bridge.Name
	hidden bridge.Name
	owner  string // whose: "NAME.N", or "hand"
	mark   string // the port's ifalias, where vifplug has not put another there
	bridge bridge.Name
	mtu    int // of the port; 0: as it is
	log    *slog.Logger
}

const (
	handMark = "vifplug: port by hand"
	// largestMTU is the hidden end's: it is the port's that limits frames (linux: drivers/net/veth.c asks the receiving end).
	largestMTU = 65535
)

// portMAC is libxl's for ports: none is higher, so that no bridge, which takes the lowest, ever has it.
var portMAC = bridge.MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}

// make makes the pair, or adopts it as an earlier loop has left it, and gives the hidden end's index. Pairs of this guest's former domains go.
func (p *pair) make() (int, error) {
	c, err := bridge.Open()
	if err != nil {
		return 0, err
	}
	defer c.Close() //nolint:errcheck // nothing is pending
	links, err := c.Links()
	if err != nil {
		return 0, err
	}
	if err := p.removeOthers(c, links); err != nil {
		return 0, err
	}
	there, err := p.find(links)
	if err == nil && !there {
		err = c.CreateVeth(p.tap, p.hidden, network.HiddenAlias(p.tap, p.owner), 0)
	}
	if err != nil {
		return 0, fmt.Errorf("make the port %s: %w", p.tap, err)
	}
	index, err := p.settle(c)
	if err != nil {
		return 0, fmt.Errorf("set up the port %s: %w", p.tap, err)
	}
	return index, nil
}

// find says whether the pair is there, and refuses what only looks like it.
func (p *pair) find(links []bridge.Link) (bool, error) {
	var tap, hidden *bridge.Link
	for i := range links {
		switch links[i].Name {
		case p.tap:
			tap = &links[i]
		case p.hidden:
			hidden = &links[i]
		}
	}
	if tap == nil && hidden == nil {
		return false, nil
	}
	if tap != nil && hidden != nil && tap.Kind == "veth" {
		if of, owner, is := network.HiddenEnd(*hidden); is && of == p.tap && owner == p.owner {
			return true, nil
		}
	}
	return false, fmt.Errorf("%w: %s or %s is there, and was not made by vif-loop for %s. If nobody needs it: ip link delete", bridge.ErrExists, p.tap, p.hidden, p.owner)
}

// removeOthers removes this guest's pairs of other numbers, and a pair of this number that was another guest's: those domains are gone. What was made by
// hand goes by hand.
func (p *pair) removeOthers(c *bridge.Conn, links []bridge.Link) error {
	if p.owner == network.ByHand {
		return nil
	}
	for _, l := range links {
		if p.isOther(l) {
			p.log.Info("removing the port of a former domain", "hidden_end", l.Name, "was", l.Alias)
			if err := c.Delete(l.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// isOther says that a link is the hidden end of a pair that is to go.
func (p *pair) isOther(l bridge.Link) bool {
	_, owner, is := network.HiddenEnd(l)
	return is && owner != network.ByHand && (owner == p.owner) != (l.Name == p.hidden)
}

// settle has both ends be as they must, however far an earlier loop came. The port is marked last: who goes by the mark finds it ready.
func (p *pair) settle(c *bridge.Conn) (int, error) {
	hidden, err := c.LinkByName(p.hidden)
	if err != nil {
		return 0, err
	}
	if err := c.NoOffloads(p.tap); err != nil {
		return 0, err
	}
	if err := c.IgnoreIPv6(p.hidden); err != nil {
		return 0, err
	}
	if err := p.deafen(c, hidden.Index); err != nil {
		return 0, err
	}
	up := true
	if err := c.Set(hidden.Index, bridge.Change{MTU: largestMTU, Up: &up}); err != nil {
		return 0, err
	}
	tap, err := c.LinkByName(p.tap)
	if err != nil {
		return 0, err
	}
	if a, ours := network.ParseAlias(tap.Alias); !ours || !a.Tap {
		if err := c.IgnoreIPv6(p.tap); err != nil {
			return 0, err
		}
		if err := c.Set(tap.Index, bridge.Change{Alias: &p.mark}); err != nil {
			return 0, err
		}
		// Of another ifalias the kernel tells only where the device is up (linux: net/core/dev.c netdev_state_change), and up it must not be before it stands
		// in its bridge: the guest would reach the host by it. Of an address it tells, and this one the port is to have anyway.
		if err := c.Set(tap.Index, bridge.Change{MAC: &portMAC}); err != nil {
			return 0, err
		}
	}
	return hidden.Index, p.plug(c, tap)
}

// deafen keeps the frames that the hidden end receives from the host's own stack.
func (p *pair) deafen(c *bridge.Conn, index int) error {
	drop, err := loop.NewBlackhole()
	if err != nil {
		return err
	}
	defer drop.Close() //nolint:errcheck // the filter has it
	err = c.AttachClassifier(index, drop.FD(), loop.BlackholeName)
	if errors.Is(err, bridge.ErrUnsupported) {
		p.log.Warn("the host's own stack will see the guest's broadcasts twice: this kernel cannot drop them (modules sch_ingress, cls_bpf)", "err", err)
		return nil
	}
	return err
}

// plug puts the port on its bridge, where vifplugd is not to.
func (p *pair) plug(c *bridge.Conn, tap bridge.Link) error {
	if p.bridge == "" {
		return nil
	}
	br, err := c.LinkByName(p.bridge)
	if err != nil {
		return err
	}
	if br.Kind != "bridge" {
		return fmt.Errorf("%s is no bridge", p.bridge)
	}
	if err := c.IgnoreIPv6(p.tap); err != nil {
		return err
	}
	if tap.Master != br.Index {
		if err := c.Set(tap.Index, bridge.Change{MAC: &portMAC, MTU: p.mtu, Master: &br.Index}); err != nil {
			return err
		}
	}
	up := true
	return c.Set(tap.Index, bridge.Change{Up: &up})
}

// removePorts removes the port of that name, or those of the guest's NIC, the guest being there or not.
func (o *options) removePorts(log *slog.Logger) error {
	c, err := bridge.Open()
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing is pending
	links, err := c.Links()
	if err != nil {
		return err
	}
	if o.guest == "" {
		tap := bridge.Name(o.tap)
		p := &pair{tap: tap, hidden: network.HiddenName(tap), owner: network.ByHand}
		there, err := p.find(links)
		if err != nil || !there {
			return err
		}
		return c.Delete(p.hidden)
	}
	var errs []error
	for _, l := range links {
		if tap, owner, is := network.HiddenEnd(l); is && owner == o.owner() {
			log.Info("removing the port", "port", tap, "of", owner)
			errs = append(errs, c.Delete(l.Name))
		}
	}
	return errors.Join(errs...)
}
