package network

import (
	"strconv"

	"vifplug/bridge"
)

// Bond finds a bond by its name; nil where none is declared.
func (s *Spec) Bond(name bridge.Name) *Bond {
	for i := range s.Bonds {
		if s.Bonds[i].Name == name {
			return &s.Bonds[i]
		}
	}
	return nil
}

// Network finds a network by its name, or else by its ID, as a guest's NIC may name it; nil where none is declared. A name goes before an ID.
func (s *Spec) Network(nameOrID string) *Network {
	if nameOrID == "" {
		return nil
	}
	var found *Network
	for i := range s.Networks {
		switch n := &s.Networks[i]; nameOrID {
		case n.Name:
			return n
		case string(n.ID):
			found = n
		}
	}
	return found
}

// HasBridge says that a bridge is built for the network: guests may use it.
func (n *Network) HasBridge() bool { return n.Roles.Has(VirtualMachine) }

// BridgeName is the name of the network's bridge, its ID; "" where it has none, or before [Resolve].
func (n *Network) BridgeName() bridge.Name {
	if !n.HasBridge() {
		return ""
	}
	return n.ID
}

// Segment is the device that the network stands on: a VLAN device by the name under which it is created, or for the untagged segment the port
// or bond itself; "" for a network that stands on nothing. A VLAN device that exists under another name serves as well: its On and VLAN say so.
func (n *Network) Segment() bridge.Name {
	if n.On == "" || n.VLAN == 0 {
		return n.On
	}
	return n.On + "." + bridge.Name(strconv.Itoa(n.VLAN))
}

// Holder is the device that the network's addresses live on: its bridge if there is one, else its segment. See [Network.Segment] for its name.
func (n *Network) Holder() bridge.Name {
	if n.HasBridge() {
		return n.ID
	}
	return n.Segment()
}
