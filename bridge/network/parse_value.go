package network

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"vifplug/bridge"
)

// cell is one value on its way from text to what it means. Its methods read it by a grammar; where it is wrong they tell the reader, and give
// false.
type cell struct {
	r    *reader
	key  string // "network.mtu"
	want string // what the key takes, for errors
	v    value
}

// refuse tells what is wrong.
func (c *cell) refuse(format string, args ...any) {
	c.r.fault(c.v.at, "%s: %s", c.key, fmt.Sprintf(format, args...))
}

// mistaken tells that the value is of the wrong kind.
func (c *cell) mistaken() {
	raw := c.v.raw
	if raw == "" {
		raw = "a table"
	}
	c.refuse("want %s, not %s", c.want, Clip(raw))
}

// text reads a string.
func (c *cell) text() (string, bool) {
	if c.v.kind != unstable.String {
		c.mistaken()
		return "", false
	}
	return c.v.text, true
}

// flag reads true or false.
func (c *cell) flag() bool {
	if c.v.kind != unstable.Bool {
		c.mistaken()
	}
	return c.v.text == "true"
}

// number reads an integer within bounds; what is out of them is 0.
func (c *cell) number(least, most int) int {
	if c.v.kind != unstable.Integer {
		c.mistaken()
		return 0
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(c.v.text, "_", ""), 0, 64)
	if err != nil || n < int64(least) || n > int64(most) {
		c.refuse("%s is not within %d and %d", Clip(c.v.raw), least, most)
		return 0
	}
	return int(n)
}

// centiseconds reads a number of seconds, with up to two decimals, as the kernel counts: 1.5 is 150. The bounds are the kernel's.
func (c *cell) centiseconds(least, most int) int {
	if c.v.kind != unstable.Integer && c.v.kind != unstable.Float {
		c.mistaken()
		return 0
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(c.v.text, "_", ""), 64)
	n := math.Round(f * 100)
	switch {
	case err != nil || math.IsNaN(f) || n < float64(least) || n > float64(most):
		c.refuse("%s is not within %s and %s seconds", Clip(c.v.raw), seconds(least), seconds(most))
		return 0
	case math.Abs(f*100-n) > 1e-6:
		c.refuse("%s is finer than a hundredth of a second", Clip(c.v.raw))
		return 0
	}
	return int(n)
}

// seconds writes centiseconds as a number of seconds.
func seconds(n int) string { return strconv.FormatFloat(float64(n)/100, 'f', -1, 64) }

// each reads a list, value by value.
func (c *cell) each(read func(*cell)) {
	if c.v.kind != unstable.Array {
		c.mistaken()
		return
	}
	for _, v := range c.v.items {
		read(&cell{r: c.r, key: c.key, want: c.want, v: v})
	}
}

// oneOf reads one of several names.
func (c *cell) oneOf(names []string) string {
	s, ok := c.text()
	if ok && !slices.Contains(names, s) {
		c.refuse("%q is none of %s. Did you mean %q?", Clip(s), strings.Join(names, ", "), Nearest(s, names))
		return ""
	}
	return s
}

// device reads a device's name.
func (c *cell) device() bridge.Name {
	s, ok := c.text()
	if !ok {
		return ""
	}
	name, err := bridge.ParseName(s)
	if err != nil {
		c.refuse("%q %s", Clip(s), err)
	}
	return name
}

// mac reads the address of one device.
func (c *cell) mac() *bridge.MAC {
	s, ok := c.text()
	if !ok {
		return nil
	}
	m, err := bridge.ParseMAC(s)
	switch {
	case err != nil:
		c.refuse("%q %s", Clip(s), err)
	case m == bridge.MAC{}:
		c.refuse("%q is nobody's address", s)
	case m[0]&1 != 0:
		c.refuse("%q is the address of a group: the second digit must be even", s)
	default:
		return &m
	}
	return nil
}

// addr reads an IP address alone.
func (c *cell) addr() (netip.Addr, bool) {
	s, ok := c.text()
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		c.refuse("%q is an address with a prefix length: want the address alone", Clip(s))
	case err != nil || a.Zone() != "":
		c.refuse("%q is no IP address", Clip(s))
	case a.Is4In6():
		c.refuse("%q is an IPv4 address in IPv6's notation: say %s", s, a.Unmap())
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == broadcast:
		c.refuse("%q is not the address of one host", s)
	default:
		return a, true
	}
	return netip.Addr{}, false
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// prefix reads an address of the host with the length of its subnet.
func (c *cell) prefix() (netip.Prefix, bool) {
	s, ok := c.text()
	if !ok {
		return netip.Prefix{}, false
	}
	if a, err := netip.ParseAddr(s); err == nil {
		c.refuse("%q has no prefix length: say for example %q", s, a.WithZone("").String()+map[bool]string{true: "/24", false: "/64"}[a.Is4()])
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		c.refuse("%q is no address with a prefix length such as \"10.11.10.22/24\"", Clip(s))
		return netip.Prefix{}, false
	}
	if why := unfit(p); why != "" {
		c.refuse("%q %s", s, why)
		return netip.Prefix{}, false
	}
	return p, true
}

// unfit says why a host cannot have an address; "" when it can.
func unfit(p netip.Prefix) string {
	a := p.Addr()
	host := a.BitLen() - p.Bits()
	switch {
	case a.Is4In6():
		return "is an IPv4 address in IPv6's notation: say " + a.Unmap().String()
	case p.Bits() == 0:
		return "has every address there is in its subnet: want a longer prefix"
	case a.IsMulticast():
		return "is the address of a group of hosts"
	case a.IsLoopback():
		return "is the loopback device's"
	case a.IsUnspecified() || a == broadcast:
		return "is not the address of one host"
	case a.Is6() && a.IsLinkLocalUnicast():
		return "is a link-local address, which the kernel gives every device by itself"
	case host > 1 && a == p.Masked().Addr():
		return "is the address of the subnet itself"
	case a.Is4() && host > 1 && a == last(p):
		return "is the subnet's broadcast address"
	}
	return ""
}

// last is the highest address of an IPv4 subnet.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
