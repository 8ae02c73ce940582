package network

import (
	"fmt"

	"vifplug/bridge"
)

// vlanTable is the VLANs of a port, one by one.
type vlanTable [4095]struct{ in, pvid, untagged bool }

func tableOf(list []bridge.PortVLAN) *vlanTable {
	var t vlanTable
	for _, v := range list {
		t.put(v)
	}
	return &t
}

func (t *vlanTable) put(v bridge.PortVLAN) {
	for id := v.From; id <= v.To && id < len(t); id++ {
		t[id].in, t[id].pvid, t[id].untagged = true, v.PVID, v.Untagged
	}
}

// list gives the fewest ranges, in order.
func (t *vlanTable) list() (out []bridge.PortVLAN) {
	for id := 1; id < len(t); id++ {
		switch last := len(out) - 1; {
		case !t[id].in:
		case last >= 0 && out[last].To == id-1 && t[id] == t[id-1] && !t[id].pvid:
			out[last].To = id
		default:
			out = append(out, bridge.PortVLAN{From: id, To: id, PVID: t[id].pvid, Untagged: t[id].untagged})
		}
	}
	return out
}

func (w *world) vlanPort(name bridge.Name, v bridge.PortVLAN) error {
	m := w.device(w.device(name).Master)
	switch {
	case m == nil || m.Kind != "bridge":
		return fmt.Errorf("%s is no port of a bridge: %w", name, bridge.ErrUnsupported)
	case v.From < 1 || v.To < v.From || v.To > 4094 || v.PVID && v.From != v.To:
		return fmt.Errorf("%d to %d are no VLANs: %w", v.From, v.To, bridge.ErrInvalid)
	}
	return nil
}

// addVLAN adds VLANs to a port. A port has one PVID (linux: __vlan_add_pvid).
func (w *world) addVLAN(name bridge.Name, v bridge.PortVLAN) error {
	if err := w.vlanPort(name, v); err != nil {
		return err
	}
	d := w.edit(name)
	t := tableOf(d.PortVLANs)
	for id := range t {
		t[id].pvid = t[id].pvid && !v.PVID
	}
	t.put(v)
	d.PortVLANs = t.list()
	return nil
}

func (w *world) deleteVLAN(name bridge.Name, v bridge.PortVLAN) error {
	if err := w.vlanPort(name, v); err != nil {
		return err
	}
	d := w.edit(name)
	t := tableOf(d.PortVLANs)
	if !t[v.From].in {
		return fmt.Errorf("VLAN %d is none of %s: %w", v.From, name, bridge.ErrNotFound)
	}
	for id := v.From; id <= v.To; id++ {
		t[id].in, t[id].pvid, t[id].untagged = false, false, false
	}
	d.PortVLANs = t.list()
	return nil
}
