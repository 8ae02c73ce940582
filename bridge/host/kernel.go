package host

import (
	"errors"
	"fmt"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// Kernel is the network of a host, read whole and changed one thing at a time. [bridge.Conn] is the real one. Each change is made at once and
// whole, or refused; what is refused for want of a device is [bridge.ErrNotFound], what is there already [bridge.ErrExists].
type Kernel interface {
	Host() (bridge.Host, error)
	LinkByName(bridge.Name) (bridge.Link, error)
	Create(bridge.Device) error // by its Name, Kind, On, VLAN, Master and Settings
	Delete(bridge.Name) error
	Configure(bridge.Name, bridge.Settings) error
	SetMaster(device, master bridge.Name) error // "" releases the port
	AddAddress(bridge.Name, bridge.Address) error
	RemoveAddress(bridge.Name, bridge.Address) error
	AddRoute(bridge.Route) error
	DeleteRoute(bridge.Route) error
	AddPortVLAN(bridge.Name, bridge.PortVLAN) error
	DeletePortVLAN(bridge.Name, bridge.PortVLAN) error
}

// errStep says that a step lacks what its Op needs: a state file of another hand.
var errStep = errors.New("host: is no step that can be done")

// Do does one step.
func Do(k Kernel, s network.Step) error {
	switch {
	case s.Op == network.OpCreate && s.Create != nil:
		c := s.Create
		return k.Create(bridge.Device{Name: s.Device, Kind: c.Kind, On: c.On, VLAN: c.VLAN, Master: c.Master, Settings: c.Settings})
	case s.Op == network.OpDelete:
		return k.Delete(s.Device)
	case s.Op == network.OpSet:
		return k.Configure(s.Device, s.Set)
	case s.Op == network.OpMaster:
		return k.SetMaster(s.Device, s.Master)
	case s.Op == network.OpAddAddress && s.Address != nil:
		return k.AddAddress(s.Device, *s.Address)
	case s.Op == network.OpDeleteAddress && s.Address != nil:
		return k.RemoveAddress(s.Device, *s.Address)
	case s.Op == network.OpAddRoute && s.Route != nil:
		return k.AddRoute(*s.Route)
	case s.Op == network.OpDeleteRoute && s.Route != nil:
		return k.DeleteRoute(*s.Route)
	case s.Op == network.OpAddVLAN && s.PortVLAN != nil:
		return k.AddPortVLAN(s.Device, *s.PortVLAN)
	case s.Op == network.OpDeleteVLAN && s.PortVLAN != nil:
		return k.DeletePortVLAN(s.Device, *s.PortVLAN)
	}
	return fmt.Errorf("%w: %q on %s", errStep, s.Op, s.Device)
}
