package network

import (
	"fmt"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// aliasPrefix begins the ifalias of everything that vifplug has made or made its own.
const aliasPrefix = "vifplug: "

// Alias is what an ifalias of ours says. One of Bond, Network and Domain is set.
type Alias struct {
	Bond    bridge.Name // a bond that we made
	Network string      // the name of the network that a segment or a bridge was made for
	Number  int         // of that network
	Domain  string      // the guest whose port it is
	ID      uint16      // of that guest
	NIC     int         // ethN within it
	On      string      // what the port is on
}

// BondAlias is the ifalias of a bond of ours.
func BondAlias(name bridge.Name) string { return aliasPrefix + "bond " + string(name) }

// NetworkAlias is the ifalias of a segment or a bridge of ours.
func NetworkAlias(n *Network) string {
	return fmt.Sprintf("%snetwork %s (%d)", aliasPrefix, n.Name, n.Number)
}

// PortAlias is the ifalias of a guest's port. domain and on must be fit to be shown.
func PortAlias(domain string, id uint16, nic int, on string) string {
	return fmt.Sprintf("%sdomain %s (%d) eth%d on %s", aliasPrefix, domain, id, nic, on)
}

// ParseAlias reads an ifalias; false where it is not one of ours. A name within it may hold anything, brackets and blanks too.
func ParseAlias(alias string) (a Alias, ours bool) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(alias, aliasPrefix), " ")
	if !strings.HasPrefix(alias, aliasPrefix) || rest == "" {
		return Alias{}, false
	}
	switch kind {
	case "bond":
		name, err := bridge.ParseName(rest)
		return Alias{Bond: name}, err == nil
	case "network":
		a.Network, a.Number, ours = cutNumber(rest)
	case "domain":
		who, where, found := cutLast(rest, " eth")
		nic, on, on2 := strings.Cut(where, " on ")
		n, err := strconv.Atoi(nic)
		var id int
		a.Domain, id, ours = cutNumber(who)
		a.ID, a.NIC, a.On = uint16(id), n, on
		ours = ours && found && on2 && on != "" && err == nil && n >= 0 && id <= 0xffff
	}
	if !ours {
		return Alias{}, false
	}
	return a, true
}

// String gives the ifalias back.
func (a Alias) String() string {
	switch {
	case a.Bond != "":
		return BondAlias(a.Bond)
	case a.Network != "":
		return NetworkAlias(&Network{Name: a.Network, Number: a.Number})
	}
	return PortAlias(a.Domain, a.ID, a.NIC, a.On)
}

// cutNumber takes "name (7)" apart.
func cutNumber(s string) (name string, n int, ok bool) {
	name, number, found := cutLast(s, " (")
	number, closed := strings.CutSuffix(number, ")")
	n, err := strconv.Atoi(number)
	return name, n, found && closed && err == nil && n >= 0 && name != ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// isOurs says that vifplug made a device, or made it its own: it may delete it. Guests' ports are never meant.
func isOurs(d *bridge.Device) bool {
	alias := d.Settings[bridge.KeyAlias]
	return strings.HasPrefix(alias, "vifplug:") && !strings.HasPrefix(alias, "vifplug: domain") && (d.Kind == "bridge" || d.Kind == "bond" || d.Kind == "vlan")
}

// isGuests says that a device is a guest's port, which only the engine changes.
func isGuests(d *bridge.Device) bool {
	return d.ParentBus == "xen-backend" || strings.HasPrefix(d.Settings[bridge.KeyAlias], "vifplug: domain") || IsGuestPort(d.Name)
}
