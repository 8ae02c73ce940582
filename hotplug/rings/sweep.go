package rings

import (
	"errors"
	"fmt"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// Sweep removes the ports of guests that are no more, whoever has their sockets, and says which: a Maker's own and vif-loop's, which are
// pairs as well. A port made by hand stays.
func (m *Maker) Sweep(lives func(domain uint16) bool) (gone []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	links, err := m.Links.Links()
	if err != nil {
		return nil, fmt.Errorf("rings: look for ports of guests that are no more: %w", err)
	}
	var errs []error
	for _, l := range links {
		n, remove := m.removable(l)
		if remove == nil || lives(n.Domain) {
			continue
		}
		visible, _, _ := n.names()
		if err := remove(); err != nil {
			errs = append(errs, fmt.Errorf("rings: remove %s of a guest that is no more: %w", visible, err))
			continue
		}
		gone = append(gone, string(visible))
	}
	return gone, errors.Join(errs...)
}

// removable says how a link goes with its guest; nil: it does not.
func (m *Maker) removable(l bridge.Link) (NIC, func() error) {
	if n, ours := portOf(l); ours {
		if visible, _, err := n.names(); err == nil && l.Name == visible {
			return n, func() error { return m.remove(n, visible) }
		}
	}
	// Of vif-loop's it is the hidden end that says whose it is, also while it is being made.
	if tap, owner, is := network.HiddenEnd(l); is && owner != network.ByHand {
		var n NIC
		_, err := fmt.Sscanf(string(tap), "tap%d.%d", &n.Domain, &n.Device)
		if visible, _, err2 := n.names(); err == nil && err2 == nil && visible == tap {
			return n, func() error { return m.Links.Delete(l.Name) }
		}
	}
	return NIC{}, nil
}
