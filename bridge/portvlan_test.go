package bridge

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// vlanReply is the kernel's message about a port's VLANs; each entry is flags, id and, where not 0, the last id.
func vlanReply(index int, entries ...[3]uint16) []byte {
	b := make([]byte, vlanMessage)
	b[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	for _, e := range entries {
		info := binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, e[0]), e[1])
		entry := appendAttr(nil, vlanEntryInfo, info)
		if e[2] != 0 {
			entry = appendAttr(entry, vlanEntryRange, binary.NativeEndian.AppendUint16(nil, e[2]))
		}
		b = appendAttr(b, vlanEntry|unix.NLA_F_NESTED, entry)
	}
	return b
}

func TestDecodeVLANs(t *testing.T) {
	decode := func(kind uint16, b []byte) []PortVLAN {
		return decodeVLANs(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind)}, Data: b}, 7)
	}
	got := decode(unix.RTM_NEWVLAN, vlanReply(7, [3]uint16{vlanPVID | vlanUntagged, 1, 0}, [3]uint16{0, 10, 20}, [3]uint16{vlanUntagged, 30, 0}))
	assert.Equal(t, []PortVLAN{{From: 1, To: 1, PVID: true, Untagged: true}, {From: 10, To: 20}, {From: 30, To: 30, Untagged: true}}, got)
	assert.Empty(t, decode(unix.RTM_NEWVLAN, vlanReply(8, [3]uint16{0, 1, 0})), "another port's")
	assert.Empty(t, decode(unix.RTM_NEWLINK, vlanReply(7, [3]uint16{0, 1, 0})), "another message")
	whole := vlanReply(7, [3]uint16{0, 10, 20})
	for n := range whole {
		assert.LessOrEqual(t, len(decode(unix.RTM_NEWVLAN, whole[:n])), 1, "cut at %d", n)
	}
	assert.Empty(t, decode(unix.RTM_NEWVLAN, vlanReply(7, [3]uint16{0, 20, 10})), "a range that ends before it begins")
}

func FuzzDecodeVLANs(f *testing.F) {
	f.Add(vlanReply(7, [3]uint16{0, 10, 20}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range decodeVLANs(netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWVLAN}, Data: b}, 7) {
			if p.From < 1 || p.To < p.From {
				t.Errorf("%+v", p)
			}
		}
	})
}

// A port's VLANs as the kernel tells them, with those of a second port left out.
func TestPortVLANs(t *testing.T) {
	c, _ := isolated(t)
	needs(t, "VLAN filtering", c.ProbeVLANFiltering)
	br, v, other := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0"), veth(t, "vif6.0", "g6.0")
	require.NoError(t, c.Configure("xenbr0", Settings{"vlan_filtering": "1"}))
	l, err := c.Link(br)
	require.NoError(t, err)
	assert.True(t, l.Filtering)
	require.NoError(t, bridgetest.SetMaster("vif5.0", "xenbr0"))
	require.NoError(t, bridgetest.SetMaster("vif6.0", "xenbr0"))
	own := func(id int) PortVLAN { return PortVLAN{From: id, To: id, PVID: true, Untagged: true} }
	check := func(want ...PortVLAN) {
		t.Helper()
		got, err := c.PortVLANs(v)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	check(own(1))
	require.NoError(t, c.DeletePortVLAN("vif5.0", own(1)))
	check()
	require.NoError(t, c.AddPortVLAN("vif5.0", own(13)))
	require.NoError(t, c.AddPortVLAN("vif5.0", PortVLAN{From: 20, To: 29}))
	check(own(13), PortVLAN{From: 20, To: 29})
	got, err := c.PortVLANs(other)
	require.NoError(t, err)
	assert.Equal(t, []PortVLAN{own(1)}, got)
	_, err = c.PortVLANs(9999)
	require.ErrorIs(t, err, ErrNotFound)
}
