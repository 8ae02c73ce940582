package capture

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// EtherTypes (IEEE 802), and protocols (IANA).
const (
	typeIPv4  = 0x0800
	typeARP   = 0x0806
	typeIPv6  = 0x86dd
	typeVLAN  = 0x8100
	typeQinQ  = 0x88a8
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
	protoICM6 = 58
)

// packet is a frame taken apart as far as it holds. What a guest has sent may be anything: nothing here trusts a length.
type packet struct {
	dst, src  net.HardwareAddr // nil: no Ethernet header
	vlans     []int
	kind      int // EtherType behind the tags; below 1536 a length (IEEE 802.3)
	from, to  netip.Addr
	proto     int // of IP; -1: none
	ports     bool
	sport     int
	dport     int
	arpAsks   bool
	truncated bool
}

// mostTags bounds how many VLAN tags are looked behind.
const mostTags = 4

func parse(f []byte) packet {
	p := packet{proto: -1}
	if len(f) < 14 {
		p.truncated = true
		return p
	}
	p.dst, p.src = f[:6], f[6:12]
	p.kind = int(binary.BigEndian.Uint16(f[12:]))
	f = f[14:]
	for (p.kind == typeVLAN || p.kind == typeQinQ) && len(f) >= 4 && len(p.vlans) < mostTags {
		p.vlans = append(p.vlans, int(binary.BigEndian.Uint16(f))&0xfff)
		p.kind = int(binary.BigEndian.Uint16(f[2:]))
		f = f[4:]
	}
	switch p.kind {
	case typeIPv4:
		p.ip4(f)
	case typeIPv6:
		p.ip6(f)
	case typeARP:
		p.arp(f)
	}
	return p
}

func (p *packet) ip4(f []byte) {
	if len(f) < 20 || f[0]>>4 != 4 {
		p.truncated = true
		return
	}
	p.from, p.to, p.proto = netip.AddrFrom4([4]byte(f[12:16])), netip.AddrFrom4([4]byte(f[16:20])), int(f[9])
	head := int(f[0]&15) * 4
	if binary.BigEndian.Uint16(f[6:])&0x1fff != 0 || head < 20 || head > len(f) {
		return // a later fragment has no ports
	}
	p.transport(f[head:])
}

func (p *packet) ip6(f []byte) {
	if len(f) < 40 || f[0]>>4 != 6 {
		p.truncated = true
		return
	}
	p.from, p.to, p.proto = netip.AddrFrom16([16]byte(f[8:24])), netip.AddrFrom16([16]byte(f[24:40])), int(f[6])
	p.transport(f[40:])
}

func (p *packet) transport(f []byte) {
	if (p.proto == protoTCP || p.proto == protoUDP) && len(f) >= 4 {
		p.ports, p.sport, p.dport = true, int(binary.BigEndian.Uint16(f)), int(binary.BigEndian.Uint16(f[2:]))
	}
}

func (p *packet) arp(f []byte) {
	if len(f) < 28 || binary.BigEndian.Uint16(f[2:]) != typeIPv4 || f[4] != 6 || f[5] != 4 {
		p.truncated = true
		return
	}
	p.arpAsks = binary.BigEndian.Uint16(f[6:]) == 1
	p.from, p.to = netip.AddrFrom4([4]byte(f[14:18])), netip.AddrFrom4([4]byte(f[24:28]))
}

// Summary says in a line what a frame is. It holds nothing but what it was made of here: no byte of the frame is copied as text.
func Summary(frame []byte, length int) string {
	p := parse(frame)
	if p.dst == nil {
		return fmt.Sprintf("%d bytes: no Ethernet frame", length)
	}
	var b strings.Builder
	for _, v := range p.vlans {
		fmt.Fprintf(&b, "VLAN %d, ", v)
	}
	switch {
	case p.from.IsValid() && p.kind == typeARP && p.arpAsks:
		fmt.Fprintf(&b, "ARP, %v asks for %v", p.from, p.to)
	case p.from.IsValid() && p.kind == typeARP:
		fmt.Fprintf(&b, "ARP, %v is at %v", p.from, p.src)
	case p.ports:
		fmt.Fprintf(&b, "%s %v > %v", protoName(p.proto), netip.AddrPortFrom(p.from, uint16(p.sport)), netip.AddrPortFrom(p.to, uint16(p.dport)))
	case p.from.IsValid():
		fmt.Fprintf(&b, "%s %v > %v", protoName(p.proto), p.from, p.to)
	case p.kind < 1536:
		fmt.Fprintf(&b, "802.3 %v > %v", p.src, p.dst)
	default:
		fmt.Fprintf(&b, "type %#04x %v > %v", p.kind, p.src, p.dst)
	}
	fmt.Fprintf(&b, ", %d bytes", length)
	return b.String()
}

func protoName(proto int) string {
	switch proto {
	case protoICMP:
		return "ICMP"
	case protoTCP:
		return "TCP"
	case protoUDP:
		return "UDP"
	case protoICM6:
		return "ICMPv6"
	}
	return fmt.Sprintf("IP protocol %d", proto)
}
