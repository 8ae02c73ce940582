package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"vifplug/bridge"
)

// key is a key of a declaration's table: how its value is read, written, and told of.
type key[T any] struct {
	name   string
	want   string // what it takes, for errors: `a list of ports such as ["eth0"]`
	absent string // what its absence means: a value as it would be written, or words
	text   string // what it is, half a sentence
	needed bool
	set    func(*cell, *T)
	get    func(*T) string // as it is written; "" where it is absent
}

// Key is a key of a declaration, as documents tell of it.
type Key struct {
	Name    string // "network.mtu"
	Want    string // what it takes
	Default string // as it would be written, or in words what its absence means
	Text    string // what it is, half a sentence
}

// Keys are all keys of [[bond]] and [[network]].
func Keys() []Key { return append(told(bondTable, bondKeys), told(networkTable, networkKeys)...) }

func told[T any](table string, keys []key[T]) (out []Key) {
	for _, k := range keys {
		out = append(out, Key{table + "." + k.name, k.want, k.absent, k.text})
	}
	return out
}

func keyNames[T any](keys []key[T]) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.name
	}
	return out
}

// Bounds of an MTU: what IPv4 needs (RFC 791), and the kernel's greatest (linux: ETH_MAX_MTU).
const (
	leastMTU = 68
	mostMTU  = 65535
)

// DefaultMode is the mode of a bond that declares none: the one that asks nothing of the switch.
const DefaultMode = "active-backup"

const (
	wantMTU = "a number of bytes from 68 to 65535"
	wantMAC = `a MAC address such as "00:16:3e:12:34:56"`
)

// bondKeys are the keys of [[bond]], in the order in which they are written.
var bondKeys = append([]key[Bond]{
	{
		name: "name", want: `a device's name such as "bond0"`, absent: "required", needed: true,
		text: "the bond's name, that of its device",
		set:  func(c *cell, b *Bond) { b.Name = c.device() },
		get:  func(b *Bond) string { return quote(b.Name) },
	},
	{
		name: "ports", want: `a list of ports such as ["eth0", "eth1"]`, absent: "required", needed: true,
		text: "its ports, at least one; the first lends the bond its MAC address",
		set:  func(c *cell, b *Bond) { b.Ports = c.ports() },
		get:  func(b *Bond) string { return list(b.Ports) },
	},
	{
		name: "mode", want: "the name of a mode", absent: quote(DefaultMode),
		text: "how the ports share the work: " + strings.Join(bridge.BondModes, ", "),
		set:  func(c *cell, b *Bond) { b.Mode = c.oneOf(bridge.BondModes) },
		get:  func(b *Bond) string { return quote(b.Mode) },
	},
	{
		name: "mtu", want: wantMTU, absent: "as its networks need",
		text: "MTU of the bond and of its ports, in bytes; no network on it may need more",
		set:  func(c *cell, b *Bond) { b.MTU = c.number(leastMTU, mostMTU) },
		get:  func(b *Bond) string { return number(b.MTU) },
	},
	{
		name: "mac", want: wantMAC, absent: "the first port's",
		text: "the bond's MAC address",
		set:  func(c *cell, b *Bond) { b.MAC = c.mac() },
		get:  func(b *Bond) string { return mac(b.MAC) },
	},
}, optionKeys(bridge.BondOptions, func(b *Bond) *bridge.Settings { return &b.Options })...)

// networkKeys are the keys of [[network]], in the order in which they are written.
var networkKeys = append([]key[Network]{
	{
		name: "name", want: `a name such as "guests"`, absent: "required", needed: true,
		text: "the network's name, as people and guests' configurations call it",
		set:  func(c *cell, n *Network) { n.Name = c.name() },
		get:  func(n *Network) string { return quote(n.Name) },
	},
	{
		name: "on", want: `a port or a bond such as "bond0"`, absent: "nothing: guests among themselves",
		text: "what it is built on: a port or a bond",
		set:  func(c *cell, n *Network) { n.On = c.device() },
		get:  func(n *Network) string { return quote(n.On) },
	},
	{
		name: "vlan", want: "a number from 1 to 4094", absent: "untagged",
		text: "the VLAN's id, 1 to 4094; leave it out for the untagged segment",
		set:  func(c *cell, n *Network) { n.VLAN = c.vlan() },
		get:  func(n *Network) string { return number(n.VLAN) },
	},
	{
		name: "roles", want: `a list of roles such as ["virtual-machine"]`, absent: "required", needed: true,
		text: "what it carries: " + strings.Join(RoleNames(), ", "),
		set:  func(c *cell, n *Network) { n.Roles = c.roles() },
		get:  func(n *Network) string { return list(n.Roles.List()) },
	},
	{
		name: "address", want: `a list of addresses with prefix lengths such as ["10.11.10.22/24"]`, absent: "none",
		text: "the host's addresses, with the lengths of their subnets",
		set:  func(c *cell, n *Network) { n.Address = c.addresses() },
		get:  func(n *Network) string { return list(n.Address) },
	},
	{
		name: "gateway", want: `a list of addresses such as ["10.11.10.1"]`, absent: "none",
		text: "default routes by way of these, at most one for IPv4 and one for IPv6",
		set:  func(c *cell, n *Network) { n.Gateway = c.gateways() },
		get:  func(n *Network) string { return list(n.Gateway) },
	},
	{
		name: "host-address", want: "true or false", absent: "false",
		text: "a network for guests alone may have addresses of the host all the same",
		set:  func(c *cell, n *Network) { n.HostAddress = c.flag() },
		get:  func(n *Network) string { return flag(n.HostAddress) },
	},
	{
		name: "id", want: `a device's name such as "4b"`, absent: "generated",
		text: "its id, which is its bridge's name, at most 15 bytes",
		set:  func(c *cell, n *Network) { n.ID = c.device() },
		get:  func(n *Network) string { return quote(n.ID) },
	},
	{
		name: "mtu", want: wantMTU, absent: "what it stands on has",
		text: "its MTU in bytes; what it stands on gets at least as much",
		set:  func(c *cell, n *Network) { n.MTU = c.number(leastMTU, mostMTU) },
		get:  func(n *Network) string { return number(n.MTU) },
	},
	{
		name: "mac", want: wantMAC, absent: "that of what it stands on",
		text: "its bridge's MAC address",
		set:  func(c *cell, n *Network) { n.MAC = c.mac() },
		get:  func(n *Network) string { return mac(n.MAC) },
	},
	{
		name: "vlan-filtering", want: "true or false", absent: "false",
		text: "one bridge for many VLANs, each guest's NIC in those that its `vlan=` names",
		set:  func(c *cell, n *Network) { n.VLANFiltering = c.flag() },
		get:  func(n *Network) string { return flag(n.VLANFiltering) },
	},
	{
		name: "path", want: "the name of a path", absent: "as hotplug.path",
		text: "which way guests' frames take here: " + strings.Join(Paths, ", "),
		set:  func(c *cell, n *Network) { n.Path = c.oneOf(Paths) },
		get:  func(n *Network) string { return quote(n.Path) },
	},
	{
		name: "guard", want: "the name of a guard", absent: "as hotplug.guard",
		text: "what guests' frames are held to: " + strings.Join(Guards, ", "),
		set:  func(c *cell, n *Network) { n.Guard = c.oneOf(Guards) },
		get:  func(n *Network) string { return quote(n.Guard) },
	},
}, optionKeys(bridge.BridgeOptions, func(n *Network) *bridge.Settings { return &n.Bridge })...)

// vlan reads a VLAN's id.
func (c *cell) vlan() int {
	if c.v.kind == unstable.Integer && c.v.text == "0" {
		c.refuse("0 is no VLAN. Leave the key out for the untagged segment, or say 1 to 4094")
		return 0
	}
	return c.number(1, 4094)
}

// maxName is how long a network's name may be, so that its bridge's ifalias (255 bytes) and a table's column hold it.
const maxName = 64

// name reads a network's name: text that a guest's configuration can name it by, and that stays one line in every view.
func (c *cell) name() string {
	s, ok := c.text()
	if !ok {
		return ""
	}
	bad := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune("\"'`,=|()<>/\\", r) })
	switch {
	case s == "":
		c.refuse("a network needs a name")
	case len(s) > maxName:
		c.refuse("%q is longer than %d bytes", Clip(s), maxName)
	case bad >= 0:
		c.refuse("%q is no network's name: it has the byte %#02x", Clip(s), s[bad])
	case strings.TrimSpace(s) != s:
		c.refuse("%q begins or ends with a space", s)
	default:
		return s
	}
	return ""
}

// ports reads the ports of a bond.
func (c *cell) ports() (out []bridge.Name) {
	c.each(func(c *cell) {
		name := c.device()
		if name != "" && slices.Contains(out, name) {
			c.refuse("%s is there twice", name)
			return
		}
		out = append(out, name)
	})
	if len(c.v.items) == 0 && c.v.kind == unstable.Array {
		c.refuse("a bond is made of one port or more")
	}
	return out
}

// roles reads a list of roles.
func (c *cell) roles() (out Roles) {
	c.each(func(c *cell) {
		s, ok := c.text()
		if !ok {
			return
		}
		role, err := ParseRole(s)
		switch {
		case err != nil:
			c.refuse("%q %s", Clip(s), err)
		case out.Has(role):
			c.refuse("%s is there twice", s)
		}
		out |= role
	})
	return out
}

// addresses reads the host's addresses.
func (c *cell) addresses() (out []netip.Prefix) {
	c.each(func(c *cell) {
		p, ok := c.prefix()
		switch {
		case !ok:
		case slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Addr() == p.Addr() }):
			c.refuse("%s is there twice", p.Addr())
		default:
			out = append(out, p)
		}
	})
	return out
}

// gateways reads the gateways of default routes.
func (c *cell) gateways() (out []netip.Addr) {
	c.each(func(c *cell) {
		a, ok := c.addr()
		i := slices.IndexFunc(out, func(o netip.Addr) bool { return o.Is4() == a.Is4() })
		switch {
		case !ok:
		case i >= 0:
			c.refuse("%s is a second gateway beside %s: a host has one default route for IPv4 and one for IPv6", a, out[i])
		default:
			out = append(out, a)
		}
	})
	return out
}

func quote[T ~string](s T) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(string(s))
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func flag(on bool) string {
	if !on {
		return ""
	}
	return "true"
}

func mac(m *bridge.MAC) string {
	if m == nil {
		return ""
	}
	return quote(m.String())
}

func list[T any](of []T) string {
	if len(of) == 0 {
		return ""
	}
	parts := make([]string, len(of))
	for i, x := range of {
		parts[i] = strconv.Quote(fmt.Sprint(x))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
