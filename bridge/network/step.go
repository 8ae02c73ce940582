package network

import "vifplug/bridge"

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
