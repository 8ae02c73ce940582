package hotplug

import (
	"fmt"
	"time"

	"vifplug/hotplug/paths"
)

// State is where a NIC stands between its birth and its end.
type State uint8

// The states of a NIC (design.md, "The way of an event"). Failed is left on any change that matters, such as the missing bridge appearing.
const (
	Absent   State = iota // nothing known
	Seen                  // its backend node exists; netback or its netdev is not ready, or the NIC is left to another script
	Ready                 // backend state >= 2 and the netdev exist; something else is awaited (its bridge)
	Plugging              // steps are being done
	Plugged               // on its bridge, up, and hotplug-status says connected
	Draining              // the toolstack is taking it away
	Gone                  // node and netdev are gone
	Failed                // not plugged, for the reason given
)

var stateNames = [...]string{"absent", "seen", "ready", "plugging", "plugged", "draining", "gone", "failed"}

func (s State) String() string { return stateNames[s] }

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(b []byte) error {
	for i, n := range stateNames {
		if n == string(b) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("hotplug: no NIC state is called %q", clip(string(b)))
}

// Policy is what the configuration says about plugging. The zero value is not useful; start from [DefaultPolicy].
type Policy struct {
	// BridgeWait bounds how long a NIC stays pending for its missing bridge before it fails. It must end within libxl's 40 s
	// (xen: libxl_internal.h LIBXL_HOTPLUG_TIMEOUT). 0 fails at once.
	BridgeWait time.Duration
	// NetdevWait bounds how long netback may take to make the netdev after it has written state 2.
	NetdevWait time.Duration
	// LegacyBridgeNames lets a missing xenbrN mean ethN, where that is a bridge (xen: tools/hotplug/Linux/vif-bridge).
	LegacyBridgeNames bool
	// LeaveScripts are beginnings of script names whose NICs are not for a Linux bridge; they are left alone.
	LeaveScripts []string
	// Networks are the declared networks, as applied: see [NetworksOf].
	Networks Networks
	// Path and Guard hold where neither the NIC nor its network says.
	Path  paths.Path
	Guard paths.Guard
	// AnyNetdev accepts a netdev by its name alone, without netback behind it: for machines without Xen.
	AnyNetdev bool
}

// DefaultPolicy is what holds where the configuration says nothing.
func DefaultPolicy() Policy {
	return Policy{
		BridgeWait:   30 * time.Second,
		NetdevWait:   10 * time.Second,
		LeaveScripts: []string{"vif-route", "vif-nat", "vif-openvswitch", "vif-ovs", "colo-", "remus-"},
		Path:         paths.Auto,
		Guard:        paths.Off,
	}
}
