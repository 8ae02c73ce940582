package hosttest

import (
	"sync"

	"vifplug/bridge"
)

// Changer is what a Gate stands before: host.Kernel.
type Changer interface {
	Host() (bridge.Host, error)
	LinkByName(bridge.Name) (bridge.Link, error)
	Create(bridge.Device) error
	Delete(bridge.Name) error
	Configure(bridge.Name, bridge.Settings) error
	SetMaster(device, master bridge.Name) error
	AddAddress(bridge.Name, bridge.Address) error
	RemoveAddress(bridge.Name, bridge.Address) error
	AddRoute(bridge.Route) error
	DeleteRoute(bridge.Route) error
	AddPortVLAN(bridge.Name, bridge.PortVLAN) error
	DeletePortVLAN(bridge.Name, bridge.PortVLAN) error
}

// Gate passes changes on, unless its keeper refuses them. Reading always passes.
type Gate struct {
	Changer

	mu     sync.Mutex // guards all following fields
	n      int
	keeper func(n int, device bridge.Name) error
}

// Keep has every change asked about from now on: its number, counted from 0 since the gate was made, and its device. What is an error is the
// change's, and the host never hears of it.
func (g *Gate) Keep(keeper func(n int, device bridge.Name) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keeper = keeper
}

func (g *Gate) pass(device bridge.Name, change func() error) error {
	g.mu.Lock()
	n, keeper := g.n, g.keeper
	g.n++
	g.mu.Unlock()
	if keeper != nil {
		if err := keeper(n, device); err != nil {
			return err
		}
	}
	return change()
}

// Create makes a device.
func (g *Gate) Create(d bridge.Device) error {
	return g.pass(d.Name, func() error { return g.Changer.Create(d) })
}

// Delete removes a device.
func (g *Gate) Delete(name bridge.Name) error {
	return g.pass(name, func() error { return g.Changer.Delete(name) })
}

// Configure changes settings.
func (g *Gate) Configure(name bridge.Name, s bridge.Settings) error {
	return g.pass(name, func() error { return g.Changer.Configure(name, s) })
}

// SetMaster makes a device a port, or releases it.
func (g *Gate) SetMaster(name, master bridge.Name) error {
	return g.pass(name, func() error { return g.Changer.SetMaster(name, master) })
}

// AddAddress adds an address.
func (g *Gate) AddAddress(name bridge.Name, a bridge.Address) error {
	return g.pass(name, func() error { return g.Changer.AddAddress(name, a) })
}

// RemoveAddress removes one.
func (g *Gate) RemoveAddress(name bridge.Name, a bridge.Address) error {
	return g.pass(name, func() error { return g.Changer.RemoveAddress(name, a) })
}

// AddRoute adds a route.
func (g *Gate) AddRoute(r bridge.Route) error {
	return g.pass(r.Device, func() error { return g.Changer.AddRoute(r) })
}

// DeleteRoute removes one.
func (g *Gate) DeleteRoute(r bridge.Route) error {
	return g.pass(r.Device, func() error { return g.Changer.DeleteRoute(r) })
}

// AddPortVLAN adds VLANs to a port.
func (g *Gate) AddPortVLAN(name bridge.Name, v bridge.PortVLAN) error {
	return g.pass(name, func() error { return g.Changer.AddPortVLAN(name, v) })
}

// DeletePortVLAN removes VLANs from one.
func (g *Gate) DeletePortVLAN(name bridge.Name, v bridge.PortVLAN) error {
	return g.pass(name, func() error { return g.Changer.DeletePortVLAN(name, v) })
}
