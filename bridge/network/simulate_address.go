package network

import (
	"fmt"
	"net/netip"
	"slices"

	"vifplug/bridge"
)

// mainTable is the routing table that everybody uses (linux: RT_TABLE_MAIN).
const mainTable = 254

// metric6 is what the kernel makes of an IPv6 route without a metric (linux: IP6_RT_PRIO_USER).
const metric6 = 1024

// addAddress adds an address. Of one that is there it changes what else is said of it, as [bridge.Conn.AddAddress] does.
func (w *world) addAddress(name bridge.Name, a bridge.Address) error {
	d := w.edit(name)
	for i, b := range d.Addresses {
		switch {
		case a.Same(b):
			d.Addresses[i] = a
			return nil
		case a.Prefix.Addr().Is6() && a.Prefix.Addr() == b.Prefix.Addr():
			return fmt.Errorf("%s on %s %w", b.Prefix, name, bridge.ErrExists)
		}
	}
	d.Addresses = append(d.Addresses, a)
	return nil
}

// deleteAddress removes an address. Of IPv4 the later ones of the same subnet go with the first unless the host promotes them, which it does
// not show; plans therefore never depend on it. The last takes the device's routes along, and each those that have it as their source.
func (w *world) deleteAddress(name bridge.Name, a bridge.Address) error {
	i := slices.IndexFunc(w.device(name).Addresses, a.Same)
	if i < 0 {
		return fmt.Errorf("%s is no address of %s: %w", a.Prefix, name, bridge.ErrNotFound)
	}
	d := w.edit(name)
	gone := []netip.Addr{a.Prefix.Addr()}
	first := !slices.ContainsFunc(d.Addresses[:i], func(b bridge.Address) bool { return sameSubnet(a, b) })
	kept := slices.Clone(d.Addresses[:i])
	for _, b := range d.Addresses[i+1:] {
		if first && sameSubnet(a, b) {
			gone = append(gone, b.Prefix.Addr())
			continue
		}
		kept = append(kept, b)
	}
	d.Addresses = kept
	w.forgetSources(name, gone)
	return nil
}

// sameSubnet says that two IPv4 addresses of a device are first and second of one subnet.
func sameSubnet(a, b bridge.Address) bool {
	return a.Prefix.Addr().Is4() && b.Prefix.Addr().Is4() && a.Prefix.Masked() == b.Prefix.Masked() && !a.Peer.IsValid() && !b.Peer.IsValid()
}

// forgetSources is what becomes of routes when addresses have gone from a device (linux: fib_del_ifaddr, rt6_remove_prefsrc).
func (w *world) forgetSources(name bridge.Name, gone []netip.Addr) {
	is4 := gone[0].Is4()
	last := is4 && !slices.ContainsFunc(w.device(name).Addresses, func(a bridge.Address) bool { return a.Prefix.Addr().Is4() })
	gone = slices.DeleteFunc(gone, w.isLocal)
	w.dropRoutes(func(r *bridge.Route) bool {
		return is4 && r.To.Addr().Is4() && (last && r.Device == name || slices.Contains(gone, r.Source))
	})
	for i := range w.routes {
		if r := &w.routes[i]; !is4 && r.Source.IsValid() && slices.Contains(gone, r.Source) {
			w.routes = slices.Clone(w.routes)
			w.routes[i].Source = netip.Addr{}
		}
	}
}

// isLocal says that some device has an address.
func (w *world) isLocal(addr netip.Addr) bool {
	return slices.ContainsFunc(w.devices, func(d bridge.Device) bool {
		return slices.ContainsFunc(d.Addresses, func(a bridge.Address) bool { return a.Prefix.Addr() == addr })
	})
}

func (w *world) dropRoutes(gone func(*bridge.Route) bool) {
	if slices.ContainsFunc(w.routes, func(r bridge.Route) bool { return gone(&r) }) {
		w.routes = slices.DeleteFunc(slices.Clone(w.routes), func(r bridge.Route) bool { return gone(&r) })
	}
}

// addRoute adds a route, which needs its device up and its gateway in reach. An IPv4 route takes the place of another to the same subnet with the
// same metric; IPv6 ones stand beside each other, as [bridge.Conn.AddRoute] says.
func (w *world) addRoute(r bridge.Route) error {
	d := w.device(r.Device)
	switch {
	case d == nil:
		return fmt.Errorf("%s: %w", r.Device, bridge.ErrNotFound)
	case d.Settings[bridge.KeyUp] == "0":
		return fmt.Errorf("%s is down", r.Device)
	case r.Via.IsValid() && !r.OnLink && !w.reaches(d, r.Via):
		return fmt.Errorf("%s has no address in the subnet of the gateway %s: %w", r.Device, r.Via, bridge.ErrInvalid)
	case r.Source.IsValid() && !w.isLocal(r.Source):
		return fmt.Errorf("%s is no address of the host: %w", r.Source, bridge.ErrInvalid)
	}
	if r.Metric == 0 && r.To.Addr().Is6() {
		r.Metric = metric6
	}
	w.dropRoutes(func(o *bridge.Route) bool {
		return samePlace(r, *o) && (r.To.Addr().Is4() || o.Device == r.Device && o.Via == r.Via)
	})
	w.routes = append(slices.Clip(w.routes), r)
	return nil
}

// samePlace says that two routes compete: of IPv4 only one can be, of IPv6 only one is meant.
func samePlace(a, b bridge.Route) bool {
	return a.To == b.To && a.Table == b.Table && a.Metric == b.Metric
}

// sameRoute says that two are one route, whoever made them.
func sameRoute(a, b bridge.Route) bool {
	return samePlace(a, b) && a.Via == b.Via && a.Device == b.Device && a.Type == b.Type && a.Source == b.Source
}

// reaches says that a gateway is on the link of a device.
func (w *world) reaches(d *bridge.Device, via netip.Addr) bool {
	if via.Is6() && via.IsLinkLocalUnicast() {
		return true
	}
	return slices.ContainsFunc(d.Addresses, func(a bridge.Address) bool {
		return a.Prefix.Masked().Contains(via) && !a.NoPrefixRoute || a.Peer.IsValid() && a.Peer.Contains(via)
	}) || slices.ContainsFunc(w.routes, func(r bridge.Route) bool {
		return r.Device == d.Name && !r.Via.IsValid() && r.To.Contains(via)
	})
}

func (w *world) deleteRoute(r bridge.Route) error {
	if r.Metric == 0 && r.To.Addr().Is6() {
		r.Metric = metric6
	}
	i := slices.IndexFunc(w.routes, func(o bridge.Route) bool { return sameRoute(r, o) })
	if i < 0 {
		return fmt.Errorf("there is no such route: %w", bridge.ErrNotFound)
	}
	w.routes = slices.Delete(slices.Clone(w.routes), i, i+1)
	return nil
}
