// Package hosttest is a host without a kernel, for tests of what changes hosts: a bridge.Host that is changed by network.Simulate, which
// knows what the kernel would make of each step; and a decorator that has changes fail.
package hosttest

import (
	"fmt"
	"slices"
	"sync"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// Kernel is a simulated host. It may be used from any goroutine.
type Kernel struct {
	mu    sync.Mutex // guards all following fields
	host  bridge.Host
	steps []network.Step
}

// New makes one that is as h.
func New(h bridge.Host) *Kernel { return &Kernel{host: h.Clone()} }

// Host gives the host as it is now.
func (k *Kernel) Host() (bridge.Host, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.host.Clone(), nil
}

// LinkByName gives a device in its lean form. It is running when it is up, but for a bridge without ports.
func (k *Kernel) LinkByName(name bridge.Name) (bridge.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.host.Device(name)
	if d == nil {
		return bridge.Link{}, bridge.ErrNotFound
	}
	up := d.Settings[bridge.KeyUp] == "1"
	carrier := d.Kind != "bridge" || slices.ContainsFunc(k.host.Devices, func(p bridge.Device) bool { return p.Master == name })
	return bridge.Link{Index: d.Index, Name: name, Kind: d.Kind, Up: up, Running: up && carrier}, nil
}

// Steps are the changes that were made, in order.
func (k *Kernel) Steps() []network.Step {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]network.Step(nil), k.steps...)
}

// Change is what somebody else does to the host.
func (k *Kernel) Change(f func(*bridge.Host)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.host)
}

// Remove takes a device away, as when somebody deletes it: its ports are released, its routes go.
func (k *Kernel) Remove(name bridge.Name) error {
	return k.do(network.Step{Op: network.OpDelete, Device: name})
}

func (k *Kernel) do(s network.Step) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	after, err := network.Simulate(k.host, s)
	if err != nil {
		return fmt.Errorf("hosttest: %w", err)
	}
	k.host = after
	k.steps = append(k.steps, s)
	return nil
}

// Create makes a device.
func (k *Kernel) Create(d bridge.Device) error {
	return k.do(network.Step{Op: network.OpCreate, Device: d.Name, Create: &network.Create{
		Kind: d.Kind, On: d.On, VLAN: d.VLAN, Master: d.Master, Settings: d.Settings,
	}})
}

// Delete removes a device.
func (k *Kernel) Delete(name bridge.Name) error { return k.Remove(name) }

// Configure changes settings.
func (k *Kernel) Configure(name bridge.Name, s bridge.Settings) error {
	return k.do(network.Step{Op: network.OpSet, Device: name, Set: s})
}

// SetMaster makes a device a port, or releases it.
func (k *Kernel) SetMaster(name, master bridge.Name) error {
	return k.do(network.Step{Op: network.OpMaster, Device: name, Master: master})
}

// AddAddress adds an address.
func (k *Kernel) AddAddress(name bridge.Name, a bridge.Address) error {
	return k.do(network.Step{Op: network.OpAddAddress, Device: name, Address: &a})
}

// RemoveAddress removes one.
func (k *Kernel) RemoveAddress(name bridge.Name, a bridge.Address) error {
	return k.do(network.Step{Op: network.OpDeleteAddress, Device: name, Address: &a})
}

// AddRoute adds a route.
func (k *Kernel) AddRoute(r bridge.Route) error {
	return k.do(network.Step{Op: network.OpAddRoute, Device: r.Device, Route: &r})
}

// DeleteRoute removes one.
func (k *Kernel) DeleteRoute(r bridge.Route) error {
	return k.do(network.Step{Op: network.OpDeleteRoute, Device: r.Device, Route: &r})
}

// AddPortVLAN adds VLANs to a port.
func (k *Kernel) AddPortVLAN(name bridge.Name, v bridge.PortVLAN) error {
	return k.do(network.Step{Op: network.OpAddVLAN, Device: name, PortVLAN: &v})
}

// DeletePortVLAN removes VLANs from one.
func (k *Kernel) DeletePortVLAN(name bridge.Name, v bridge.PortVLAN) error {
	return k.do(network.Step{Op: network.OpDeleteVLAN, Device: name, PortVLAN: &v})
}
