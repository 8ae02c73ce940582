package network

import (
	"net/netip"
	"time"

	"vifplug/bridge"
)

// Spec is a whole declaration. It is comparable by reflect.DeepEqual but for its places.
type Spec struct {
	Bonds    []Bond
	Networks []Network // in the order of their declaration, which gives them their numbers
}

// Bond is one or more ports that work as one.
type Bond struct {
	Name    bridge.Name
	Ports   []bridge.Name   // at least one; the first gives the bond its MAC address
	Mode    string          // as the kernel spells it: "active-backup"...
	Options bridge.Settings // those of bridge.BondOptions that are declared
	MTU     int             // 0: as its networks need
	MAC     *bridge.MAC     // nil: the first port's
	At      Place           `json:"-"`
	Keys    Places          `json:"-"`
}

// Network is a logical network of the host.
type Network struct {
	Number        int         // counts from 1, in the order of declaration: its label in every view
	Name          string      // unique
	ID            bridge.Name // its bridge's name; "" before Resolve where none was declared
	On            bridge.Name // a port or a bond; "": nothing, guests among themselves
	VLAN          int         // 0: untagged
	Roles         Roles
	Address       []netip.Prefix
	Gateway       []netip.Addr // default routes, at most one a family
	HostAddress   bool         // a network for guests alone may have an address all the same
	MTU           int          // 0: as what it stands on has
	MAC           *bridge.MAC  // of the bridge; nil: the uplink's
	VLANFiltering bool
	Path          string          // one of Paths; "": as the host has it
	Guard         string          // one of Guards; "": as the host has it
	Bridge        bridge.Settings // those of bridge.BridgeOptions that are declared: stp_state, forward_delay, ageing_time...
	At            Place           `json:"-"`
	Keys          Places          `json:"-"`
}

// Paths are the ways that a guest's frames can take (package hotplug/paths), as they are written.
var Paths = []string{"auto", "bridge", "shortcut", "socket", "af-xdp"}

// Guards are what a guest's frames can be held to: nothing, or its own source MAC address.
var Guards = []string{"off", "mac"}

// Roles are what a network carries.
type Roles uint8

// The roles, as bits.
const (
	ServerManagement Roles = 1 << iota
	ClusterHeartbeat
	LiveMigrate
	Storage
	VirtualMachine
)

// Has says that all of some roles are among these.
func (r Roles) Has(some Roles) bool { return r&some == some }

// Place is where in a file something stands; its zero is nowhere.
type Place struct {
	File      string
	Line, Col int    // count from 1; Col in bytes
	Text      string // the line
}

// Places are where the values of keys stand, by the keys' names.
type Places map[string]Place

// Guest is a guest's NIC as the engine or a device's ifalias tells, for views and plans.
type Guest struct {
	Domain  string      `json:"domain"` // its name
	ID      uint16      `json:"id"`
	NIC     int         `json:"nic"`     // ethN within the guest
	Device  bridge.Name `json:"device"`  // vifX.Y, or a tap of an emulated NIC
	Tap     bool        `json:"tap"`     // an emulated NIC's device
	Network bridge.Name `json:"network"` // the id, or an undeclared bridge's name, that the NIC asks for
	MAC     string      `json:"mac"`
	State   string      `json:"state"` // the engine's: plugged, failed...; "" unknown
	Reason  string      `json:"reason,omitempty"`
	Since   time.Time   `json:"since,omitzero"`
}
