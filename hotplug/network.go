package hotplug

import (
	"fmt"
	"slices"
	"strconv"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/hotplug/paths"
)

// Network is what the engine knows of a declared network: how guests' NICs name it, and what they find there.
type Network struct {
	Number    int         // its label in every view
	Name      string      // as declared
	ID        bridge.Name // its bridge's name, where it has one
	Roles     string      // "server-management, storage": for the sentence that refuses a guest
	Guests    bool        // it has the virtual-machine role
	Filtering bool        // its bridge filters VLANs, so that a NIC may say which is its own
	PVID      int         // of such a bridge: the VLAN of a NIC that says none; 0: none
	MTU       int         // declared, in bytes; 0: as what it stands on has
	Path      paths.Path  // "": as the policy has it
	Guard     paths.Guard // "": as the policy has it
}

// Networks are the declared networks. The zero value is a host that declares none.
type Networks []Network

// NetworksOf takes what guests' NICs are concerned with from a declaration that [network.Resolve] has been over.
func NetworksOf(s network.Spec) Networks {
	var out Networks
	for i := range s.Networks {
		n := &s.Networks[i]
		one := Network{
			Number: n.Number, Name: n.Name, ID: n.ID, Roles: n.Roles.String(), Guests: n.HasBridge(), Filtering: n.VLANFiltering, MTU: n.MTU, PVID: firstVLAN,
			Path: paths.Path(n.Path), Guard: paths.Guard(n.Guard),
		}
		if text, declared := n.Bridge[keyPVID]; declared {
			one.PVID, _ = strconv.Atoi(text) // checked where the declaration was read
		}
		out = append(out, one)
	}
	return out
}

// keyPVID is the declaration's key for the VLAN of ports that say none (linux: IFLA_BR_VLAN_DEFAULT_PVID).
const keyPVID bridge.Key = "default_pvid"

// firstVLAN is what the kernel takes without it.
const firstVLAN = 1

// Find gives the network of a name, or else of an id; nil where none is declared.
func (n Networks) Find(nameOrID string) *Network {
	if nameOrID == "" {
		return nil
	}
	i := slices.IndexFunc(n, func(x Network) bool { return x.Name == nameOrID })
	if i < 0 {
		i = slices.IndexFunc(n, func(x Network) bool { return string(x.ID) == nameOrID })
	}
	if i < 0 {
		return nil
	}
	return &n[i]
}

// String is how a sentence calls it: by its name, with its label.
func (n *Network) String() string { return fmt.Sprintf("%s (%d)", n.Name, n.Number) }

// Refusal is why guests may not use the network; nil where they may.
func (n *Network) Refusal() *Reason {
	if n.Guests {
		return nil
	}
	return because(CodeNetworkRole, "network %v has the roles %s only; guests need a network with the virtual-machine role", n, n.Roles)
}

// NoVLAN is why a NIC cannot have a VLAN of its own there; nil where it can.
func (n *Network) NoVLAN(vlan int) *Reason {
	if n.Filtering {
		return nil
	}
	return because(CodeNetworkVLAN, "network %v does not filter VLANs, so that a NIC cannot have VLAN %d there", n, vlan)
}
