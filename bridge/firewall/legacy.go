package firewall

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/unix"
)

// legacy is one of the three firewalls that have the same form (linux: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/
// ip6_tables.h, netfilter_arp/arp_tables.h), with the offsets of a 64-bit kernel.
type legacy struct {
	by, family string
	names      string   // the file that lists the tables that are there
	domain     int      // of the socket to ask at
	level      int      // of its options
	option     int      // ..._SO_GET_INFO; the next is ..._SO_GET_ENTRIES
	hooks      []string // by number
	target     int      // offset of target_offset in an entry; next_offset comes after it
}

var (
	ip4Tables = legacy{"iptables", "ip", "ip_tables_names", unix.AF_INET, unix.IPPROTO_IP, 64, inetHooks, 88}
	ip6Tables = legacy{"ip6tables", "ip6", "ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6, 64, inetHooks, 140}
	arpTables = legacy{"arptables", "arp", "arp_tables_names", unix.AF_INET, unix.IPPROTO_IP, 96, arpHooks, 164}
)

// The fixed parts of the answers (linux: struct ipt_getinfo, ipt_get_entries).
const (
	tableName  = 32 // bytes of a table's name, which both begin with
	validHooks = tableName
	firstHook  = tableName + 4
	listHead   = 40 // the name, the size, and what aligns the entries
)

// infoSize is the length of the answer about a table.
func (f legacy) infoSize() int { return firstHook + 8*len(f.hooks) + 8 }

// entriesSize is how long the list of the table's entries is, as its info says.
func (f legacy) entriesSize(info []byte) int {
	return int(binary.NativeEndian.Uint32(info[f.infoSize()-4:]))
}

// chains reads a table: its own chains, one for each hook. The entries from a chain's first to its policy, which is an entry too, are its
// rules.
func (f legacy) chains(name string, info, entries []byte) (out []Hook) {
	if len(info) < f.infoSize() {
		return nil
	}
	valid := binary.NativeEndian.Uint32(info[validHooks:])
	for valid != 0 {
		i := bits.TrailingZeros32(valid)
		valid &= valid - 1
		if i >= len(f.hooks) {
			continue
		}
		first := int(binary.NativeEndian.Uint32(info[firstHook+4*i:]))
		policy := int(binary.NativeEndian.Uint32(info[firstHook+4*(len(f.hooks)+i):]))
		h := Hook{By: f.by, Family: f.family, Table: name, Chain: builtin[f.hooks[i]], At: f.hooks[i]}
		h.Rules, h.Drops = f.count(entries, first, policy), f.drops(entries, policy)
		out = append(out, h)
	}
	return out
}

// builtin are the names of the legacy firewalls' own chains.
var builtin = map[string]string{
	"prerouting": "PREROUTING", "input": "INPUT", "forward": "FORWARD", "output": "OUTPUT", "postrouting": "POSTROUTING",
}

// count counts the entries from one offset to another.
func (f legacy) count(entries []byte, from, to int) (n int) {
	for from < to {
		n++
		if from < 0 || from+f.target+4 > len(entries) {
			break
		}
		step := int(binary.NativeEndian.Uint16(entries[from+f.target+2:]))
		if step == 0 {
			break
		}
		from += step
	}
	return n
}

// drops says that the policy at an offset is drop: a standard target (of no name) whose verdict is -NF_DROP-1.
func (f legacy) drops(entries []byte, at int) bool {
	const nameAt, verdictAt, drop = 2, 32, -1
	if at < 0 || at+f.target+2 > len(entries) {
		return false
	}
	at += int(binary.NativeEndian.Uint16(entries[at+f.target:]))
	if at+verdictAt+4 > len(entries) {
		return false
	}
	return entries[at+nameAt] == 0 && int32(binary.NativeEndian.Uint32(entries[at+verdictAt:])) == drop
}
