package capture

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Filter says which frames are wanted. It takes the part of pcap-filter(7) that people use, and refuses the rest by name; unlike there, IP is found behind VLAN
// tags too. No Go module compiles these expressions rightly: github.com/packetcap/go-pcap was tried beside tcpdump, and took every third wrongly.
type Filter struct {
	text  string
	match func(*packet) bool
}

// String gives the expression back.
func (f *Filter) String() string { return f.text }

// Match says whether a frame is wanted. A nil Filter wants all.
func (f *Filter) Match(frame []byte) bool {
	if f == nil {
		return true
	}
	p := parse(frame)
	return f.match(&p)
}

// ParseFilter reads an expression; "" gives nil, which wants every frame. Its errors name the word.
func ParseFilter(text string) (*Filter, error) {
	p := &parser{words: words(text)}
	if len(p.words) == 0 {
		return nil, nil //nolint:nilnil // no filter is one that wants all
	}
	m, err := p.or(0)
	if err == nil && p.peek() != "" {
		err = p.wrong("and, or, or the end")
	}
	if err != nil {
		return nil, err
	}
	return &Filter{text: strings.Join(p.words, " "), match: m}, nil
}

// words splits an expression: brackets and ! stand alone.
func words(text string) []string {
	for _, alone := range []string{"(", ")", "!"} {
		text = strings.ReplaceAll(text, alone, " "+alone+" ")
	}
	text = strings.NewReplacer("&&", " and ", "||", " or ").Replace(text)
	return strings.Fields(text)
}

type parser struct {
	words []string
	at    int
}

type test = func(*packet) bool

func (p *parser) peek() string {
	if p.at < len(p.words) {
		return p.words[p.at]
	}
	return ""
}

func (p *parser) take(word string) bool {
	if p.peek() == word && word != "" {
		p.at++
		return true
	}
	return false
}

func (p *parser) wrong(want string) error {
	where := "at the end"
	if w := p.peek(); w != "" {
		where = fmt.Sprintf("at word %d, %.40q", p.at+1, w)
	}
	return fmt.Errorf("filter: %s: want %s. See vifctl capture --help for what it takes", where, want)
}

// deepest bounds brackets within brackets.
const deepest = 32

// or and and have the same rank in pcap-filter(7), and go from left to right; so it is here.
func (p *parser) or(depth int) (test, error) {
	if depth > deepest {
		return nil, fmt.Errorf("filter: more than %d brackets within each other", deepest)
	}
	left, err := p.not(depth)
	for err == nil {
		var right test
		switch a := left; {
		case p.take("or"):
			right, err = p.not(depth)
			left = func(f *packet) bool { return a(f) || right(f) }
		case p.take("and"):
			right, err = p.not(depth)
			left = func(f *packet) bool { return a(f) && right(f) }
		default:
			return left, nil
		}
	}
	return nil, err
}

func (p *parser) not(depth int) (test, error) {
	no := false
	for p.take("not") || p.take("!") {
		no = !no
	}
	var m test
	var err error
	if p.take("(") {
		if m, err = p.or(depth + 1); err == nil && !p.take(")") {
			err = p.wrong(`")"`)
		}
	} else {
		m, err = p.primitive()
	}
	if err != nil || !no {
		return m, err
	}
	return func(f *packet) bool { return !m(f) }, nil
}

// kinds are the words that stand for a protocol by themselves, and before port.
var kinds = map[string]test{
	"ip":    func(f *packet) bool { return f.kind == typeIPv4 },
	"ip6":   func(f *packet) bool { return f.kind == typeIPv6 },
	"arp":   func(f *packet) bool { return f.kind == typeARP },
	"icmp":  func(f *packet) bool { return f.kind == typeIPv4 && f.proto == protoICMP },
	"icmp6": func(f *packet) bool { return f.kind == typeIPv6 && f.proto == protoICM6 },
	"tcp":   func(f *packet) bool { return f.proto == protoTCP },
	"udp":   func(f *packet) bool { return f.proto == protoUDP },
}

const aPrimitive = "one of ip, ip6, arp, icmp, icmp6, tcp, udp, vlan, broadcast, multicast, host, net, port, ether, or src or dst before those"

func (p *parser) primitive() (test, error) {
	word := p.peek()
	if m, is := kinds[word]; is {
		p.at++
		if next := p.peek(); (word == "tcp" || word == "udp") && (next == "port" || (next == "src" || next == "dst") && p.after(1) == "port") {
			port, err := p.address()
			return func(f *packet) bool { return m(f) && port(f) }, err
		}
		return m, nil
	}
	switch word {
	case "vlan":
		p.at++
		return p.vlan()
	case "broadcast":
		p.at++
		return func(f *packet) bool { return bytes.Equal(f.dst, broadcast) }, nil
	case "multicast":
		p.at++
		return func(f *packet) bool { return f.dst != nil && f.dst[0]&1 != 0 }, nil
	case "ether":
		p.at++
		return p.ether()
	case "host", "net", "port", "src", "dst":
		return p.address()
	}
	return nil, p.wrong(aPrimitive)
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func (p *parser) after(n int) string {
	if p.at+n < len(p.words) {
		return p.words[p.at+n]
	}
	return ""
}

func (p *parser) vlan() (test, error) {
	id, err := strconv.ParseUint(p.peek(), 10, 12)
	if err != nil {
		return func(f *packet) bool { return len(f.vlans) > 0 }, nil // any; what stands here is for the next to judge
	}
	p.at++
	return func(f *packet) bool { return len(f.vlans) > 0 && f.vlans[0] == int(id) }, nil
}

// sides are which end of a frame is meant.
func (p *parser) sides() (src, dst bool) {
	switch {
	case p.take("src"):
		return true, false
	case p.take("dst"):
		return false, true
	}
	return true, true
}

func (p *parser) ether() (test, error) {
	src, dst := p.sides()
	if !p.take("host") && src && dst {
		return nil, p.wrong("host, src or dst")
	}
	mac, err := net.ParseMAC(p.peek())
	if err != nil || len(mac) != 6 {
		return nil, p.wrong("a MAC address such as 00:16:3e:12:34:56")
	}
	p.at++
	return func(f *packet) bool { return src && bytes.Equal(f.src, mac) || dst && bytes.Equal(f.dst, mac) }, nil
}

// address is host, net or port, perhaps of one side.
func (p *parser) address() (test, error) {
	src, dst := p.sides()
	switch {
	case p.take("port"):
		port, err := strconv.ParseUint(p.peek(), 10, 16)
		if err != nil {
			return nil, p.wrong("a port's number")
		}
		p.at++
		return func(f *packet) bool { return f.ports && (src && f.sport == int(port) || dst && f.dport == int(port)) }, nil
	case p.take("net"):
		n, err := netip.ParsePrefix(p.peek())
		if err != nil || n.Masked() != n {
			return nil, p.wrong("a subnet such as 10.11.10.0/24")
		}
		p.at++
		return func(f *packet) bool { return src && n.Contains(f.from) || dst && n.Contains(f.to) }, nil
	case p.take("host") || !src || !dst:
		a, err := netip.ParseAddr(p.peek())
		if err != nil || a.Zone() != "" {
			return nil, p.wrong("an IP address")
		}
		p.at++
		return func(f *packet) bool { return src && f.from == a || dst && f.to == a }, nil
	}
	return nil, p.wrong("host, net or port")
}
