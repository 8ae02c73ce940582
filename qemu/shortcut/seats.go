package shortcut

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// enter has the table say that the guest can be reached, or no longer.
func (m *Manager) enter(a *attached) error {
	p := a.port
	if p.Uplink {
		return nil
	}
	n := m.nics[nicKey{p.Bridge, p.NIC}]
	if !p.Redirect {
		m.unseat(n, p.Index)
	}
	wanted, k := false, keyOf(p.Bridge, p.MAC, p.VLAN)
	for i := range n.ports {
		if o := m.ports[i]; o != nil {
			wanted = wanted || o.port.Redirect
		}
	}
	if err := m.resize(n, p); err != nil {
		return err
	}
	if n.known && n.entry == k && wanted {
		return nil
	}
	if err := m.strike(n); err != nil || !wanted {
		return err
	}
	if m.claims[k] == nil {
		m.claims[k] = map[*nic]bool{}
	}
	m.claims[k][n], n.entry, n.known = true, k, true
	return m.row(k)
}

// resize has the seat of a guest that sits at a port say how long frames there may be now, also before the guest speaks again.
func (m *Manager) resize(n *nic, p Port) error {
	var b [8]byte
	at := int64(n.slot*slotSize + slotSeat)
	if _, err := m.slots.v.ReadAt(b[:], at); err != nil {
		return err
	}
	if was := binary.NativeEndian.Uint64(b[:]); int(uint32(was)) != p.Index || was == seat(p.Index, p.MTU) {
		return nil
	}
	binary.NativeEndian.PutUint64(b[:], seat(p.Index, p.MTU))
	_, err := m.slots.v.WriteAt(b[:], at)
	return err
}

// strike takes a NIC's claim to a row back.
func (m *Manager) strike(n *nic) error {
	if !n.known {
		return nil
	}
	n.known = false
	delete(m.claims[n.entry], n)
	return m.row(n.entry)
}

// row has the table say where an address is that guests claim. While two have one address, as in a migration within the host, a bridge sends frames to
// whoever spoke last; then the table has none of them, so that the bridge decides.
func (m *Manager) row(k key) error {
	delete(m.learned, k)
	if c := m.claims[k]; len(c) == 1 {
		for n := range c {
			if err := m.table.Put(k, uint32(n.slot)); err != nil {
				return fmt.Errorf("enter an address: %w", err)
			}
		}
		return m.changed()
	}
	if len(m.claims[k]) == 0 {
		delete(m.claims, k)
	}
	if err := m.table.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("strike an address: %w", err)
	}
	return m.changed()
}

// unseat has frames for a guest take the bridge while it is said to sit at a port. It moves in again by its next frame.
func (m *Manager) unseat(n *nic, index int) {
	var b [8]byte
	if _, err := m.slots.v.ReadAt(b[:], int64(n.slot*slotSize)); err != nil {
		return
	}
	if index == 0 || int(binary.NativeEndian.Uint32(b[:])) == index {
		clear(b[:])
		_, _ = m.slots.v.WriteAt(b[:], int64(n.slot*slotSize))
	}
}

// Learn says that a bridge has learned an address at a port. Where it is a guest's own, and the port is not, the guest has moved, or somebody says so:
// frames for it take the bridge until it speaks here again. Other addresses are sent on to where the port is an uplink with programs.
func (m *Manager) Learn(bridge int, mac MAC, vlan, port int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	k := keyOf(bridge, mac, vlan)
	if owners := m.claims[k]; len(owners) > 0 {
		for n := range owners {
			if !n.ports[port] {
				m.unseat(n, 0)
			}
		}
		return nil
	}
	a := m.ports[port]
	if a == nil || !a.port.Uplink || a.port.Bridge != bridge {
		return m.forget(k)
	}
	slot := a.plain
	if vlan != 0 && vlan != a.port.PVID {
		slot = a.tagged
	}
	if m.learned[k] == port {
		return nil
	}
	m.unheard(k)
	if err := m.table.Put(k, uint32(slot)); err != nil {
		return fmt.Errorf("shortcut: learn %v: %w", mac, err)
	}
	m.learned[k] = port
	return m.changed()
}

// Forget says that it no longer knows the address anywhere, be it a guest's that has been silent or whose port has lost its carrier: frames for it are
// flooded until it speaks, as without the shortcut.
func (m *Manager) Forget(bridge int, mac MAC, vlan int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	k := keyOf(bridge, mac, vlan)
	for n := range m.claims[k] {
		m.unseat(n, 0)
	}
	return m.forget(k)
}

func (m *Manager) forget(k key) error {
	if _, known := m.learned[k]; !known {
		return nil
	}
	m.unheard(k)
	delete(m.learned, k)
	if err := m.table.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("shortcut: forget: %w", err)
	}
	return m.changed()
}

// unheard has the uplink behind which a station was show the bridge its next frame there, since the bridge no longer has it there.
func (m *Manager) unheard(k key) {
	if a := m.ports[m.learned[k]]; a != nil && a.sources != nil {
		_, _ = a.sources.v.WriteAt(make([]byte, 8), int64(8*placeOf(k)))
	}
}
