package bridge

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Host reads the whole network of the host by a few lists, whatever its size: devices, addresses, routes, and where a bridge filters by VLAN
// the VLANs of ports. They are read one after the other, so a change in between shows in some; the next reading has it in all.
//
// A bond has those options that its mode has. Addresses and routes whose device came after the devices were listed are left to that next
// reading. The VLANs of a filtering bridge itself are its own PortVLANs.
func (c *Conn) Host() (Host, error) {
	found, err := c.devices()
	if err != nil {
		return Host{}, fail("list", "devices", err)
	}
	if err := c.addAddresses(found); err != nil {
		return Host{}, fail("list", "addresses", err)
	}
	if err := c.addPortVLANs(found); err != nil {
		return Host{}, fail("list", "VLANs of ports", err)
	}
	routes, err := c.routes(found)
	if err != nil {
		return Host{}, fail("list", "routes", err)
	}
	out := Host{Devices: make([]Device, 0, len(found)), Routes: routes}
	for _, s := range found {
		out.Devices = append(out.Devices, s.Device)
	}
	slices.SortFunc(out.Devices, func(a, b Device) int { return cmp.Compare(a.Index, b.Index) })
	return out, nil
}

// collect reads a list; again where the kernel was interrupted in it. Where that never ends, as when a thousand guests start at once, the
// readings are put together: what stayed is in them, by its key as it was last.
func (c *Conn) collect(kind netlink.HeaderType, req []byte, key func([]byte) string) ([]netlink.Message, error) {
	var all []netlink.Message
	at := map[string]int{}
	for range readings {
		msgs, err := c.execute(kind, netlink.Dump, req)
		if err != nil || !interrupted(msgs) {
			return msgs, err
		}
		for _, m := range msgs {
			k := key(m.Data)
			if i, known := at[k]; known {
				all[i] = m
				continue
			}
			at[k] = len(all)
			all = append(all, m)
		}
	}
	return all, nil
}

// whole is the key of what has no shorter one.
func whole(b []byte) string { return string(b) }

// byIndex is the key of messages of which each device has one: the fixed part of their link.
func byIndex(b []byte) string { return string(b[:min(8, len(b))]) }

// byAddress is the key of an address, whatever is left of its lifetimes.
func byAddress(b []byte) string {
	index, a, _, _ := decodeFullAddress(b)
	return fmt.Sprint(index, a.Prefix, a.Peer)
}

func (c *Conn) devices() (map[int]*seen, error) {
	msgs, err := c.collect(unix.RTM_GETLINK, make([]byte, ifinfo), byIndex)
	if err != nil {
		return nil, err
	}
	found := make(map[int]*seen, len(msgs))
	for _, m := range msgs {
		s, err := decodeDevice(m.Data)
		if err != nil {
			return nil, err
		}
		found[s.Index] = &s
	}
	name := func(index int) Name {
		if s := found[index]; s != nil {
			return s.Name
		}
		return ""
	}
	for _, s := range found {
		s.nameOthers(name)
	}
	return found, nil
}

// nameOthers gives the devices that one refers to their names.
func (s *seen) nameOthers(name func(int) Name) {
	s.Master = name(s.master)
	if s.Kind == "vlan" && !s.elsewhere {
		s.On = name(s.on)
	}
	if s.BondState != nil {
		s.BondState.ActivePort = name(s.activePort)
		if _, has := s.Settings["primary"]; has {
			s.Settings["primary"] = string(name(s.primary))
		}
	}
	l := Link{Index: s.Index, Name: s.Name, ParentBus: s.ParentBus, parentIsReported: s.parentIsReported}
	l.findParent()
	s.ParentBus = l.ParentBus
}

func (c *Conn) addAddresses(found map[int]*seen) error {
	msgs, err := c.collect(unix.RTM_GETADDR, make([]byte, ifaddr), byAddress)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		index, a, label, ok := decodeFullAddress(m.Data)
		if s := found[index]; ok && s != nil {
			a.Label = labelOf(label, s.Name)
			s.Addresses = append(s.Addresses, a)
		}
	}
	return nil
}

// addPortVLANs costs a list of all ports, so it asks only where a bridge filters.
func (c *Conn) addPortVLANs(found map[int]*seen) error {
	filters := func(s *seen) bool { return s != nil && s.Settings["vlan_filtering"] == "1" }
	if !slices.ContainsFunc(slices.Collect(maps.Values(found)), filters) {
		return nil
	}
	req := make([]byte, ifinfo, 32)
	req[0] = unix.AF_BRIDGE
	msgs, err := c.collect(unix.RTM_GETLINK, appendUint32(req, unix.IFLA_EXT_MASK, compressedVLANs), byIndex)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		index, vlans := decodePortVLANs(m.Data)
		if s := found[index]; s != nil && (filters(s) || filters(found[s.master])) {
			s.PortVLANs = vlans
		}
	}
	return nil
}

func (c *Conn) routes(found map[int]*seen) ([]Route, error) {
	msgs, err := c.collect(unix.RTM_GETROUTE, make([]byte, rtmsg), whole)
	if err != nil {
		return nil, err
	}
	var out []Route
	for _, m := range msgs {
		for _, h := range decodeRoute(m.Data) {
			if h.device != 0 {
				s := found[h.device]
				if s == nil {
					continue
				}
				h.Device = s.Name
			}
			out = append(out, h.Route)
		}
	}
	return out, nil
}

// linkRequest is the fixed part of a link message about a device.
func linkRequest(index int) []byte {
	b := make([]byte, ifinfo, 256)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	return b
}
