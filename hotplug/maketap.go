package hotplug

import (
	"errors"
	"fmt"
	"strings"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/qemu"
)

// CreateTap makes a tap for a NIC, for QEMU to find or to be handed, and marks it as ours. It is plugged as any tap: when there is a backend for it.
// The caller closes it. o says what it is like; its Name may be "", for libxl's.
func (e *Engine) CreateTap(dom Domain, k Key, o qemu.Options) (*qemu.Tap, error) {
	if o.Name == "" {
		o.Name = k.TapName()
	}
	t, err := qemu.CreateTap(o)
	if err != nil {
		return nil, err
	}
	name := printable(dom.Name, 64)
	if name == "" {
		name = "?"
	}
	mark := network.TapAlias(name, uint16(k.Front), int(k.Device), network.NoBridge, "")
	l, err := e.cfg.Links.LinkByName(bridge.Name(o.Name))
	if err == nil && !strings.HasPrefix(l.Alias, aliasPrefix) { // the engine may have plugged it already
		err = e.cfg.Links.Set(l.Index, bridge.Change{Alias: &mark})
	}
	if err == nil {
		return t, nil
	}
	err = fmt.Errorf("hotplug: mark the tap %s: %w", o.Name, errors.Join(err, t.Close()))
	if o.Persistent {
		err = errors.Join(err, qemu.DeleteTap(o.Name))
	}
	return nil, err
}

// DeleteTap removes a persistent tap that vifplug has made, or made its own. One that QEMU uses stays.
func (e *Engine) DeleteTap(name string) error {
	l, err := e.cfg.Links.LinkByName(bridge.Name(name))
	switch {
	case errors.Is(err, bridge.ErrNotFound):
		return fmt.Errorf("hotplug: there is no tap %s", name)
	case err != nil:
		return fmt.Errorf("hotplug: delete tap %s: %w", name, err)
	case l.Kind != tunKind || !strings.HasPrefix(l.Alias, aliasPrefix):
		return fmt.Errorf("hotplug: %s is not a tap of vifplug's: it is left alone", name)
	}
	return qemu.DeleteTap(name)
}
