package bridge

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// message is a link message with link info of a kind.
func message(index int32, kind string, data []byte, more ...[]byte) []byte {
	b := append(header(0, index, unix.IFF_UP), appendString(nil, unix.IFLA_IFNAME, "dev")...)
	b = appendAttr(b, unix.IFLA_LINKINFO, linkInfo(kind, data))
	return append(b, concat(more...)...)
}

func u16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }

func TestDecodeDevice(t *testing.T) {
	index9, elsewhere := appendUint32(nil, unix.IFLA_LINK, 9), appendUint32(nil, unix.IFLA_LINK_NETNSID, 0)
	tag := appendAttr(nil, unix.IFLA_VLAN_ID, u16(13))
	for name, tc := range map[string]struct {
		b    []byte
		want func(t *testing.T, s seen)
	}{
		"veth":           {message(3, "veth", nil, index9), func(t *testing.T, s seen) { assert.Equal(t, 9, s.Peer) }},
		"veth elsewhere": {message(3, "veth", nil, index9, elsewhere), func(t *testing.T, s seen) { assert.Zero(t, s.Peer) }},
		"vlan":           {message(3, "vlan", tag, index9), func(t *testing.T, s seen) { assert.Equal(t, []int{13, 9}, []int{s.VLAN, s.on}) }},
		"provider's vlan": {message(3, "vlan", append(appendAttr(nil, unix.IFLA_VLAN_PROTOCOL, []byte{0x88, 0xa8}), tag...)), func(t *testing.T, s seen) {
			assert.Zero(t, s.VLAN)
		}},
		"bridge without VLANs": {message(3, "bridge", appendAttr(nil, unix.IFLA_BR_VLAN_FILTERING, []byte{0})), func(t *testing.T, s seen) {
			assert.NotContains(t, s.Settings, Key("vlan_filtering"), "the kernel has no such thing")
		}},
		"short numbers": {message(3, "bridge", appendAttr(nil, unix.IFLA_BR_PRIORITY, nil), appendAttr(nil, unix.IFLA_STATS64, make([]byte, 8))), func(t *testing.T, s seen) {
			assert.NotContains(t, s.Settings, Key("priority"))
			assert.Zero(t, s.Stats)
		}},
		"no data": {message(3, "bond", nil), func(t *testing.T, s seen) { assert.Equal(t, &BondState{}, s.BondState) }},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := decodeDevice(tc.b)
			require.NoError(t, err)
			assert.Equal(t, 3, s.Index)
			assert.Equal(t, Name("dev"), s.Name)
			assert.Equal(t, "1", s.Settings[KeyUp])
			tc.want(t, s)
		})
	}
	_, err := decodeDevice(make([]byte, ifinfo-1))
	assert.EqualError(t, err, "bridge: a link message of 15 bytes is malformed")
}

func TestDecodeBond(t *testing.T) {
	info := concat(appendAttr(nil, unix.IFLA_BOND_AD_INFO_AGGREGATOR, u16(4)), appendAttr(nil, unix.IFLA_BOND_AD_INFO_NUM_PORTS, u16(2)),
		appendAttr(nil, unix.IFLA_BOND_AD_INFO_PARTNER_MAC, []byte{2, 0, 0, 0, 0, 9}))
	s, err := decodeDevice(message(3, "bond", concat(
		appendAttr(nil, unix.IFLA_BOND_MODE, []byte{4}), appendUint32(nil, unix.IFLA_BOND_ACTIVE_SLAVE, 7), appendUint32(nil, unix.IFLA_BOND_MIIMON, 100),
		appendAttr(nil, unix.IFLA_BOND_MISSED_MAX, []byte{2}), appendUint32(nil, unix.IFLA_BOND_PACKETS_PER_SLAVE, 1),
		appendAttr(nil, unix.IFLA_BOND_AD_LACP_RATE, []byte{1}), appendAttr(nil, unix.IFLA_BOND_AD_INFO, info),
	), appendAttr(nil, unix.IFLA_CARRIER, []byte{1})))
	require.NoError(t, err)
	assert.Equal(t, &BondState{Aggregator: 4, Ports: 2, PartnerMAC: MAC{2, 0, 0, 0, 0, 9}, HasCarriers: true}, s.BondState)
	assert.Equal(t, 7, s.activePort)
	assert.Equal(t, Settings{
		KeyMode: "802.3ad", "miimon": "100", "lacp_rate": "fast", "arp_ip_target": "", "ns_ip6_target": "", KeyAlias: "", KeyUp: "1",
	}, s.Settings, "what the mode does not have is left out")
}

func TestDecodeBondPort(t *testing.T) {
	b := concat(
		appendAttr(nil, unix.IFLA_BOND_SLAVE_STATE, []byte{1}), appendAttr(nil, unix.IFLA_BOND_SLAVE_MII_STATUS, []byte{0}),
		appendUint32(nil, unix.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT, 5), appendAttr(nil, unix.IFLA_BOND_SLAVE_PERM_HWADDR, []byte{2, 0, 0, 0, 0, 9}),
		appendAttr(nil, unix.IFLA_BOND_SLAVE_QUEUE_ID, u16(3)), appendAttr(nil, unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID, u16(2)),
		appendAttr(nil, unix.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE, []byte{0x3d}), appendAttr(nil, unix.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE, u16(0x3d)),
	)
	assert.Equal(t, &BondPort{LinkUp: true, LinkFailures: 5, PermMAC: MAC{2, 0, 0, 0, 0, 9}, QueueID: 3, Aggregator: 2, Collecting: true}, decodeBondPort(b))
	alone := appendAttr(nil, unix.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE, []byte{0x3d | lacpDefaulted})
	assert.False(t, decodeBondPort(append(alone, appendAttr(nil, unix.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE, u16(0x3d))...)).Collecting)
}

func vlanEntries(entries ...[2]uint16) []byte {
	b := header(unix.AF_BRIDGE, 3, 0)
	var spec []byte
	for _, e := range entries {
		spec = appendAttr(spec, bridgeVLANInfo, append(u16(e[0]), u16(e[1])...))
	}
	return appendAttr(b, unix.IFLA_AF_SPEC, spec)
}

func TestDecodePortVLANs(t *testing.T) {
	index, got := decodePortVLANs(vlanEntries([2]uint16{vlanPVID | vlanUntagged, 1}, [2]uint16{vlanRangeBegin, 10}, [2]uint16{vlanRangeEnd, 20}, [2]uint16{vlanRangeEnd, 30}))
	assert.Equal(t, 3, index)
	assert.Equal(t, []PortVLAN{{From: 1, To: 1, PVID: true, Untagged: true}, {From: 10, To: 20}, {From: 30, To: 30}}, got)
	_, got = decodePortVLANs(make([]byte, 3))
	assert.Empty(t, got)
}

func TestDecodeRouteLeavesOut(t *testing.T) {
	keep := Route{To: prefix("10.0.0.0/24"), Table: 254, Protocol: 4, Type: 1}
	assert.Len(t, decodeRoute(keep.encode(3)), 1)
	for name, change := range map[string]func([]byte){
		"local":     func(b []byte) { binary.NativeEndian.PutUint32(b[rtmsg+4:], 255) },
		"kernel's":  func(b []byte) { b[5] = 2 },
		"cloned":    func(b []byte) { binary.NativeEndian.PutUint32(b[8:], unix.RTM_F_CLONED) },
		"family":    func(b []byte) { b[0] = 28 },
		"long bits": func(b []byte) { b[1] = 33 },
	} {
		b := keep.encode(3)
		change(b)
		assert.Empty(t, decodeRoute(b), name)
	}
}

func FuzzDevice(f *testing.F) {
	f.Add(message(3, "vlan", appendAttr(nil, unix.IFLA_VLAN_ID, u16(13))))
	f.Add(message(3, "bond", appendAttr(nil, unix.IFLA_BOND_MODE, []byte{1})))
	f.Add(vlanEntries([2]uint16{vlanRangeBegin, 10}, [2]uint16{vlanRangeEnd, 20}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeDevice(b)
		if err != nil && len(b) >= ifinfo {
			t.Error(err)
		}
		l, _, err2 := decodeLink(b)
		if err == nil && (err2 != nil || s.Index != l.Index || s.Name != l.Name || s.Kind != l.Kind || s.master != l.Master || s.Running != (l.Running && l.Up)) {
			t.Errorf("%+v is not %+v", s, l)
		}
		decodePortVLANs(b)
	})
}

func FuzzAddress(f *testing.F) {
	f.Add(Address{Prefix: prefix("10.0.0.1/24"), Label: "1", Protocol: OwnProtocol}.encode(3, "eth0"))
	f.Add(Address{Prefix: prefix("2001:db8::1/128"), Peer: prefix("2001:db8::2/128"), Valid: 5e9}.encode(3, "eth0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		index, a, label, ok := decodeFullAddress(b)
		if !ok {
			return
		}
		a.Label = labelOf(label, "eth0")
		again, back, label, ok := decodeFullAddress(a.encode(index, "eth0"))
		if len(a.Label)+5 <= NameMax && a.Prefix.Addr().Is4() && labelOf(label, "eth0") != a.Label {
			t.Errorf("label %q became %q", a.Label, label)
		}
		back.Label = a.Label
		if a.Preferred == 0 || a.Valid != 0 && a.Preferred > a.Valid {
			a.Preferred, back.Preferred = 0, 0 // it cannot outlast its validity
		}
		if a.Valid == 1e9 {
			a.Valid, back.Valid = 0, 0 // as does one that ran out
		}
		if !ok || again != index || back.Same(a) != true || back.Scope != a.Scope || back.Protocol != a.Protocol || back.Valid != a.Valid {
			t.Errorf("%+v became %+v", a, back)
		}
	})
}

func FuzzRoute(f *testing.F) {
	f.Add(Route{To: prefix("10.0.0.0/24"), Via: addr("10.0.0.1"), Table: 254, Protocol: 4, Type: 1, MTU: 1400, OnLink: true}.encode(3))
	f.Add(Route{To: prefix("::/0"), Via: addr("fe80::1"), Table: 4000, Metric: 1024, Type: 1}.encode(3))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, h := range decodeRoute(b) {
			if h.Multipath {
				continue
			}
			again := decodeRoute(h.encode(h.device))
			if len(again) != 1 || again[0].To != h.To || again[0].Table != h.Table || again[0].Metric != h.Metric || again[0].device != h.device {
				t.Errorf("%+v became %+v", h, again)
			}
		}
	})
}

// A list that is cut each time is put together, in the kernel's order, each thing once.
func TestHostOfAListThatNeverStands(t *testing.T) {
	n := 0
	cut := func(m netlink.Message) netlink.Message { m.Header.Flags |= netlink.DumpInterrupted; return m }
	c := played(t, answers(&n,
		[]netlink.Message{cut(named(0, 1, "lo")), named(0, 3, "eth0"), named(0, 9, "went")},
		[]netlink.Message{cut(named(0, 1, "lo")), named(0, 2, "br0"), named(0, 3, "renamed")},
	))
	found, err := c.devices()
	require.NoError(t, err)
	names := map[int]Name{}
	for i, s := range found {
		names[i] = s.Name
	}
	assert.Equal(t, map[int]Name{1: "lo", 2: "br0", 3: "renamed", 9: "went"}, names, "as it was last")
	assert.Equal(t, readings, n)
}
