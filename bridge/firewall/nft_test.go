package firewall

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// chainReply is the kernel's message about a base chain.
func chainReply(t testing.TB, family uint8, hook func(*netlink.AttributeEncoder) error) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.String(unix.NFTA_CHAIN_TABLE, "t")
	ae.String(unix.NFTA_CHAIN_NAME, "c")
	ae.Uint32(unix.NFTA_CHAIN_USE, 2)
	ae.Uint32(unix.NFTA_CHAIN_POLICY, 1)
	if hook != nil {
		ae.Nested(unix.NFTA_CHAIN_HOOK, hook)
	}
	b, err := ae.Encode()
	require.NoError(t, err)
	return append([]byte{family, 0, 0, 0}, b...)
}

// at is where a chain is called.
func at(number uint32, devices ...string) func(*netlink.AttributeEncoder) error {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.NFTA_HOOK_HOOKNUM, number)
		ae.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(0xffffff38)) // -200
		if len(devices) == 0 {
			return nil
		}
		ae.String(unix.NFTA_HOOK_DEV, devices[0])
		ae.Nested(hookDevices, func(ae *netlink.AttributeEncoder) error {
			for _, d := range devices {
				if d == "tap" {
					ae.String(devicePrefix, d)
					continue
				}
				ae.String(deviceName, d)
			}
			return nil
		})
		return nil
	}
}

func TestDecodeChain(t *testing.T) {
	for _, tc := range []struct {
		family uint8
		number uint32
		want   string
	}{
		{unix.NFPROTO_BRIDGE, 0, "bridge prerouting"},
		{unix.NFPROTO_BRIDGE, 2, "bridge forward"},
		{unix.NFPROTO_BRIDGE, 4, "bridge postrouting"},
		{unix.NFPROTO_IPV4, 1, "ip input"},
		{unix.NFPROTO_IPV6, 3, "ip6 output"},
		{unix.NFPROTO_INET, 5, "inet ingress"},
		{unix.NFPROTO_ARP, 2, "arp forward"},
		{unix.NFPROTO_NETDEV, 0, "netdev ingress"},
		{unix.NFPROTO_NETDEV, 1, "netdev egress"},
	} {
		h, ok, err := decodeChain(chainReply(t, tc.family, at(tc.number)))
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, tc.want, h.Family+" "+h.At)
		assert.Equal(t, Hook{By: "nftables", Family: h.Family, Table: "t", Chain: "c", At: h.At, Priority: -200, Rules: 2}, h)
	}
	h, ok, err := decodeChain(chainReply(t, unix.NFPROTO_NETDEV, at(0, "vif5.0", "tap", "eth0")))
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, []string{"vif5.0", "tap*", "eth0"}, h.Devices, "the first is named twice, and told once")
}

func TestDecodeChainThatIsNoHook(t *testing.T) {
	for what, b := range map[string][]byte{
		"a chain that others call": chainReply(t, unix.NFPROTO_BRIDGE, nil),
		"a hook to come":           chainReply(t, unix.NFPROTO_BRIDGE, at(9)),
		"a family to come":         chainReply(t, 77, at(0)),
	} {
		_, ok, err := decodeChain(b)
		require.NoError(t, err, what)
		assert.False(t, ok, what)
	}
	for _, b := range [][]byte{nil, {7}, {7, 0, 0, 0, 9}} {
		_, ok, err := decodeChain(b)
		require.Error(t, err)
		assert.False(t, ok)
	}
}

func FuzzDecodeChain(f *testing.F) {
	f.Add(chainReply(f, unix.NFPROTO_NETDEV, at(0, "vif5.0", "tap")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok, err := decodeChain(b)
		if ok && err == nil && (h.At == "" || h.Family == "") {
			t.Errorf("%+v", h)
		}
		_, _, _ = decodeDormant(b)
		matters(netlink.Message{Data: b})
	})
}
