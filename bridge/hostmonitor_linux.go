package bridge

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// HostChange is a hint that the network of the host has changed: what of it, and whose. It is no news of what it is like now: read
// [Conn.Host] for that.
type HostChange struct {
	Links     bool // a device came, went or changed, or VLANs of a port did
	Addresses bool
	Routes    bool
	Devices   []int  // the indexes of those concerned, in order; routes tell none of theirs
	Names     []Name // the names of those among them whose link changed, in order; one that went is known by nothing else
}

// HostMonitor receives hints of changes to all that [Conn.Host] reads of one network namespace.
type HostMonitor struct {
	nl    *netlink.Conn
	quiet time.Duration // a change that comes so soon after another belongs to it
	most  time.Duration // but no hint waits longer
}

// OpenHostMonitor starts to receive hints of the calling thread's network namespace.
func OpenHostMonitor() (*HostMonitor, error) { return openHostMonitor(monitorBuffer) }

func openHostMonitor(buffer int) (*HostMonitor, error) {
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		return nil, fail("open", "host monitor", err)
	}
	if err := nl.SetReadBuffer(buffer); err != nil {
		_ = nl.Close()
		return nil, fail("open", "host monitor", err)
	}
	return &HostMonitor{nl: nl, quiet: time.Millisecond, most: 10 * time.Millisecond}, nil
}

// Receive waits for a change and gives it, together with those that follow within a millisecond of each other, up to ten. ErrOverflow says
// that some were lost: everything may have changed; go on receiving. Other errors come after Close.
func (m *HostMonitor) Receive() (HostChange, error) {
	seen := gathered{devices: map[int]bool{}, names: map[Name]bool{}}
	if err := m.nl.SetReadDeadline(time.Time{}); err != nil {
		return HostChange{}, fail("receive", "host events", err)
	}
	var last time.Time
	for {
		msgs, err := m.nl.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			return HostChange{}, ErrOverflow
		case errors.Is(err, os.ErrDeadlineExceeded) && seen.any():
			return seen.hint(), nil
		case err != nil:
			return HostChange{}, fail("receive", "host events", err)
		}
		for _, msg := range msgs {
			seen.add(msg)
		}
		if !seen.any() {
			continue
		}
		now := time.Now()
		if last.IsZero() {
			last = now.Add(m.most)
		}
		until := now.Add(m.quiet)
		if until.After(last) {
			until = last
		}
		if err := m.nl.SetReadDeadline(until); err != nil {
			return HostChange{}, fail("receive", "host events", err)
		}
	}
}

// Close ends the monitor and whoever waits in Receive.
func (m *HostMonitor) Close() error { return fail("close", "host monitor", m.nl.Close()) }

// gathered is what several messages said.
type gathered struct {
	links, addresses, routes bool
	devices                  map[int]bool
	names                    map[Name]bool
}

func (g *gathered) any() bool { return g.links || g.addresses || g.routes }

func (g *gathered) add(m netlink.Message) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		l, _, err := decodeLink(m.Data)
		if err != nil {
			return
		}
		g.links, g.devices[l.Index] = true, true
		if l.Name != "" {
			g.names[l.Name] = true
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.Data) < ifaddr {
			return
		}
		g.addresses, g.devices[int(binary.NativeEndian.Uint32(m.Data[4:]))] = true, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		g.routes = g.routes || len(decodeRoute(m.Data)) > 0
	}
}

func (g *gathered) hint() HostChange {
	return HostChange{
		Links: g.links, Addresses: g.addresses, Routes: g.routes,
		Devices: slices.Sorted(maps.Keys(g.devices)), Names: slices.Sorted(maps.Keys(g.names)),
	}
}
