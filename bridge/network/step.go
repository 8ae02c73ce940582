package network

import (
	"fmt"
	"net/netip"
	"strings"

	"vifplug/bridge"
)

// Op is what a step does.
type Op string

// The steps. Each is one change that the kernel makes at once.
const (
	OpCreate        Op = "create"         // Create
	OpDelete        Op = "delete"         // Create tells what it was
	OpSet           Op = "set"            // Set
	OpMaster        Op = "port"           // Master; "" releases the port
	OpAddAddress    Op = "add-address"    // Address
	OpDeleteAddress Op = "delete-address" // Address
	OpAddRoute      Op = "add-route"      // Route, by Device
	OpDeleteRoute   Op = "delete-route"   // Route
	OpAddVLAN       Op = "add-vlan"       // PortVLAN
	OpDeleteVLAN    Op = "delete-vlan"    // PortVLAN
)

// Step is one change to the host. It is a value that can be kept in a file.
type Step struct {
	Op       Op               `json:"op"`
	Device   bridge.Name      `json:"device"`
	Create   *Create          `json:"create,omitempty"`
	Set      bridge.Settings  `json:"set,omitempty"`
	Master   bridge.Name      `json:"master,omitempty"`
	Address  *bridge.Address  `json:"address,omitempty"`
	Route    *bridge.Route    `json:"route,omitempty"`
	PortVLAN *bridge.PortVLAN `json:"vlan,omitempty"`
	Reason   string           `json:"reason,omitempty"` // why, for people
}

// Create is a device to make, in one message: with its settings and its master, up if they say so.
type Create struct {
	Kind     string          `json:"kind"` // "bridge", "bond" or "vlan"
	On       bridge.Name     `json:"on,omitempty"`
	VLAN     int             `json:"vlan,omitempty"`
	Master   bridge.Name     `json:"master,omitempty"`
	Settings bridge.Settings `json:"settings"`
}

// String says in one line what the step does, and why: "create vlan bond0.13, VLAN 13 on bond0, MTU 1500: network guests (4) stands on it".
func (s Step) String() string {
	if s.Reason == "" {
		return s.what()
	}
	return s.what() + ": " + s.Reason
}

func (s Step) what() string {
	switch {
	case s.Op == OpCreate && s.Create != nil:
		return s.Create.describe(s.Device)
	case s.Op == OpDelete && s.Create != nil && s.Create.Kind != "":
		return fmt.Sprintf("delete %s %s", s.Create.Kind, s.Device)
	case s.Op == OpSet:
		return setWhat(s.Device, s.Set)
	case s.Op == OpMaster && s.Master == "":
		return fmt.Sprintf("release %s", s.Device)
	case s.Op == OpMaster:
		return fmt.Sprintf("make %s a port of %s", s.Device, s.Master)
	case s.Op == OpAddAddress && s.Address != nil:
		return fmt.Sprintf("add %s to %s", s.Address.Prefix, s.Device)
	case s.Op == OpDeleteAddress && s.Address != nil:
		return fmt.Sprintf("delete %s from %s", s.Address.Prefix, s.Device)
	case s.Op == OpAddRoute && s.Route != nil:
		return "add " + routeWhat(s.Route)
	case s.Op == OpDeleteRoute && s.Route != nil:
		return "delete " + routeWhat(s.Route)
	case s.Op == OpAddVLAN && s.PortVLAN != nil:
		return fmt.Sprintf("add %s to port %s", vlanText(s.PortVLAN), s.Device)
	case s.Op == OpDeleteVLAN && s.PortVLAN != nil:
		return fmt.Sprintf("delete %s from port %s", vlanText(s.PortVLAN), s.Device)
	}
	return fmt.Sprintf("%s %s", s.Op, s.Device)
}

func (c *Create) describe(name bridge.Name) string {
	parts := []string{fmt.Sprintf("create %s %s", c.Kind, name)}
	if mode := c.Settings[bridge.KeyMode]; mode != "" {
		parts = append(parts, mode)
	}
	if c.On != "" {
		parts = append(parts, fmt.Sprintf("VLAN %d on %s", c.VLAN, c.On))
	}
	if mtu := c.Settings[bridge.KeyMTU]; mtu != "" {
		parts = append(parts, "MTU "+mtu)
	}
	if c.Settings["vlan_filtering"] == "1" {
		parts = append(parts, "VLAN filtering")
	}
	if c.Master != "" {
		parts = append(parts, "port of "+string(c.Master))
	}
	return strings.Join(parts, ", ")
}

func setWhat(name bridge.Name, s bridge.Settings) string {
	if up, has := s[bridge.KeyUp]; has && len(s) == 1 {
		return fmt.Sprintf("set %s %s", name, map[string]string{"1": "up"}[up]+map[string]string{"0": "down"}[up])
	}
	return fmt.Sprintf("set %s %s", name, s)
}

// routeWhat is "default route via 10.11.10.1 on bond0".
func routeWhat(r *bridge.Route) string {
	to := "route to " + r.To.String()
	if r.To.Bits() == 0 {
		to = "default route"
	}
	if r.Via.IsValid() {
		to += " via " + r.Via.String()
	}
	if to += " on " + string(r.Device); r.Metric != 0 && r.To != netip.PrefixFrom(netip.IPv6Unspecified(), 0) {
		to += fmt.Sprintf(" metric %d", r.Metric)
	}
	if r.Table != mainTable {
		to += fmt.Sprintf(" table %d", r.Table)
	}
	return to
}

func vlanText(v *bridge.PortVLAN) string {
	s := fmt.Sprintf("VLAN %d", v.From)
	if v.To != v.From {
		s = fmt.Sprintf("VLANs %d-%d", v.From, v.To)
	}
	if v.Untagged {
		s += " untagged"
	}
	return s
}
