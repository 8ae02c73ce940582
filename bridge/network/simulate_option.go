package network

import (
	"fmt"
	"maps"
	"slices"

	"vifplug/bridge"
)

const keyPrimary bridge.Key = "primary"

// setOptions changes the options of a bond or a bridge.
func (w *world) setOptions(name bridge.Name, s bridge.Settings) error {
	if mode, has := s[bridge.KeyMode]; has {
		if err := w.setMode(name, mode); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		switch key {
		case bridge.KeyMode, bridge.KeyMTU, bridge.KeyMAC, bridge.KeyAlias, bridge.KeyUp:
			continue
		}
		if err := w.setOption(name, key, s[key]); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) setOption(name bridge.Name, key bridge.Key, value string) error {
	d := w.device(name)
	o := bridge.BridgeOption(key)
	if d.Kind == "bond" {
		o = bridge.BondOption(key)
	}
	if o == nil || d.Kind != "bond" && d.Kind != "bridge" {
		return fmt.Errorf("%s has no setting %s: %w", name, key, bridge.ErrUnsupported)
	}
	if err := o.Check(value); err != nil {
		return fmt.Errorf("%w: %w", err, bridge.ErrInvalid)
	}
	if d.Kind == "bond" {
		if err := w.bondTakes(d, o, value); err != nil {
			return err
		}
	}
	set := w.edit(name).Settings
	set[key] = value
	switch {
	case key == miimon && value != "0" && set[arpInterval] != "":
		set[arpInterval] = "0"
	case key == arpInterval && value != "0":
		set[miimon] = "0"
	}
	return nil
}

// bondTakes refuses what the bonding driver does, also where nothing would change (linux: bond_opt_check_deps).
func (w *world) bondTakes(d *bridge.Device, o *bridge.Option, value string) error {
	switch mode := d.Settings[bridge.KeyMode]; {
	case !o.In(mode):
		return fmt.Errorf("a bond in mode %s has no %s: %w", mode, o.Key, bridge.ErrInvalid)
	case o.Empty && len(w.ports[d.Name]) > 0:
		return fmt.Errorf("%s of %s can be changed only while it has no ports: %w", o.Key, d.Name, bridge.ErrBusy)
	case o.Down && d.Settings[bridge.KeyUp] == "1":
		return fmt.Errorf("%s of %s can be changed only while it is down: %w", o.Key, d.Name, bridge.ErrBusy)
	case o.Kind == "device" && value != "" && !slices.Contains(w.ports[d.Name], bridge.Name(value)):
		return fmt.Errorf("%s is no port of %s: %w", value, d.Name, bridge.ErrInvalid)
	}
	return nil
}

// setMode changes a bond's mode, and with it what the new mode cannot have (linux: bond_option_mode_set).
func (w *world) setMode(name bridge.Name, mode string) error {
	d := w.device(name)
	switch {
	case d.Kind != "bond" || !slices.Contains(bridge.BondModes, mode):
		return fmt.Errorf("%s has no mode %q: %w", name, mode, bridge.ErrInvalid)
	case mode == d.Settings[bridge.KeyMode] && len(w.ports[name]) == 0 && d.Settings[bridge.KeyUp] != "1":
		return nil
	case len(w.ports[name]) > 0:
		return fmt.Errorf("the mode of %s can be changed only while it has no ports: %w", name, bridge.ErrBusy)
	case d.Settings[bridge.KeyUp] == "1":
		return fmt.Errorf("the mode of %s can be changed only while it is down: %w", name, bridge.ErrBusy)
	}
	s := w.edit(name).Settings
	s[bridge.KeyMode] = mode
	if arp := bridge.BondOption(arpInterval); !arp.In(mode) {
		if s[arpInterval] = "0"; s[miimon] == "0" || s[miimon] == "" {
			s[miimon] = DefaultMiimon
		}
	}
	s["arp_validate"] = bridge.BondOption("arp_validate").Default
	return nil
}
