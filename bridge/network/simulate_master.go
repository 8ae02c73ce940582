package network

import (
	"fmt"
	"slices"

	"vifplug/bridge"
)

// master makes a device a port, or releases it (linux: do_set_master).
func (w *world) master(name, master bridge.Name) error {
	d := w.device(name)
	if d.Master == master {
		return nil
	}
	if d.Master != "" {
		w.release(name)
	}
	if master == "" {
		return nil
	}
	m := w.device(master)
	switch {
	case m == nil:
		return fmt.Errorf("%s: %w", master, bridge.ErrNotFound)
	case m.Kind != "bridge" && m.Kind != "bond":
		return fmt.Errorf("%s can have no ports: %w", master, bridge.ErrUnsupported)
	case d.Loopback || d.Kind == m.Kind || w.isAbove(name, master):
		return fmt.Errorf("%s can be no port of %s: %w", name, master, bridge.ErrInvalid)
	}
	if m.Kind == "bond" {
		return w.joinBond(name, master)
	}
	w.joinBridge(name, master)
	return nil
}

// isAbove says that a device stands on another or has it as a port, however far below.
func (w *world) isAbove(name, below bridge.Name) bool {
	d := w.device(below)
	if d == nil {
		return false
	}
	over := w.uppers[below]
	if d.Master != "" {
		over = append(slices.Clone(over), d.Master)
	}
	return slices.ContainsFunc(over, func(n bridge.Name) bool { return n == name || w.isAbove(name, n) })
}

func (w *world) joinBridge(name, master bridge.Name) {
	auto := w.followsPorts(master)
	d := w.edit(name)
	d.Master = master
	w.setList(w.ports, master, append(slices.Clip(w.ports[master]), name))
	d.PortVLANs = []bridge.PortVLAN{{From: 1, To: 1, PVID: true, Untagged: true}}
	if auto {
		w.edit(master)
		w.followPorts(master)
	}
}

// joinBond makes a device a port of a bond, which gives it its MTU and its MAC address, and sets it up (linux: bond_enslave).
func (w *world) joinBond(name, master bridge.Name) error {
	d, bond := w.edit(name), w.device(master)
	if d.Settings[bridge.KeyUp] == "1" {
		return fmt.Errorf("%s must be down to become a port of a bond: %w", name, bridge.ErrPermission)
	}
	if mac, known := bond.Settings[bridge.KeyMAC]; !known && len(w.ports[master]) == 0 {
		w.setMAC(master, d.Settings[bridge.KeyMAC])
	} else if sharesMAC(bond) {
		w.setMAC(name, mac)
	}
	if mtu := deviceMTU(bond); mtu > 0 {
		if err := w.setMTU(name, mtu); err != nil {
			return err
		}
	}
	if err := w.up(name); err != nil {
		return err
	}
	d.Master = master
	w.setList(w.ports, master, append(slices.Clip(w.ports[master]), name))
	return nil
}

// release frees a port.
func (w *world) release(name bridge.Name) {
	d := w.edit(name)
	m := w.device(d.Master)
	w.setList(w.ports, d.Master, without(w.ports[d.Master], name))
	d.PortVLANs, d.BondPort = nil, nil
	switch {
	case m == nil:
		d.Master = ""
	case m.Kind == "bond":
		w.leaveBond(d, m)
	default:
		auto := deviceMTU(m) == min(w.smallest(m.Name), deviceMTU(d))
		if d.Master = ""; auto {
			w.edit(m.Name)
			w.followPorts(m.Name)
		}
	}
}

// leaveBond sets the former port down and gives it its own MAC address and MTU back; of the latter only the kernel knows (linux:
// __bond_release_one). A bond without ports gets a random address.
func (w *world) leaveBond(d, bond *bridge.Device) {
	d.Master = ""
	w.down(d.Name)
	w.setMAC(d.Name, formerMAC(w.was[d.Name]))
	w.putMTU(d.Name, 0)
	bond = w.edit(bond.Name)
	if bond.Settings[keyPrimary] == string(d.Name) {
		bond.Settings[keyPrimary] = ""
	}
	if len(w.ports[bond.Name]) == 0 {
		w.setMAC(bond.Name, "")
	}
}

// formerMAC is the address that a port has when it is in no bond; "": not known.
func formerMAC(d *bridge.Device) string {
	switch {
	case d.BondPort != nil && d.BondPort.PermMAC != bridge.MAC{}:
		return d.BondPort.PermMAC.String()
	case d.PermMAC != bridge.MAC{}:
		return d.PermMAC.String()
	}
	return ""
}
