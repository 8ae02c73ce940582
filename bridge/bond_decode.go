package bridge

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// bond reads a bond's options and state. The kernel reports options that the bond's mode does not have, too: they are left out, since it would
// not take them back.
func (s *seen) bond() {
	s.BondState = &BondState{}
	s.Settings[KeyMode] = ""
	for kind, v := range attrs(s.info) {
		switch kind {
		case unix.IFLA_BOND_MODE:
			s.Settings[KeyMode], _ = bondMode.format(v)
		case unix.IFLA_BOND_ACTIVE_SLAVE:
			s.activePort = number(v)
		case unix.IFLA_BOND_PRIMARY:
			s.primary = number(v)
		case unix.IFLA_BOND_AD_INFO:
			s.BondState.aggregator(v)
		}
	}
	s.options(BondOptions)
	// No attribute is how the kernel says that a list is empty. It has the later option only where it has the one that is as old.
	s.Settings.absentMeansEmpty("arp_ip_target")
	s.Settings.absentMeansEmpty("primary")
	if _, ok := s.Settings["arp_missed_max"]; ok {
		s.Settings.absentMeansEmpty("ns_ip6_target")
	}
	for i := range BondOptions {
		if o := &BondOptions[i]; !o.In(s.Settings[KeyMode]) {
			delete(s.Settings, o.Key)
		}
	}
}

func (s Settings) absentMeansEmpty(k Key) {
	if _, ok := s[k]; !ok {
		s[k] = ""
	}
}

// aggregator reads IFLA_BOND_AD_INFO.
func (b *BondState) aggregator(info []byte) {
	for kind, v := range attrs(info) {
		n, _ := unsigned(v)
		switch {
		case kind == unix.IFLA_BOND_AD_INFO_AGGREGATOR:
			b.Aggregator = int(n)
		case kind == unix.IFLA_BOND_AD_INFO_NUM_PORTS:
			b.Ports = int(n)
		case kind == unix.IFLA_BOND_AD_INFO_ACTOR_KEY:
			b.ActorKey = int(n)
		case kind == unix.IFLA_BOND_AD_INFO_PARTNER_KEY:
			b.PartnerKey = int(n)
		case kind == unix.IFLA_BOND_AD_INFO_PARTNER_MAC && len(v) == len(b.PartnerMAC):
			b.PartnerMAC = MAC(v)
		}
	}
}

// State bits of 802.3ad (linux: drivers/net/bonding/bond_3ad.c, LACP_STATE_...).
const (
	lacpInSync     = 1 << 3
	lacpCollecting = 1 << 4
	lacpDefaulted  = 1 << 6 // no partner answers: what is known of it is made up
)

// decodeBondPort reads IFLA_INFO_SLAVE_DATA of a bond's port.
func decodeBondPort(b []byte) *BondPort {
	p := &BondPort{}
	var own, partner uint64
	for kind, v := range attrs(b) {
		n, _ := unsigned(v)
		switch {
		case kind == unix.IFLA_BOND_SLAVE_STATE:
			p.Active = n == 0 // linux: BOND_STATE_ACTIVE
		case kind == unix.IFLA_BOND_SLAVE_MII_STATUS:
			p.LinkUp = n == 0 // linux: BOND_LINK_UP
		case kind == unix.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT:
			p.LinkFailures = int(n)
		case kind == unix.IFLA_BOND_SLAVE_PERM_HWADDR && len(v) == len(p.PermMAC):
			p.PermMAC = MAC(v)
		case kind == unix.IFLA_BOND_SLAVE_QUEUE_ID:
			p.QueueID = int(n)
		case kind == unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID:
			p.Aggregator = int(n)
		case kind == unix.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE:
			own = n
		case kind == unix.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE:
			partner = n
		}
	}
	p.Collecting = own&lacpCollecting != 0 && own&lacpDefaulted == 0 && partner&lacpInSync != 0
	return p
}

// decodePortVLANs reads a link message of the bridge family: the VLANs of a port, or of a bridge itself.
func decodePortVLANs(b []byte) (index int, out []PortVLAN) {
	if len(b) < ifinfo {
		return 0, nil
	}
	begin := 0
	for kind, spec := range attrs(b[ifinfo:]) {
		if kind != unix.IFLA_AF_SPEC {
			continue
		}
		for kind, v := range attrs(spec) {
			if kind != bridgeVLANInfo || len(v) < 4 {
				continue
			}
			flags, id := binary.NativeEndian.Uint16(v), int(binary.NativeEndian.Uint16(v[2:]))
			if flags&vlanRangeBegin != 0 {
				begin = id
				continue
			}
			p := PortVLAN{From: id, To: id, PVID: flags&vlanPVID != 0, Untagged: flags&vlanUntagged != 0}
			if flags&vlanRangeEnd != 0 && begin != 0 {
				p.From = begin
			}
			begin = 0
			out = append(out, p)
		}
	}
	return int(int32(binary.NativeEndian.Uint32(b[4:]))), out
}

// VLANs of bridge ports (linux: include/uapi/linux/if_bridge.h, rtnetlink.h).
const (
	bridgeFlags    = 0 // IFLA_BRIDGE_FLAGS
	bridgeVLANInfo = 2 // IFLA_BRIDGE_VLAN_INFO
	bridgeSelf     = 2 // BRIDGE_FLAGS_SELF

	vlanPVID       = 1 << 1 // BRIDGE_VLAN_INFO_PVID
	vlanUntagged   = 1 << 2
	vlanRangeBegin = 1 << 3
	vlanRangeEnd   = 1 << 4

	compressedVLANs = 1 << 2 // RTEXT_FILTER_BRVLAN_COMPRESSED
)
