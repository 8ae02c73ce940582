package network

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// Difference is one way in which the host is not as declared.
type Difference struct {
	Device  bridge.Name `json:"device"`
	What    string      `json:"what"`              // "missing", "left over", "kind", "master", "address", "route", "vlan", or the key of a setting
	Want    string      `json:"want"`              // "" for nothing
	Have    string      `json:"have"`              // "" for nothing, or not known
	Foreign bool        `json:"foreign,omitempty"` // the device is not vifplug's: hardware, or made by somebody else and declared all the same
	Network string      `json:"network,omitempty"` // the network that it is about; "": several, or none
	By      string      `json:"by,omitempty"`      // who made what does not belong there, where the kernel says so
}

// What is said of whole devices, and of what is no setting.
const (
	whatMissing  = "missing"
	whatLeftOver = "left over"
	whatKind     = "kind"
	whatMaster   = "master"
	whatAddress  = "address"
	whatRoute    = "route"
	whatVLAN     = "vlan"
)

// String says it in a sentence: "bond0: mtu is 1500, declared 9000".
func (d Difference) String() string {
	s := string(d.Device) + ": "
	switch {
	case d.What == whatMissing:
		return s + "the " + d.Want + " is missing"
	case d.What == whatLeftOver:
		return s + "the " + d.Have + " is left over, for nothing that is declared stands on it"
	case d.What == whatKind:
		return s + "is " + d.Have + ", declared a " + d.Want
	case d.What == whatMaster && d.Want == "":
		return s + "is a port of " + d.Have + ", declared of none"
	case d.What == whatMaster && d.Have == "":
		return s + "is no port of " + d.Want
	case d.What == whatMaster:
		return s + "is a port of " + d.Have + ", declared of " + d.Want
	case d.What == string(bridge.KeyUp):
		return s + "is down"
	case (d.What == whatAddress || d.What == whatRoute || d.What == whatVLAN) && d.Have == "":
		return s + d.Want + " is missing"
	case d.What == whatAddress || d.What == whatRoute || d.What == whatVLAN:
		return s + d.Have + " does not belong there" + madeBy(d.By)
	case d.Have == "":
		return s + fmt.Sprintf("%s is not set, declared %s", d.What, d.Want)
	}
	return s + fmt.Sprintf("%s is %s, declared %s", d.What, orEmpty(d.Have), orEmpty(d.Want))
}

func orEmpty(s string) string { return cmp.Or(s, "empty") }

// Compare tells what is not as declared, sorted by device, at most one for each thing that can differ. That a guest's port is off its bridge is
// not its affair, nor that a port does not exist.
func Compare(in Input) []Difference {
	g := newGoal(in)
	return g.compare(g.have)
}

// compare tells what a world lacks of the goal.
func (g *goal) compare(w *world) (out []Difference) {
	for _, want := range g.devices {
		out = append(out, want.compare(w.device(want.name))...)
	}
	for _, name := range g.gone {
		if d := w.device(name); d != nil {
			out = append(out, Difference{Device: name, What: whatLeftOver, Have: cmp.Or(d.Kind, "port")})
		}
	}
	out = append(out, g.compareAddresses(w)...)
	out = append(out, g.compareRoutes(w)...)
	for i := range out {
		d := w.device(out[i].Device)
		out[i].Foreign = d != nil && !isOurs(d)
	}
	slices.SortFunc(out, func(a, b Difference) int {
		return cmp.Or(strings.Compare(string(a.Device), string(b.Device)), strings.Compare(a.What, b.What), strings.Compare(a.Want, b.Want), strings.Compare(a.Have, b.Have))
	})
	return out
}

// compare tells what a device lacks of what is wanted of it.
func (w *wanted) compare(d *bridge.Device) (out []Difference) {
	tell := func(what, want, have string) {
		out = append(out, Difference{Device: w.name, What: what, Want: want, Have: have, Network: w.networkName()})
	}
	switch {
	case d == nil && w.kind == "":
		return nil
	case d == nil:
		tell(whatMissing, w.describe(), "")
		return out
	case !w.is(d):
		tell(whatKind, w.kind, kindText(d))
		return out
	}
	if w.mastered && d.Master != w.master {
		tell(whatMaster, string(w.master), string(d.Master))
	}
	for key, v := range w.differs(d) {
		tell(string(key), v, d.Settings[key])
	}
	for _, v := range w.lackedVLANs(d) {
		tell(whatVLAN, vlanText(&v), "")
	}
	return out
}

func (w *wanted) describe() string {
	switch w.kind {
	case "bond":
		return "bond in mode " + w.set[bridge.KeyMode]
	case "vlan":
		return fmt.Sprintf("segment of VLAN %d on %s", w.vlan, w.on)
	}
	return w.kind
}

// networkName is the network of which a device is a part alone.
func (w *wanted) networkName() string {
	if len(w.networks) != 1 {
		return ""
	}
	return w.networks[0].Name
}

// differs gives the settings to be set. An option that the kernel does not tell is at its default, or there is none; another key that is not
// told is not known.
func (w *wanted) differs(d *bridge.Device) bridge.Settings {
	out := bridge.Settings{}
	for key, v := range w.set {
		have, told := d.Settings[key]
		if !told {
			if o := w.option(key); o != nil && o.Default == v {
				continue
			}
		}
		if !told || have != v {
			out[key] = v
		}
	}
	if w.least != 0 && deviceMTU(d) < w.least {
		out[bridge.KeyMTU] = strconv.Itoa(w.least)
	}
	return out
}

func (w *wanted) option(key bridge.Key) *bridge.Option {
	switch w.kind {
	case "bond":
		return bridge.BondOption(key)
	case "bridge":
		return bridge.BridgeOption(key)
	}
	return nil
}

// lackedVLANs are the VLANs that an uplink should take part in and does not, or otherwise.
func (w *wanted) lackedVLANs(d *bridge.Device) (out []bridge.PortVLAN) {
	if len(w.vlans) == 0 || d.Master != w.master {
		return nil
	}
	have := tableOf(d.PortVLANs)
	for _, v := range w.vlans {
		var want vlanTable
		want.put(v)
		for id := v.From; id <= v.To; id++ {
			if have[id] != want[id] {
				out = append(out, v)
				break
			}
		}
	}
	return out
}

func (g *goal) compareAddresses(w *world) (out []Difference) {
	for i := range w.devices {
		d := &w.devices[i]
		for _, a := range d.Addresses {
			if !slices.ContainsFunc(g.addresses[d.Name], a.Same) {
				out = append(out, Difference{Device: d.Name, What: whatAddress, Have: a.Prefix.String(), By: addressMakers[a.Protocol]})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.addresses)) {
		d := w.device(name)
		for _, a := range g.addresses[name] {
			if d != nil && !slices.ContainsFunc(d.Addresses, a.Same) {
				out = append(out, Difference{Device: name, What: whatAddress, Want: a.Prefix.String(), Network: g.networkOf(name)})
			}
		}
	}
	return out
}

// addressMakers are who makes addresses, as the kernel notes it (linux: if_addr.h, IFAPROT_...). Most programs leave no note.
var addressMakers = map[int]string{2: "a router's advertisement", 3: "the kernel", bridge.OwnProtocol: "vifplug"}

// routeMakers are who makes routes (linux: rtnetlink.h, RTPROT_...).
var routeMakers = map[int]string{
	2: "the kernel", 3: "ip, or a script", 4: "an administrator or a network manager (static)", 9: "a router's advertisement", 11: "zebra", 12: "BIRD",
	16: "a DHCP client", 18: "keepalived", 42: "babel", bridge.OwnProtocol: "vifplug", 186: "BGP", 187: "IS-IS", 188: "OSPF", 189: "RIP", 192: "EIGRP",
}

// madeBy is the end of a sentence.
func madeBy(who string) string {
	if who == "" {
		return ""
	}
	return ": " + who + " made it"
}

func (g *goal) networkOf(name bridge.Name) string {
	if w := g.by[name]; w != nil {
		return w.networkName()
	}
	return ""
}

func (g *goal) compareRoutes(w *world) (out []Difference) {
	for _, r := range w.routes {
		if !slices.ContainsFunc(g.routes, func(o bridge.Route) bool { return sameRoute(r, o) }) {
			out = append(out, Difference{Device: r.Device, What: whatRoute, Have: routeWhat(&r), By: routeMakers[r.Protocol]})
		}
	}
	for _, r := range g.routes {
		if w.device(r.Device) != nil && !slices.ContainsFunc(w.routes, func(o bridge.Route) bool { return sameRoute(r, o) }) {
			out = append(out, Difference{Device: r.Device, What: whatRoute, Want: routeWhat(&r), Network: g.networkOf(r.Device)})
		}
	}
	return out
}
