package bridge

import (
	"encoding/binary"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// seen is a device as one message tells it: other devices are indexes still.
type seen struct {
	Device
	master, on          int
	primary, activePort int // of bonds
	elsewhere           bool
	parentIsReported    bool
	portKind            string // the kind of the device that it is a port of
	info, port          []byte // IFLA_INFO_DATA, IFLA_INFO_SLAVE_DATA
}

// decodeDevice reads a link message after its netlink header.
func decodeDevice(b []byte) (seen, error) {
	if len(b) < ifinfo {
		return seen{}, errMalformed("link", len(b))
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	s := seen{Device: Device{Index: int(int32(binary.NativeEndian.Uint32(b[4:])))}}
	s.Running = flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING != 0
	s.Loopback = flags&unix.IFF_LOOPBACK != 0
	s.Settings = Settings{KeyAlias: "", KeyUp: digit(flags&unix.IFF_UP != 0)}
	carrier := false
	for kind, v := range attrs(b[ifinfo:]) {
		if kind == unix.IFLA_CARRIER {
			carrier = len(v) > 0 && v[0] != 0
		}
		s.attribute(kind, v)
	}
	switch s.Kind {
	case "vlan":
		s.vlan()
	case "veth":
		if !s.elsewhere {
			s.Peer = s.on
		}
	case "bridge":
		s.options(BridgeOptions)
		if _, filters := s.Settings["default_pvid"]; !filters {
			delete(s.Settings, "vlan_filtering") // the kernel says 0 also where it was built without
		}
	case "bond":
		s.bond()
		s.BondState.HasCarriers = carrier
	}
	if s.portKind == "bond" {
		s.BondPort = decodeBondPort(s.port)
	}
	return s, nil
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func (s *seen) attribute(kind uint16, v []byte) {
	s.parentIsReported = s.parentIsReported || kind >= unix.IFLA_PARENT_DEV_NAME
	switch kind {
	case unix.IFLA_IFNAME:
		s.Name = Name(text(v))
	case unix.IFLA_IFALIAS:
		s.Settings[KeyAlias] = text(v)
	case unix.IFLA_ADDRESS:
		if len(v) == len(MAC{}) {
			s.Settings[KeyMAC] = MAC(v).String()
		}
	case unix.IFLA_PERM_ADDRESS:
		if len(v) == len(MAC{}) {
			s.PermMAC = MAC(v)
		}
	case unix.IFLA_MTU:
		s.Settings[KeyMTU] = strconv.Itoa(number(v))
	case unix.IFLA_MIN_MTU:
		s.MinMTU = number(v)
	case unix.IFLA_MAX_MTU:
		s.MaxMTU = number(v)
	case unix.IFLA_MASTER:
		s.master = number(v)
	case unix.IFLA_LINK:
		s.on = number(v)
	case unix.IFLA_LINK_NETNSID:
		s.elsewhere = true
	case unix.IFLA_PARENT_DEV_BUS_NAME:
		s.ParentBus = text(v)
	case unix.IFLA_STATS64:
		s.Stats = decodeStats(v)
	case unix.IFLA_LINKINFO:
		s.linkInfo(v)
	}
}

func (s *seen) linkInfo(b []byte) {
	for kind, v := range attrs(b) {
		switch kind {
		case unix.IFLA_INFO_KIND:
			s.Kind = text(v)
		case unix.IFLA_INFO_DATA:
			s.info = v
		case unix.IFLA_INFO_SLAVE_KIND:
			s.portKind = text(v)
		case unix.IFLA_INFO_SLAVE_DATA:
			s.port = v
		}
	}
}

// decodeStats reads the first eight counters of struct rtnl_link_stats64.
func decodeStats(b []byte) Stats {
	const counters = 8
	if len(b) < counters*8 {
		return Stats{}
	}
	at := func(i int) uint64 { return binary.NativeEndian.Uint64(b[i*8:]) }
	return Stats{
		RxFrames: at(0), TxFrames: at(1), RxBytes: at(2), TxBytes: at(3), RxErrors: at(4), TxErrors: at(5), RxDropped: at(6), TxDropped: at(7),
	}
}

// vlan reads what a VLAN device is. One of a provider's (802.1ad) has another tag than a segment: it gets no VLAN here.
func (s *seen) vlan() {
	const plain = 0x8100
	tag, protocol := 0, plain
	for kind, v := range attrs(s.info) {
		switch {
		case kind == unix.IFLA_VLAN_ID && len(v) >= 2:
			tag = int(binary.NativeEndian.Uint16(v))
		case kind == unix.IFLA_VLAN_PROTOCOL && len(v) >= 2:
			protocol = int(binary.BigEndian.Uint16(v))
		}
	}
	if protocol == plain {
		s.VLAN = tag
	}
}

// options reads those of a table that the kernel reports.
func (s *seen) options(table []Option) {
	for kind, v := range attrs(s.info) {
		i := slices.IndexFunc(table, func(o Option) bool { return o.attribute == kind })
		if i < 0 {
			continue
		}
		if t, ok := table[i].format(v); ok {
			s.Settings[table[i].Key] = t
		}
	}
}
