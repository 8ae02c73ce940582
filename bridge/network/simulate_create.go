package network

import (
	"fmt"
	"maps"
	"strconv"

	"vifplug/bridge"
)

// create makes a device (linux: rtnl_newlink): all of it, or nothing.
func (w *world) create(name bridge.Name, c *Create) error {
	if w.device(name) != nil {
		return fmt.Errorf("%s %w", name, bridge.ErrExists)
	}
	d := bridge.Device{Name: name, Kind: c.Kind, On: c.On, VLAN: c.VLAN, Settings: bridge.Settings{
		bridge.KeyMTU: strconv.Itoa(ethernetMTU), bridge.KeyAlias: "", bridge.KeyUp: "0",
	}}
	switch c.Kind {
	case "bridge":
		defaultOptions(d.Settings, bridge.BridgeOptions)
	case "bond":
		d.Settings[bridge.KeyMode] = bridge.BondModes[0]
		defaultOptions(d.Settings, bridge.BondOptions)
	case "vlan":
		if err := w.vlanOn(&d); err != nil {
			return err
		}
	default:
		return fmt.Errorf("devices of kind %q are not made by plans: %w", c.Kind, bridge.ErrUnsupported)
	}
	w.add(d)
	set := c.Settings.Clone()
	up := set[bridge.KeyUp]
	delete(set, bridge.KeyUp)
	if err := w.set(name, set); err != nil {
		return err
	}
	if up == "1" {
		if err := w.set(name, bridge.Settings{bridge.KeyUp: up}); err != nil {
			return err
		}
	}
	if c.Master != "" {
		return w.master(name, c.Master)
	}
	return nil
}

func defaultOptions(s bridge.Settings, options []bridge.Option) {
	for _, o := range options {
		s[o.Key] = o.Default
	}
}

// vlanOn fits a VLAN device onto what it stands on, whose MTU and MAC address it takes (linux: vlan_newlink).
func (w *world) vlanOn(d *bridge.Device) error {
	lower := w.device(d.On)
	if lower == nil {
		return fmt.Errorf("%s: %w", d.On, bridge.ErrNotFound)
	}
	if d.VLAN < 1 || d.VLAN > 4094 {
		return fmt.Errorf("%d is no VLAN: %w", d.VLAN, bridge.ErrInvalid)
	}
	for _, other := range w.uppers[d.On] {
		if w.device(other).VLAN == d.VLAN {
			return fmt.Errorf("VLAN %d on %s %w: %s", d.VLAN, d.On, bridge.ErrExists, other)
		}
	}
	inherited := bridge.Settings{}
	for _, k := range []bridge.Key{bridge.KeyMTU, bridge.KeyMAC} {
		delete(d.Settings, k)
		if v, known := lower.Settings[k]; known {
			inherited[k] = v
		}
	}
	maps.Copy(d.Settings, inherited)
	return nil
}
