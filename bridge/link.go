package bridge

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Link is a network device as the kernel reports it.
type Link struct {
	Index            int
	Name             Name
	Alias            string
	Kind             string // "bridge", "veth", "vif"...; "" for hardware
	MAC              MAC    // zero for devices that are not Ethernet
	MTU              int    // bytes
	MinMTU, MaxMTU   int    // what the device takes; 0: not reported
	Master           int    // index of the bridge or bond that it is a port of; 0: none
	Up               bool   // set up by the administrator (IFF_UP)
	Running          bool   // up, and has carrier (IFF_RUNNING)
	IsPort           bool   // a port of a bridge
	Filtering        bool   // a bridge that filters VLANs
	Parent           string // parent device's sysfs name, "vif-5-0" for netback's
	ParentBus        string // its bus, "xen-backend" for netback's
	NoAddrGen        bool   // makes no IPv6 address of its own; also where the device has no IPv6
	parentIsReported bool   // the kernel is new enough to name parents
}

// ifinfo is the fixed part of a link message (linux: struct ifinfomsg).
const ifinfo = unix.SizeofIfInfomsg

// decodeLink reads a link message after its netlink header.
func decodeLink(b []byte) (l Link, family uint8, err error) {
	if len(b) < ifinfo {
		return l, 0, errMalformed("link", len(b))
	}
	family = b[0]
	l.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	flags := binary.NativeEndian.Uint32(b[8:])
	l.Up, l.Running = flags&unix.IFF_UP != 0, flags&unix.IFF_RUNNING != 0
	l.NoAddrGen = true
	for kind, v := range attrs(b[ifinfo:]) {
		l.attribute(kind, v)
	}
	return l, family, nil
}

func (l *Link) attribute(kind uint16, v []byte) {
	l.parentIsReported = l.parentIsReported || kind >= unix.IFLA_PARENT_DEV_NAME
	switch kind {
	case unix.IFLA_IFNAME:
		l.Name = Name(text(v))
	case unix.IFLA_IFALIAS:
		l.Alias = text(v)
	case unix.IFLA_ADDRESS:
		if len(v) == len(l.MAC) {
			l.MAC = MAC(v)
		}
	case unix.IFLA_MTU:
		l.MTU = number(v)
	case unix.IFLA_MIN_MTU:
		l.MinMTU = number(v)
	case unix.IFLA_MAX_MTU:
		l.MaxMTU = number(v)
	case unix.IFLA_MASTER:
		l.Master = number(v)
	case unix.IFLA_PARENT_DEV_NAME:
		l.Parent = text(v)
	case unix.IFLA_PARENT_DEV_BUS_NAME:
		l.ParentBus = text(v)
	case unix.IFLA_LINKINFO:
		l.linkInfo(v)
	case unix.IFLA_AF_SPEC:
		l.afSpec(v)
	}
}

func (l *Link) linkInfo(b []byte) {
	var data []byte
	for kind, v := range attrs(b) {
		switch kind {
		case unix.IFLA_INFO_KIND:
			l.Kind = text(v)
		case unix.IFLA_INFO_DATA:
			data = v
		case unix.IFLA_INFO_SLAVE_KIND:
			l.IsPort = text(v) == "bridge"
		}
	}
	if l.Kind != "bridge" {
		return
	}
	for kind, v := range attrs(data) {
		if kind == unix.IFLA_BR_VLAN_FILTERING && len(v) > 0 {
			l.Filtering = v[0] != 0
		}
	}
}

// IPv6 address generation (linux: include/uapi/linux/if_link.h).
const (
	inet6AddrGenMode = 8 // IFLA_INET6_ADDR_GEN_MODE
	addrGenNone      = 1 // IN6_ADDR_GEN_MODE_NONE
)

func (l *Link) afSpec(b []byte) {
	for family, spec := range attrs(b) {
		if family != unix.AF_INET6 {
			continue
		}
		for kind, v := range attrs(spec) {
			if kind == inet6AddrGenMode && len(v) > 0 {
				l.NoAddrGen = v[0] == addrGenNone
			}
		}
	}
}

// Change is what to change about a link. Zero fields are left alone.
//
// The kernel goes through one message in its own order: address, MTU, name, alias, then flags and master in an order that differs between
// kernels. Who needs "first a port, then up" sends two.
type Change struct {
	Name      Name
	Alias     *string // "" removes it
	MAC       *MAC
	MTU       int
	Master    *int // 0: none
	Up        *bool
	NoAddrGen bool // true: make no IPv6 address
}

// encode is the message for a link.
func (c Change) encode(index int) []byte {
	b := make([]byte, ifinfo, 256)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	if c.Up != nil {
		if *c.Up {
			binary.NativeEndian.PutUint32(b[8:], unix.IFF_UP)
		}
		binary.NativeEndian.PutUint32(b[12:], unix.IFF_UP)
	}
	if c.MAC != nil {
		b = appendAttr(b, unix.IFLA_ADDRESS, c.MAC[:])
	}
	if c.MTU != 0 {
		b = appendUint32(b, unix.IFLA_MTU, uint32(c.MTU))
	}
	if c.Name != "" {
		b = appendString(b, unix.IFLA_IFNAME, string(c.Name))
	}
	if c.Alias != nil {
		b = appendAttr(b, unix.IFLA_IFALIAS, []byte(*c.Alias))
	}
	if c.Master != nil {
		b = appendUint32(b, unix.IFLA_MASTER, uint32(*c.Master))
	}
	if c.NoAddrGen {
		mode := appendAttr(nil, inet6AddrGenMode, []byte{addrGenNone})
		b = appendAttr(b, unix.IFLA_AF_SPEC, appendAttr(nil, unix.AF_INET6, mode))
	}
	return b
}
