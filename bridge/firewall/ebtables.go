package firewall

import (
	"bytes"
	"encoding/binary"
)

// The form of legacy ebtables (linux: include/uapi/linux/netfilter_bridge/ebtables.h struct ebt_replace, ebt_entries, ebt_entry), with the
// offsets of a 64-bit kernel.
const (
	ebtGetInfo    = 128 // EBT_SO_GET_INFO
	ebtGetEntries = 129 // EBT_SO_GET_ENTRIES

	ebtReplace     = 120
	ebtEntryCount  = 36
	ebtEntriesSize = 40
	ebtEntriesAt   = 112

	ebtChainName   = 4
	ebtChainPolicy = 40
	ebtChainRules  = 44
	ebtChain       = 48
	ebtNext        = 108
	ebtEntry       = 112

	ebtIsEntry = 1  // EBT_ENTRY_OR_ENTRIES in an entry's bitmask
	ebtDrop    = -2 // EBT_DROP
)

// ebtHooks say where ebtables' own chains are called. BROUTING decides whether a frame is bridged at all.
var ebtHooks = map[string]string{
	"PREROUTING": "prerouting", "BROUTING": "prerouting", "INPUT": "input", "FORWARD": "forward", "OUTPUT": "output", "POSTROUTING": "postrouting",
}

// ebtChains reads a table's entries: each chain's head, then its rules.
func ebtChains(table string, b []byte) (out []Hook) {
	for len(b) >= ebtChain {
		if binary.NativeEndian.Uint32(b)&ebtIsEntry != 0 {
			if len(b) < ebtEntry {
				break
			}
			next := int(binary.NativeEndian.Uint32(b[ebtNext:]))
			if next < ebtEntry || next > len(b) {
				break
			}
			b = b[next:]
			continue
		}
		name, _, _ := bytes.Cut(b[ebtChainName:ebtChainName+tableName], []byte{0})
		if at, ok := ebtHooks[string(name)]; ok {
			out = append(out, Hook{
				By: "ebtables", Family: "bridge", Table: table, Chain: string(name), At: at,
				Rules: int(binary.NativeEndian.Uint32(b[ebtChainRules:])),
				Drops: int32(binary.NativeEndian.Uint32(b[ebtChainPolicy:])) == ebtDrop,
			})
		}
		b = b[ebtChain:]
	}
	return out
}
