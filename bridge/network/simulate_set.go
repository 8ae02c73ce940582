package network

import (
	"fmt"
	"slices"
	"strconv"

	"vifplug/bridge"
)

// set changes settings by one message, in the kernel's order: MAC address, MTU, options, alias, then up or down.
func (w *world) set(name bridge.Name, s bridge.Settings) error {
	d := w.device(name)
	if mac, has := s[bridge.KeyMAC]; has {
		if _, err := bridge.ParseMAC(mac); err != nil {
			return fmt.Errorf("%q %w: %w", mac, err, bridge.ErrInvalid)
		}
		w.setMAC(name, mac)
	}
	if text, has := s[bridge.KeyMTU]; has {
		mtu, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("MTU %q: %w", text, bridge.ErrInvalid)
		}
		if err := w.setMTU(name, mtu); err != nil {
			return err
		}
	}
	if err := w.setOptions(d.Name, s); err != nil {
		return err
	}
	if alias, has := s[bridge.KeyAlias]; has {
		w.edit(name).Settings[bridge.KeyAlias] = alias
	}
	switch up, has := s[bridge.KeyUp]; {
	case has && up == "1":
		return w.up(name)
	case has:
		w.down(name)
	}
	return nil
}

// ethernetMTU is what a device has that nobody gave another (linux: ETH_DATA_LEN).
const ethernetMTU = 1500

// deviceMTU is a device's MTU; 0 where it is not known.
func deviceMTU(d *bridge.Device) int {
	n, _ := strconv.Atoi(d.Settings[bridge.KeyMTU])
	return n
}

// setMTU changes an MTU: of a bond for its ports too; VLAN devices above never have more (linux: bond_change_mtu, vlan_dev_change_mtu,
// vlan_device_event), and a bridge whose MTU nobody chose follows its smallest port.
func (w *world) setMTU(name bridge.Name, mtu int) error {
	d := w.device(name)
	if mtu == deviceMTU(d) {
		return nil
	}
	if d.MaxMTU > 0 && mtu > d.MaxMTU || mtu < max(d.MinMTU, 68) {
		return fmt.Errorf("MTU %d does not fit %s, which takes %d to %d: %w", mtu, name, max(d.MinMTU, 68), d.MaxMTU, bridge.ErrInvalid)
	}
	if lower := w.device(d.On); lower != nil && deviceMTU(lower) > 0 && mtu > deviceMTU(lower) {
		return fmt.Errorf("MTU %d does not fit %s (%d), on which %s stands: %w", mtu, d.On, deviceMTU(lower), name, bridge.ErrInvalid)
	}
	if d.Kind == "bond" {
		for _, port := range w.ports[name] {
			if err := w.setMTU(port, mtu); err != nil {
				return err
			}
		}
	}
	w.putMTU(name, mtu)
	return nil
}

// putMTU gives a device an MTU with what follows from it; 0: it is not known.
func (w *world) putMTU(name bridge.Name, mtu int) {
	d := w.device(name)
	auto := d.Master != "" && w.followsPorts(d.Master)
	if s := w.edit(name).Settings; mtu == 0 {
		delete(s, bridge.KeyMTU)
	} else {
		s[bridge.KeyMTU] = strconv.Itoa(mtu)
	}
	for _, upper := range w.uppers[name] {
		if mtu > 0 && deviceMTU(w.device(upper)) > mtu {
			w.putMTU(upper, mtu)
		}
	}
	if auto {
		w.followPorts(d.Master)
	}
}

// followsPorts says that a bridge has the MTU of its smallest port, so that it may be one whose MTU nobody chose and which will follow them
// (linux: br_mtu_auto_adjust). Whether it is the kernel does not show.
func (w *world) followsPorts(name bridge.Name) bool {
	d := w.device(name)
	return d != nil && d.Kind == "bridge" && (len(w.ports[name]) == 0 || deviceMTU(d) == w.smallest(name))
}

func (w *world) smallest(name bridge.Name) int {
	least := 0
	for _, port := range w.ports[name] {
		if mtu := deviceMTU(w.device(port)); mtu > 0 && (least == 0 || mtu < least) {
			least = mtu
		}
	}
	if least == 0 {
		return ethernetMTU
	}
	return least
}

// followPorts is a bridge after its ports have changed, which may have followed them or not.
func (w *world) followPorts(name bridge.Name) {
	if w.smallest(name) != deviceMTU(w.device(name)) {
		w.putMTU(name, 0)
	}
}

// setMAC changes a MAC address: of a bond its ports' too, and what VLAN devices above that are up have
// inherited (linux: vlan_sync_address); "": it is not known.
func (w *world) setMAC(name bridge.Name, mac string) {
	d := w.edit(name)
	before := d.Settings[bridge.KeyMAC]
	if mac == "" {
		delete(d.Settings, bridge.KeyMAC)
	} else {
		d.Settings[bridge.KeyMAC] = mac
	}
	if before == mac {
		return
	}
	if d.Kind == "bond" && mac != "" && sharesMAC(d) {
		for _, port := range w.ports[name] {
			w.setMAC(port, mac)
		}
	}
	for _, upper := range w.uppers[name] {
		if u := w.device(upper); u.Settings[bridge.KeyMAC] == before && u.Settings[bridge.KeyUp] == "1" {
			w.setMAC(upper, mac)
		}
	}
}

// sharesMAC says that all ports of a bond have its address.
func sharesMAC(bond *bridge.Device) bool {
	f := bond.Settings["fail_over_mac"]
	return f == "" || f == "none" || bond.Settings[bridge.KeyMode] != "active-backup"
}

// up sets a device up, and the VLAN devices above it (linux: vlan_device_event NETDEV_UP).
func (w *world) up(name bridge.Name) error {
	d := w.device(name)
	if d.Settings[bridge.KeyUp] == "1" {
		return nil
	}
	if lower := w.device(d.On); lower != nil && lower.Settings[bridge.KeyUp] == "0" {
		return fmt.Errorf("%s, on which it stands, is down", d.On)
	}
	w.edit(name).Settings[bridge.KeyUp] = "1"
	if lower := w.device(d.On); lower != nil && lower.Settings[bridge.KeyMAC] != d.Settings[bridge.KeyMAC] {
		w.setMAC(name, "") // it takes the other's address now unless it was given one of its own
	}
	for _, upper := range w.uppers[name] {
		if err := w.up(upper); err != nil {
			return err
		}
	}
	return nil
}

// down sets a device down, and the VLAN devices above it. Routes by it and its IPv6 addresses go.
func (w *world) down(name bridge.Name) {
	if w.device(name).Settings[bridge.KeyUp] != "1" {
		w.edit(name).Settings[bridge.KeyUp] = "0"
		return
	}
	d := w.edit(name)
	d.Settings[bridge.KeyUp] = "0"
	d.Addresses = slices.DeleteFunc(d.Addresses, func(a bridge.Address) bool { return a.Prefix.Addr().Is6() })
	w.dropRoutes(func(r *bridge.Route) bool { return r.Device == name })
	for _, upper := range w.uppers[name] {
		w.down(upper)
	}
}
