package network

import (
	"fmt"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// aliasPrefix begins the ifalias of everything that vifplug has made or made its own.
const aliasPrefix = "vifplug: "

// Alias is what an ifalias of ours says. One of Bond, Network and Domain is set, or none but By and whose: then it is not plugged yet.
type Alias struct {
	Bond    bridge.Name // a bond that we made
	Network string      // the name of the network that a segment or a bridge was made for
	Number  int         // of that network
	Domain  string      // the guest whose port it is
	ID      uint16      // of that guest
	NIC     int         // ethN within it
	Tap     bool        // it is the tap of QEMU's, beside the NIC's own port
	By      string      // of a tap that is a veth pair's end: the path that it was made for, "socket" or "af-xdp"
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

// NoBridge stands in the ifalias of a tap that was made for a NIC and is not plugged yet.
const NoBridge = "no bridge yet"

// TapAlias is the ifalias of the tap beside a guest's port, as [PortAlias] has that. by is "" for a tap of the kernel's, else as in [Alias].
func TapAlias(domain string, id uint16, nic int, on, by string) string {
	return fmt.Sprintf("%sdomain %s (%d) eth%d%s on %s", aliasPrefix, domain, id, nic, tapBy(by), on)
}

// MadeTapAlias is the ifalias of a veth pair's end that stands for a tap, made for a path, until it is plugged.
func MadeTapAlias(id uint16, nic int, by string) string {
	return fmt.Sprintf("%s%s %d.%d", aliasPrefix, by, id, nic)
}

// hiddenMark begins the ifalias of a hidden end, and while a pair is made, of both.
const hiddenMark = aliasPrefix + "hidden end of "

// ByHand is the owner of a hidden end that was made for a port by name. Nobody but who made it removes it.
const ByHand = "hand"

// HiddenAlias is the ifalias of the end of a veth pair that vif-loop opens, behind the port tap. The owner is "NAME.N", the N-th NIC of a guest, or [ByHand].
func HiddenAlias(tap bridge.Name, owner string) string {
	return hiddenMark + string(tap) + ", " + owner
}

// HiddenName is what the hidden end behind a port is called.
func HiddenName(tap bridge.Name) bridge.Name {
	return "vl" + bridge.Name(strings.TrimPrefix(string(tap), "tap"))
}

// HiddenEnd reads behind which port a link is vif-loop's hidden end, and whose it is; false: it is none.
func HiddenEnd(l bridge.Link) (tap bridge.Name, owner string, is bool) {
	what, marked := strings.CutPrefix(l.Alias, hiddenMark)
	port, owner, cut := strings.Cut(what, ", ")
	tap = bridge.Name(port)
	return tap, owner, marked && cut && l.Kind == "veth" && l.Name == HiddenName(tap)
}

// tapBy is what stands behind a NIC in the ifalias of a tap.
func tapBy(by string) string {
	if by == "" {
		return " tap"
	}
	return " tap by " + by
}

// cutTap takes that off.
func (a *Alias) cutTap(nic string) string {
	for _, by := range []string{"", "socket", "af-xdp"} {
		if rest, is := strings.CutSuffix(nic, tapBy(by)); is {
			a.Tap, a.By = true, by
			return rest
		}
	}
	return nic
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
		n, err := strconv.Atoi(a.cutTap(nic))
		var id int
		a.Domain, id, ours = cutNumber(who)
		a.ID, a.NIC, a.On = uint16(id), n, on
		ours = ours && found && on2 && on != "" && err == nil && n >= 0 && id <= 0xffff
	case "socket", "af-xdp":
		id, nic, dot := strings.Cut(rest, ".")
		n, err := strconv.ParseUint(id, 10, 16)
		m, err2 := strconv.ParseUint(nic, 10, 16)
		a.ID, a.NIC, a.Tap, a.By = uint16(n), int(m), true, kind
		ours = dot && err == nil && err2 == nil
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
	switch {
	case a.By != "" && a.Domain == "":
		return MadeTapAlias(a.ID, a.NIC, a.By)
	case a.Tap:
		return TapAlias(a.Domain, a.ID, a.NIC, a.On, a.By)
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
