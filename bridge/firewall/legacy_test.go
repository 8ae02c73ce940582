package firewall

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/test/netns"
)

// legacyTool runs a legacy tool. The test is skipped where the kernel has not what the tool needs; a distribution's kernel has it, and
// [TestLegacyChains] and [TestEbtChains] read what one that has it would say.
func legacyTool(t *testing.T, name string, args ...string) {
	t.Helper()
	tool(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err == nil {
		return
	}
	lacks := slices.ContainsFunc([]string{"Table does not exist", "doesn't support", "can't initialize", "Protocol not available"}, func(s string) bool {
		return strings.Contains(string(out), s)
	})
	require.True(t, lacks, "%s %v: %s", name, args, out)
	require.False(t, os.Getenv("VIFPLUG_CI") == "1" && modular(t), "a distribution's kernel has what %s needs: %s", name, out)
	t.Skipf("this kernel has not what %s needs: %s", name, out)
}

// modular says that the kernel has modules beside it, as those of distributions have.
func modular(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	require.NoError(t, unix.Uname(&u))
	_, err := os.Stat("/lib/modules/" + unix.ByteSliceToString(u.Release[:]) + "/kernel")
	return err == nil
}

func TestReadLegacy(t *testing.T) {
	netns.New(t)
	before := read(t)
	assert.Empty(t, before.IP)
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
		assert.Empty(t, names, "to ask sets nothing up")
	}
	legacyTool(t, "iptables-legacy", "-A", "FORWARD", "-p", "udp", "-j", "DROP")
	legacyTool(t, "iptables-legacy", "-A", "FORWARD", "-p", "tcp", "-j", "ACCEPT")
	legacyTool(t, "iptables-legacy", "-N", "MORE")
	legacyTool(t, "iptables-legacy", "-A", "MORE", "-j", "DROP")
	legacyTool(t, "iptables-legacy", "-P", "INPUT", "DROP")
	legacyTool(t, "iptables-legacy", "-t", "nat", "-L", "-n") // a table with nothing in it
	hook := Hook{By: "iptables", Family: "ip", Table: "filter", Chain: "FORWARD", At: "forward", Rules: 2}
	in := Hook{By: "iptables", Family: "ip", Table: "filter", Chain: "INPUT", At: "input", Drops: true}
	s := read(t)
	assert.ElementsMatch(t, []Hook{hook, in}, s.IP)
	s.NFCall = Calls{}
	assert.Equal(t, []Hook{hook}, s.Against("vif5.0", Calls{IP: true}))
	legacyTool(t, "iptables-legacy", "-F")
	legacyTool(t, "iptables-legacy", "-P", "INPUT", "ACCEPT")
	assert.Empty(t, read(t).IP)
}

func TestReadLegacyIPv6(t *testing.T) {
	netns.New(t)
	legacyTool(t, "ip6tables-legacy", "-P", "FORWARD", "DROP")
	hook := Hook{By: "ip6tables", Family: "ip6", Table: "filter", Chain: "FORWARD", At: "forward", Drops: true}
	assert.Equal(t, []Hook{hook}, read(t).IP)
	legacyTool(t, "ip6tables-legacy", "-P", "FORWARD", "ACCEPT")
	legacyTool(t, "ip6tables-legacy", "-A", "FORWARD", "-j", "ACCEPT")
	hook.Rules, hook.Drops = 1, false
	assert.Equal(t, []Hook{hook}, read(t).IP)
}

func TestReadLegacyARP(t *testing.T) {
	netns.New(t)
	legacyTool(t, "arptables-legacy", "-A", "FORWARD", "-j", "DROP")
	legacyTool(t, "arptables-legacy", "-P", "FORWARD", "DROP")
	hook := Hook{By: "arptables", Family: "arp", Table: "filter", Chain: "FORWARD", At: "forward", Rules: 1, Drops: true}
	assert.Equal(t, []Hook{hook}, read(t).IP)
}

func TestReadEbtables(t *testing.T) {
	netns.New(t)
	assert.Empty(t, read(t).Bridge)
	legacyTool(t, "ebtables-legacy", "-A", "FORWARD", "-p", "ARP", "-j", "DROP")
	legacyTool(t, "ebtables-legacy", "-A", "FORWARD", "-s", "02:00:00:00:00:01", "-j", "ACCEPT")
	legacyTool(t, "ebtables-legacy", "-t", "nat", "-P", "PREROUTING", "DROP")
	forward := Hook{By: "ebtables", Family: "bridge", Table: "filter", Chain: "FORWARD", At: "forward", Rules: 2}
	pre := Hook{By: "ebtables", Family: "bridge", Table: "nat", Chain: "PREROUTING", At: "prerouting", Drops: true}
	assert.ElementsMatch(t, []Hook{forward, pre}, read(t).Bridge)
	legacyTool(t, "ebtables-legacy", "-F")
	assert.Equal(t, []Hook{pre}, read(t).Bridge)
}

// legacyTable is a table as the kernel tells it: chains of rules of a given length, each with its policy.
func legacyTable(f legacy, rules map[int]int, drops map[int]bool) (info, entries []byte) {
	info = make([]byte, f.infoSize())
	entry := func(verdict int32) {
		start := len(entries)
		entries = append(entries, make([]byte, f.target+28+40)...)
		binary.NativeEndian.PutUint16(entries[start+f.target:], uint16(f.target+28))
		binary.NativeEndian.PutUint16(entries[start+f.target+2:], uint16(f.target+28+40))
		binary.NativeEndian.PutUint32(entries[start+f.target+28+32:], uint32(verdict))
	}
	for i := range f.hooks {
		n, ok := rules[i]
		if !ok {
			continue
		}
		info[validHooks] |= 1 << i
		binary.NativeEndian.PutUint32(info[firstHook+4*i:], uint32(len(entries)))
		for range n {
			entry(-2)
		}
		binary.NativeEndian.PutUint32(info[firstHook+4*(len(f.hooks)+i):], uint32(len(entries)))
		entry(map[bool]int32{true: -1, false: -2}[drops[i]])
	}
	binary.NativeEndian.PutUint32(info[len(info)-4:], uint32(len(entries)))
	return info, entries
}

func TestLegacyChains(t *testing.T) {
	for _, f := range []legacy{ip4Tables, ip6Tables, arpTables} {
		last := len(f.hooks) - 1
		info, entries := legacyTable(f, map[int]int{0: 3, last: 0}, map[int]bool{last: true})
		assert.Equal(t, len(entries), f.entriesSize(info))
		first, end := builtin[f.hooks[0]], builtin[f.hooks[last]]
		assert.Equal(t, []Hook{
			{By: f.by, Family: f.family, Table: "filter", Chain: first, At: f.hooks[0], Rules: 3},
			{By: f.by, Family: f.family, Table: "filter", Chain: end, At: f.hooks[last], Drops: true},
		}, f.chains("filter", info, entries))
	}
}

func FuzzLegacyChains(f *testing.F) {
	info, entries := legacyTable(ip4Tables, map[int]int{1: 2, 2: 1}, map[int]bool{2: true})
	f.Add(info, entries)
	f.Fuzz(func(t *testing.T, info, entries []byte) {
		for _, h := range ip4Tables.chains("filter", info, entries) {
			if h.At == "" || h.Rules < 0 || h.Rules > len(entries)+1 {
				t.Errorf("%+v", h)
			}
		}
	})
}

// ebtTableOf is a table as the kernel tells it.
func ebtTableOf(chains ...Hook) (b []byte) {
	for _, h := range chains {
		head := make([]byte, ebtChain)
		copy(head[ebtChainName:], h.Chain)
		policy := int32(-1)
		if h.Drops {
			policy = ebtDrop
		}
		binary.NativeEndian.PutUint32(head[ebtChainPolicy:], uint32(policy))
		binary.NativeEndian.PutUint32(head[ebtChainRules:], uint32(h.Rules))
		b = append(b, head...)
		for range h.Rules {
			entry := make([]byte, ebtEntry+40)
			binary.NativeEndian.PutUint32(entry, ebtIsEntry|4)
			binary.NativeEndian.PutUint32(entry[ebtNext:], uint32(len(entry)))
			b = append(b, entry...)
		}
	}
	return b
}

func TestEbtChains(t *testing.T) {
	chain := func(name, at string, rules int, drops bool) Hook {
		return Hook{By: "ebtables", Family: "bridge", Table: "filter", Chain: name, At: at, Rules: rules, Drops: drops}
	}
	want := []Hook{chain("INPUT", "input", 0, false), chain("FORWARD", "forward", 2, true), chain("OUTPUT", "output", 1, false)}
	b := ebtTableOf(append(want, chain("ADMIN", "", 3, true))...)
	assert.Equal(t, want, ebtChains("filter", b), "a chain of the administrator's is only called by others")
	for n := range b {
		assert.LessOrEqual(t, len(ebtChains("filter", b[:n])), len(want))
	}
}

func FuzzEbtChains(f *testing.F) {
	f.Add(ebtTableOf(Hook{Chain: "FORWARD", Rules: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := ebtChains("filter", b); len(got) > len(b)/ebtChain {
			t.Errorf("%v", got)
		}
	})
}

func TestEbtablesAreAskedOnlyIfLoaded(t *testing.T) {
	const modules = "ebtable_filter 16384 1 - Live 0x0\nebtables 49152 1 ebtable_filter, Live 0x0\nxebtable_nat 1 0 - Live 0x0\n"
	assert.Equal(t, []string{"filter"}, loaded([]string{"broute", "nat", "filter"}, modules))
	assert.Equal(t, []string{"nat"}, loaded([]string{"broute", "nat"}, "ebtable_nat 16384 0 - Live 0x0\n"))
	assert.Empty(t, loaded([]string{"nat"}, ""))
}
