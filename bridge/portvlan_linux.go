package bridge

import (
	"encoding/binary"
	"strconv"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The VLAN messages (linux: include/uapi/linux/if_bridge.h struct br_vlan_msg, BRIDGE_VLANDB_...; since Linux 5.6).
const (
	vlanMessage    = 8 // bytes of its fixed part
	vlanEntry      = 1 // BRIDGE_VLANDB_ENTRY
	vlanEntryInfo  = 1 // BRIDGE_VLANDB_ENTRY_INFO: flags and id
	vlanEntryRange = 2 // BRIDGE_VLANDB_ENTRY_RANGE: the last id
)

// PortVLANs lists the VLANs that one port of a VLAN-filtering bridge takes part in, by their ids. The kernel picks them out, so that the cost does
// not grow with the bridge's ports. A port of no bridge is ErrInvalid.
func (c *Conn) PortVLANs(index int) ([]PortVLAN, error) {
	req := make([]byte, vlanMessage)
	req[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(req[4:], uint32(index))
	msgs, err := c.dump(unix.RTM_GETVLAN, req)
	if err != nil {
		return nil, fail("list VLANs of port", strconv.Itoa(index), err)
	}
	var out []PortVLAN
	for _, m := range msgs {
		out = append(out, decodeVLANs(m, index)...)
	}
	return out, nil
}

// decodeVLANs reads a VLAN message: those of one port.
func decodeVLANs(m netlink.Message, index int) (out []PortVLAN) {
	if m.Header.Type != unix.RTM_NEWVLAN || len(m.Data) < vlanMessage || int(binary.NativeEndian.Uint32(m.Data[4:])) != index {
		return nil
	}
	for kind, entry := range attrs(m.Data[vlanMessage:]) {
		if kind != vlanEntry {
			continue
		}
		var p PortVLAN
		for kind, v := range attrs(entry) {
			switch {
			case kind == vlanEntryInfo && len(v) >= 4:
				flags, id := binary.NativeEndian.Uint16(v), int(binary.NativeEndian.Uint16(v[2:]))
				p = PortVLAN{From: id, To: id, PVID: flags&vlanPVID != 0, Untagged: flags&vlanUntagged != 0}
			case kind == vlanEntryRange && len(v) >= 2:
				p.To = int(binary.NativeEndian.Uint16(v))
			}
		}
		if p.From > 0 && p.To >= p.From {
			out = append(out, p)
		}
	}
	return out
}
