package network

import (
	"errors"
	"fmt"
	"slices"

	"vifplug/bridge"
)

// Simulate gives the host after a step, as the kernel would have it, or the kernel's refusal: a [bridge.Err...] with a sentence. What the
// kernel decides from what it does not show (the MTU that a port gets back when a bond releases it, the MAC address of a bond that lost its
// last port) is missing from the Settings afterwards: not known. The host that is given stays as it is, and shares what did not change.
func Simulate(h bridge.Host, s Step) (bridge.Host, error) {
	w := newWorld(h)
	if err := w.do(s); err != nil {
		return h, err
	}
	return w.host(), nil
}

// world is a host that steps are done to, with the indexes that make each cheap. Devices are copied when they are first changed in a step.
type world struct {
	devices []bridge.Device                // those that are gone have no name
	at      map[bridge.Name]int            // index in devices
	uppers  map[bridge.Name][]bridge.Name  // VLAN devices by what they stand on
	ports   map[bridge.Name][]bridge.Name  // by their master
	routes  []bridge.Route                 // never changed in place
	next    int                            // index of the next device
	back    []func()                       // what takes the changes back, the last first: see goBack; routes are not in it
	returns bool                           // back is kept
	was     map[bridge.Name]*bridge.Device // devices that the current step has changed, as they were before it; nil: not there
}

// roomToGrow is how many devices a world takes before it must be moved in memory, which is much of what making a few costs on a full host.
const roomToGrow = 256

func newWorld(h bridge.Host) *world {
	w := &world{
		devices: append(make([]bridge.Device, 0, len(h.Devices)+roomToGrow), h.Devices...), at: make(map[bridge.Name]int, len(h.Devices)), routes: slices.Clip(h.Routes),
		uppers: map[bridge.Name][]bridge.Name{}, ports: map[bridge.Name][]bridge.Name{}, was: map[bridge.Name]*bridge.Device{},
	}
	for i := range w.devices {
		d := &w.devices[i]
		w.at[d.Name] = i
		w.next = max(w.next, d.Index)
		if d.On != "" {
			w.uppers[d.On] = append(w.uppers[d.On], d.Name)
		}
		if d.Master != "" {
			w.ports[d.Master] = append(w.ports[d.Master], d.Name)
		}
	}
	w.next++
	return w
}

// host gives the host as it is now.
func (w *world) host() bridge.Host {
	h := bridge.Host{Devices: make([]bridge.Device, 0, len(w.devices)), Routes: w.routes}
	for i := range w.devices {
		if w.devices[i].Name != "" {
			h.Devices = append(h.Devices, w.devices[i])
		}
	}
	return h
}

// device finds a device to look at; nil where there is none.
func (w *world) device(name bridge.Name) *bridge.Device {
	if i, there := w.at[name]; there {
		return &w.devices[i]
	}
	return nil
}

// edit finds a device to change, and remembers how it was.
func (w *world) edit(name bridge.Name) *bridge.Device {
	d := w.device(name)
	if _, known := w.was[name]; d == nil || known {
		return d
	}
	before, i := *d, w.at[name]
	w.was[name] = &before
	w.keep(func() { w.devices[i] = before })
	if d.Settings = d.Settings.Clone(); d.Settings == nil {
		d.Settings = bridge.Settings{}
	}
	d.Addresses, d.PortVLANs = slices.Clone(d.Addresses), slices.Clone(d.PortVLANs)
	return d
}

// add brings a device in.
func (w *world) add(d bridge.Device) {
	if _, known := w.was[d.Name]; !known {
		w.was[d.Name] = nil
	}
	i, name := len(w.devices), d.Name
	w.keep(func() {
		w.devices, w.next = w.devices[:i], w.next-1
		delete(w.at, name)
	})
	d.Index = w.next
	w.next++
	w.at[name] = i
	w.devices = append(w.devices, d)
	if d.On != "" {
		w.setList(w.uppers, d.On, append(slices.Clip(w.uppers[d.On]), name))
	}
}

// setList replaces one of the lists in uppers or ports.
func (w *world) setList(lists map[bridge.Name][]bridge.Name, name bridge.Name, list []bridge.Name) {
	was := lists[name]
	w.keep(func() { lists[name] = was })
	lists[name] = list
}

func (w *world) keep(back func()) {
	if w.returns {
		w.back = append(w.back, back)
	}
}

// goBack takes back all that was kept, and gives the world some former routes.
func (w *world) goBack(routes []bridge.Route) {
	for _, back := range slices.Backward(w.back) {
		back()
	}
	w.back, w.routes = w.back[:0], routes
}

// remove takes a device away, and with it its routes, the VLAN devices on it and its ports' membership (linux: NETDEV_UNREGISTER).
func (w *world) remove(name bridge.Name) {
	for _, upper := range slices.Clone(w.uppers[name]) {
		w.remove(upper)
	}
	for _, port := range slices.Clone(w.ports[name]) {
		w.release(port)
	}
	d := w.edit(name)
	if d.Master != "" {
		w.release(name)
	}
	w.dropRoutes(func(r *bridge.Route) bool { return r.Device == name })
	w.setList(w.uppers, d.On, without(w.uppers[d.On], name))
	i := w.at[name]
	w.keep(func() { w.at[name] = i })
	delete(w.at, name)
	*d = bridge.Device{}
}

func without(list []bridge.Name, name bridge.Name) []bridge.Name {
	return slices.DeleteFunc(slices.Clone(list), func(n bridge.Name) bool { return n == name })
}

// errStep says that a step lacks what its Op needs.
var errStep = errors.New("is no step that can be done")

// do does a step. After an error the world is of no use.
func (w *world) do(s Step) error {
	clear(w.was)
	if err := w.change(s); err != nil {
		return fmt.Errorf("%s: %w", s.what(), err)
	}
	return nil
}

func (w *world) change(s Step) error {
	if s.Op == OpCreate && s.Create != nil {
		return w.create(s.Device, s.Create)
	}
	if w.device(s.Device) == nil {
		return fmt.Errorf("%s: %w", s.Device, bridge.ErrNotFound)
	}
	switch {
	case s.Op == OpDelete:
		return w.delete(s.Device)
	case s.Op == OpSet:
		return w.set(s.Device, s.Set)
	case s.Op == OpMaster:
		return w.master(s.Device, s.Master)
	case s.Op == OpAddAddress && s.Address != nil:
		return w.addAddress(s.Device, *s.Address)
	case s.Op == OpDeleteAddress && s.Address != nil:
		return w.deleteAddress(s.Device, *s.Address)
	case s.Op == OpAddRoute && s.Route != nil:
		return w.addRoute(*s.Route)
	case s.Op == OpDeleteRoute && s.Route != nil:
		return w.deleteRoute(*s.Route)
	case s.Op == OpAddVLAN && s.PortVLAN != nil:
		return w.addVLAN(s.Device, *s.PortVLAN)
	case s.Op == OpDeleteVLAN && s.PortVLAN != nil:
		return w.deleteVLAN(s.Device, *s.PortVLAN)
	}
	return errStep
}

func (w *world) delete(name bridge.Name) error {
	if d := w.device(name); d.Kind == "" || d.Loopback {
		return fmt.Errorf("it is no device that can be deleted: %w", bridge.ErrUnsupported)
	}
	w.remove(name)
	return nil
}
