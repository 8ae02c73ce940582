package firewall

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nftables is read by its own messages here, as github.com/google/nftables v0.3.0 tells neither the devices of a chain nor that a table is
// dormant, and reads every rule to tell how many there are.

// What x/sys does not name (linux: include/uapi/linux/netfilter/nf_tables.h, netfilter.h).
const (
	hookDevices  = 4 // NFTA_HOOK_DEVS
	deviceName   = 1 // NFTA_DEVICE_NAME
	devicePrefix = 2 // NFTA_DEVICE_PREFIX
	tableDormant = 1 // NFT_TABLE_F_DORMANT
	nfgenmsg     = 4 // bytes of struct nfgenmsg
	policyDrop   = 0 // NF_DROP
)

// families are nftables' (linux: NFPROTO_...), with the names of their hooks by number.
var families = map[uint8]struct {
	name  string
	hooks []string
}{
	unix.NFPROTO_INET:   {"inet", []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}},
	unix.NFPROTO_IPV4:   {"ip", inetHooks},
	unix.NFPROTO_IPV6:   {"ip6", inetHooks},
	unix.NFPROTO_BRIDGE: {"bridge", inetHooks},
	unix.NFPROTO_ARP:    {"arp", arpHooks},
	unix.NFPROTO_NETDEV: {"netdev", []string{"ingress", "egress"}},
}

var (
	inetHooks = []string{"prerouting", "input", "forward", "output", "postrouting"}
	arpHooks  = []string{"input", "output", "forward"}
)

// table names a table.
type table struct {
	family uint8
	name   string
}

// decodeDormant reads a table message: true, its chains are not called.
func decodeDormant(b []byte) (t table, dormant bool, err error) {
	ad, family, err := attributes(b)
	if err != nil {
		return t, false, err
	}
	t.family = family
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_TABLE_NAME:
			t.name = ad.String()
		case unix.NFTA_TABLE_FLAGS:
			dormant = ad.Uint32()&tableDormant != 0
		}
	}
	return t, dormant, ad.Err()
}

// decodeChain reads a chain message. False: it is no base chain, which is only called by others, or of a family that no kernel has yet.
func decodeChain(b []byte) (h Hook, ok bool, err error) {
	ad, number, err := attributes(b)
	if err != nil {
		return h, false, err
	}
	family, known := families[number]
	h.By, h.Family = "nftables", family.name
	at := -1
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			h.Table = ad.String()
		case unix.NFTA_CHAIN_NAME:
			h.Chain = ad.String()
		case unix.NFTA_CHAIN_POLICY:
			h.Drops = ad.Uint32() == policyDrop
		case unix.NFTA_CHAIN_USE:
			h.Rules = int(ad.Uint32()) // nothing leads to a base chain, so whoever uses it is a rule in it (linux: nf_tables_api.c nft_verdict_init)
		case unix.NFTA_CHAIN_HOOK:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				at = decodeHook(ad, &h)
				return nil
			})
		}
	}
	if known && at >= 0 && at < len(family.hooks) {
		h.At = family.hooks[at]
	}
	return h, h.At != "", ad.Err()
}

// decodeHook reads where a chain is called and gives the hook's number; -1: it does not say.
func decodeHook(ad *netlink.AttributeDecoder, h *Hook) int {
	at := -1
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_HOOK_HOOKNUM:
			at = int(ad.Uint32())
		case unix.NFTA_HOOK_PRIORITY:
			h.Priority = int(int32(ad.Uint32()))
		case unix.NFTA_HOOK_DEV:
			if len(h.Devices) == 0 {
				h.Devices = []string{ad.String()}
			}
		case hookDevices:
			h.Devices = nil // the list has the one that is named beside it, too
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					switch ad.Type() {
					case deviceName:
						h.Devices = append(h.Devices, ad.String())
					case devicePrefix:
						h.Devices = append(h.Devices, ad.String()+"*")
					}
				}
				return nil
			})
		}
	}
	return at
}

// attributes begins to read a message of nfnetlink: its numbers are in network order.
func attributes(b []byte) (*netlink.AttributeDecoder, uint8, error) {
	if len(b) < nfgenmsg {
		return nil, 0, errMalformed
	}
	ad, err := netlink.NewAttributeDecoder(b[nfgenmsg:])
	if err != nil {
		return nil, 0, err
	}
	ad.ByteOrder = binary.BigEndian
	return ad, b[0], nil
}

// matters says that a message of a monitor is about tables, chains or rules that are not ours; sets change what is in them, not that there is
// a rule.
func matters(m netlink.Message) bool {
	switch m.Header.Type & 0xff {
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
	default:
		return false
	}
	ad, _, err := attributes(m.Data)
	if err != nil {
		return true
	}
	const name = 1 // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
	for ad.Next() {
		if ad.Type() == name {
			return ad.String() != Own
		}
	}
	return true
}
