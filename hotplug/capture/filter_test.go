package capture

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
)

func ethernet(kind uint16, payload ...byte) []byte {
	f := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

func ip4(proto byte, from, to string, sport, dport uint16, fragment uint16) []byte {
	b := make([]byte, 40)
	b[0], b[9] = 0x45, proto
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[12:], netip.MustParseAddr(from).AsSlice())
	copy(b[16:], netip.MustParseAddr(to).AsSlice())
	binary.BigEndian.PutUint16(b[20:], sport)
	binary.BigEndian.PutUint16(b[22:], dport)
	return ethernet(typeIPv4, b...)
}

func ip6(proto byte, from, to string, sport, dport uint16) []byte {
	b := make([]byte, 60)
	b[0], b[6] = 0x60, proto
	copy(b[8:], netip.MustParseAddr(from).AsSlice())
	copy(b[24:], netip.MustParseAddr(to).AsSlice())
	binary.BigEndian.PutUint16(b[40:], sport)
	binary.BigEndian.PutUint16(b[42:], dport)
	return ethernet(typeIPv6, b...)
}

func arp(op byte, from, to string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, op, 2, 0, 0, 0, 0, 2}
	b = append(b, netip.MustParseAddr(from).AsSlice()...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return ethernet(typeARP, append(b, netip.MustParseAddr(to).AsSlice()...)...)
}

// frames are some of every kind that filters tell apart, without tags.
func frames() (out [][]byte) {
	for _, proto := range []byte{protoICMP, protoTCP, protoUDP, protoICM6, 47} {
		for _, port := range []uint16{22, 53, 12345} {
			out = append(out, ip4(proto, "10.0.0.1", "10.0.1.2", 12345, port, 0), ip4(proto, "10.0.1.2", "192.168.7.9", port, 80, 0x2000),
				ip4(proto, "10.0.0.1", "10.0.1.2", 12345, port, 185), ip6(proto, "fd00::1", "fd01::2", 12345, port))
		}
	}
	lldp, group, all := ethernet(0x88cc, 1, 2, 3), ip4(protoUDP, "10.0.0.1", "224.0.0.251", 5353, 5353, 0), arp(1, "10.0.0.1", "10.0.1.2")
	group[0], all[0] = 1, 0xff
	for i := range 6 {
		all[i] = 0xff
	}
	return append(out, lldp, group, all, arp(2, "10.0.1.2", "10.0.0.1"), ethernet(38, make([]byte, 38)...))
}

var expressions = []string{
	"ip", "ip6", "arp", "icmp", "icmp6", "tcp", "udp", "broadcast", "multicast", "host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "src 10.0.0.1", "host fd00::1", "net 10.0.1.0/24",
	"src net 10.0.0.0/16", "dst net fd01::/16", "port 53", "src port 12345", "dst port 22", "tcp port 22", "udp dst port 53", "ether host 02:00:00:00:00:01", "ether src 02:00:00:00:00:02",
	"ether dst 02:00:00:00:00:02", "not arp", "! tcp", "tcp and port 22", "tcp or udp and port 53", "udp and (port 53 or port 5353)", "not (tcp or udp)", "not not ip", "tcp || udp && dst port 22",
	"icmp or (tcp and not port 22) or arp and host 10.0.1.2",
}

// What is taken is what tcpdump takes.
func TestFilterBesideTcpdump(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		if os.Getenv("VIFPLUG_CI") == "1" {
			t.Fatal("tcpdump is missing, which CI must have")
		}
		t.Skip("needs tcpdump, the yardstick")
	}
	for _, e := range expressions {
		f, err := ParseFilter(e)
		require.NoError(t, err, e)
		theirs := tcpdump(t, e)
		for _, frame := range frames() {
			n, err := theirs.Run(frame)
			require.NoError(t, err)
			assert.Equal(t, n > 0, f.Match(frame), "%s: %s", e, Summary(frame, len(frame)))
		}
	}
}

func tcpdump(t *testing.T, e string) *bpf.VM {
	t.Helper()
	out, err := exec.Command("tcpdump", "-y", "EN10MB", "-ddd", e).CombinedOutput()
	require.NoError(t, err, string(out))
	var raw []bpf.RawInstruction
	for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n")[1:] {
		var n [4]uint64
		for i, w := range strings.Fields(l) {
			n[i], err = strconv.ParseUint(w, 10, 32)
			require.NoError(t, err)
		}
		raw = append(raw, bpf.RawInstruction{Op: uint16(n[0]), Jt: uint8(n[1]), Jf: uint8(n[2]), K: uint32(n[3])})
	}
	ins, ok := bpf.Disassemble(raw)
	require.True(t, ok)
	vm, err := bpf.NewVM(ins)
	require.NoError(t, err)
	return vm
}

func TestFilterTags(t *testing.T) {
	tagged := ethernet(typeVLAN, append([]byte{0x20, 13}, ip4(protoTCP, "10.0.0.1", "10.0.1.2", 1, 22, 0)[12:]...)...)
	for e, want := range map[string]bool{
		"vlan": true, "vlan 13": true, "vlan 14": false, "tcp port 22": true, "vlan 13 and host 10.0.0.1": true, "not vlan": false, "vlan and not tcp": false, "ip": true, "": true,
	} {
		f, err := ParseFilter(e)
		require.NoError(t, err, e)
		assert.Equal(t, want, f.Match(tagged), e)
	}
	assert.Equal(t, "VLAN 13, TCP 10.0.0.1:1 > 10.0.1.2:22, 58 bytes", Summary(tagged, len(tagged)))
}

func TestFilterRefuses(t *testing.T) {
	for e, want := range map[string]string{
		"nonsense": `at word 1, "nonsense": want one of ip`, "host": "at the end: want an IP address", "host web01": `at word 2, "web01": want an IP address`, "tcp and": "at the end: want one of",
		"port 22 port 33": `at word 3, "port": want and, or`, "(tcp": `at the end: want ")"`, "tcp)": `at word 2, ")"`, "port 70000": "want a port's number", "net 10.0.0.1/24": "want a subnet",
		"ether 02:00:00:00:00:01": "want host, src or dst", "ether host 1:2": "want a MAC address", "vlan 5000": `at word 2, "5000"`, "tcp[13] & 2 != 0": `at word 1, "tcp[13]"`,
		"less 100": `at word 1, "less"`, "and": `at word 1, "and"`, "src tcp": "want an IP address", strings.Repeat("(", 40) + "tcp": "more than 32 brackets",
	} {
		_, err := ParseFilter(e)
		assert.ErrorContains(t, err, want, e)
	}
}

func FuzzSummary(f *testing.F) {
	for _, frame := range frames() {
		f.Add(frame)
	}
	f.Add(ethernet(typeVLAN, 0, 13, 0x81, 0, 0, 14, 8, 0, 0x45))
	x, err := ParseFilter("tcp port 22 or vlan 13 or host 10.0.0.1 or broadcast")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		s := Summary(frame, len(frame))
		for _, r := range s {
			assert.True(t, r >= ' ' && r <= '~', "%q", s)
		}
		x.Match(frame)
	})
}

func FuzzFilter(f *testing.F) {
	for _, e := range expressions {
		f.Add(e)
	}
	frame := ip4(protoTCP, "10.0.0.1", "10.0.1.2", 1, 22, 0)
	f.Fuzz(func(t *testing.T, e string) {
		x, err := ParseFilter(e)
		if err == nil {
			x.Match(frame)
		}
	})
}
