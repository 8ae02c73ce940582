package bridge

import (
	"encoding/binary"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// AddAddress gives a device an address. Where the device has the same one, its lifetimes, its maker and its metric become a's.
func (c *Conn) AddAddress(name Name, a Address) error {
	index, err := c.indexOf(name)
	if err == nil {
		_, err = c.execute(unix.RTM_NEWADDR, netlink.Acknowledge|netlink.Create|netlink.Replace, a.encode(index, name))
	}
	return fail("add address "+a.Prefix.String()+" to", string(name), err)
}

// RemoveAddress takes an address from a device. One that is gone already, with its device or without, is fine.
func (c *Conn) RemoveAddress(name Name, a Address) error {
	index, err := c.indexOf(name)
	if err == nil {
		_, err = c.execute(unix.RTM_DELADDR, netlink.Acknowledge, a.encodeKey(index))
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fail("remove address "+a.Prefix.String()+" from", string(name), err)
}

// AddRoute adds a route.
//
// An IPv4 route takes the place of the one to the same subnet with the same metric, in one step: a default route changes its device without
// a gap. IPv6 has room for several beside each other, and its replacement would take away all of them, also what a router announced on
// another device: there the new route stands beside the old until DeleteRoute removes that, also without a gap. One by the same gateway and
// device is replaced.
func (c *Conn) AddRoute(r Route) error {
	device, err := c.deviceOf(r)
	if err != nil {
		return fail("add route to "+r.To.String()+" by", string(r.Device), err)
	}
	flags := netlink.Acknowledge | netlink.Create
	if r.To.Addr().Is4() {
		flags |= netlink.Replace
	}
	_, err = c.execute(unix.RTM_NEWROUTE, flags, r.encode(device))
	if r.To.Addr().Is6() && errors.Is(err, unix.EEXIST) {
		err = c.renewRoute(r, device)
	}
	return fail("add route to "+r.To.String()+" by", string(r.Device), err)
}

// renewRoute makes an IPv6 route anew whose gateway and device are the same.
func (c *Conn) renewRoute(r Route, device int) error {
	if err := c.deleteRoute(r, device); err != nil {
		return err
	}
	_, err := c.execute(unix.RTM_NEWROUTE, netlink.Acknowledge|netlink.Create, r.encode(device))
	return err
}

// DeleteRoute removes a route, whoever made it. One that is gone already, with its device or without, is fine.
func (c *Conn) DeleteRoute(r Route) error {
	device, err := c.deviceOf(r)
	if err == nil {
		err = c.deleteRoute(r, device)
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fail("delete route to "+r.To.String()+" by", string(r.Device), err)
}

func (c *Conn) deleteRoute(r Route, device int) error {
	_, err := c.execute(unix.RTM_DELROUTE, netlink.Acknowledge, r.encodeKey(device))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// deviceOf is the index of a route's device; 0: it has none.
func (c *Conn) deviceOf(r Route) (int, error) {
	if r.Device == "" {
		return 0, nil
	}
	return c.indexOf(r.Device)
}

// AddPortVLAN has a port of a VLAN-filtering bridge take part in VLANs; of a bridge's own name, the host itself. A VLAN that it has already
// gets p's PVID and Untagged.
func (c *Conn) AddPortVLAN(name Name, p PortVLAN) error {
	return fail("add VLAN to", string(name), c.portVLAN(unix.RTM_SETLINK, name, p))
}

// DeletePortVLAN ends that. VLANs that it has not, and a port that is gone or has left its bridge, are fine.
func (c *Conn) DeletePortVLAN(name Name, p PortVLAN) error {
	err := c.portVLAN(unix.RTM_DELLINK, name, p)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fail("delete VLAN from", string(name), err)
}

func (c *Conn) portVLAN(kind netlink.HeaderType, name Name, p PortVLAN) error {
	if p.From < 1 || p.To < p.From || p.To > 4094 {
		return unix.EINVAL
	}
	index, err := c.indexOf(name)
	if err != nil {
		return err
	}
	l, err := c.Link(index)
	if err != nil {
		return err
	}
	if !l.IsPort && l.Kind != "bridge" {
		return unix.ENODEV
	}
	_, err = c.execute(kind, netlink.Acknowledge, p.encode(index, !l.IsPort))
	return err
}

// encode is the message about a port's VLANs. The bridge that a port belongs to is asked by default; a bridge about itself is by a flag.
func (p PortVLAN) encode(index int, self bool) []byte {
	b := linkRequest(index)
	b[0] = unix.AF_BRIDGE
	var spec []byte
	if self {
		spec = appendNumber(spec, bridgeFlags, 2, bridgeSelf)
	}
	flags := uint16(0)
	if p.PVID {
		flags |= vlanPVID
	}
	if p.Untagged {
		flags |= vlanUntagged
	}
	entry := func(more uint16, id int) {
		v := binary.NativeEndian.AppendUint16(nil, flags|more)
		spec = appendAttr(spec, bridgeVLANInfo, binary.NativeEndian.AppendUint16(v, uint16(id)))
	}
	if p.From == p.To {
		entry(0, p.From)
	} else {
		entry(vlanRangeBegin, p.From)
		entry(vlanRangeEnd, p.To)
	}
	return appendAttr(b, unix.IFLA_AF_SPEC, spec)
}
