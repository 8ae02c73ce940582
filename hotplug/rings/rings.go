package rings

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/qemu/xsk"
)

// Links is the part of the kernel that a Maker works with. [bridge.Conn] is the real one.
type Links interface {
	LinkByName(bridge.Name) (bridge.Link, error)
	Links() ([]bridge.Link, error)
	Set(index int, c bridge.Change) error
	CreateVeth(name, peer bridge.Name, alias string, mtu int) error
	NoOffloads(bridge.Name) error
	IgnoreIPv6(bridge.Name) error
	Delete(bridge.Name) error
}

// DefaultPins is where what is to outlive the daemon is pinned.
const DefaultPins = "/sys/fs/bpf/vifplug"

// Maker makes and removes such ports. It has no state of its own: all is in the kernel.
type Maker struct {
	Links Links  // required
	Pins  string // a directory in a bpffs; "" is DefaultPins

	mu sync.Mutex // one port at a time is made or removed
}

// NIC is whose port it is.
type NIC struct {
	Domain uint16
	Device uint32
}

// Port is a port that has been made, with a socket for QEMU.
type Port struct {
	Name   string   // the end that stands in the bridge
	Device string   // the other, for QEMU's ifname=
	Mode   xsk.Mode // for its mode=
	Socket *os.File // for its sock-fds=; the caller's to close
}

// names are those of a port's two ends. XAPI calls a tap as we do the one.
func (n NIC) names() (visible, hidden bridge.Name, err error) {
	visible, hidden = bridge.Name(fmt.Sprintf("tap%d.%d", n.Domain, n.Device)), bridge.Name(fmt.Sprintf("xdp%d.%d", n.Domain, n.Device))
	if len(visible) > maxName || n.Device > math.MaxUint16 {
		return "", "", fmt.Errorf("rings: eth%d of guest %d: a device's name has no room for this number", n.Device, n.Domain)
	}
	return visible, hidden, nil
}

const (
	path    = "af-xdp" // as [network.Alias] has it
	maxName = 15
)

// behind is the mark of the hidden end, which is nobody's tap.
func behind(visible bridge.Name) string { return "vifplug: behind " + string(visible) }

// pins is a port's own directory. A bpffs takes no dots.
func (m *Maker) pins(n NIC) string {
	root := m.Pins
	if root == "" {
		root = DefaultPins
	}
	return filepath.Join(root, fmt.Sprintf("%s-%d-%d", path, n.Domain, n.Device))
}

// Open gives a socket of a NIC's port for QEMU, and makes the port if there is none. The port is plugged as any tap, when there is a backend for it.
// With [xsk.ErrInUse] a QEMU that runs has its socket. On any other error nothing is left that was not there.
func (m *Maker) Open(n NIC) (*Port, error) {
	visible, hidden, err := n.names()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	have, err := m.find(n, visible)
	if err != nil {
		return nil, fmt.Errorf("rings: make %s: %w", visible, err)
	}
	p := &Port{Name: string(visible), Device: string(hidden)}
	if p.Socket, err = xsk.NewFile(); err != nil {
		return nil, fmt.Errorf("rings: make %s: %w", visible, err)
	}
	if have {
		p.Mode, err = m.join(n, hidden, p.Socket)
	} else {
		p.Mode, err = m.make(n, visible, hidden, p.Socket)
	}
	if err != nil {
		return nil, fmt.Errorf("rings: make %s: %w", visible, errors.Join(err, p.Socket.Close()))
	}
	return p, nil
}

// find says whether the NIC has its port already. Whatever else has its name is an error.
func (m *Maker) find(n NIC, visible bridge.Name) (bool, error) {
	l, err := m.Links.LinkByName(visible)
	switch {
	case errors.Is(err, bridge.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	if of, ours := portOf(l); !ours || of != n {
		return false, fmt.Errorf("there is a device of this name, which is no port that vifplug made: %w. Delete it", os.ErrExist)
	}
	return true, nil
}

// portOf reads whose port a link is, if it is one.
func portOf(l bridge.Link) (NIC, bool) {
	a, ours := network.ParseAlias(l.Alias)
	if !ours || !a.Tap || a.By != path || l.Kind != "veth" {
		return NIC{}, false
	}
	return NIC{Domain: a.ID, Device: uint32(a.NIC)}, true
}

// making is what the visible end is called until it is complete.
func (n NIC) making() bridge.Name { return bridge.Name(fmt.Sprintf("new%d.%d", n.Domain, n.Device)) }

// make makes the pair, has the hidden end's frames go to the socket, marks the visible end, and only then gives it its name, by which the engine takes
// it for the NIC's: what it plugs is complete.
func (m *Maker) make(n NIC, visible, hidden bridge.Name, socket *os.File) (mode xsk.Mode, err error) {
	if err = m.clear(n, visible); err != nil {
		return "", err
	}
	if err = m.Links.CreateVeth(n.making(), hidden, behind(visible), 0); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Links.Delete(hidden), xsk.Unpin(m.pins(n)))
		}
	}()
	if err = m.Links.NoOffloads(n.making()); err != nil { // QEMU takes no unfinished checksum and no super-frame
		return "", err
	}
	for _, end := range []bridge.Name{n.making(), hidden} {
		if err = m.Links.IgnoreIPv6(end); err != nil {
			return "", err
		}
	}
	if mode, err = m.feed(n, hidden, socket); err == nil {
		err = m.present(n, visible)
	}
	return mode, err
}

// clear removes what a daemon that was killed at it has left of a pair.
func (m *Maker) clear(n NIC, visible bridge.Name) error {
	l, err := m.Links.LinkByName(n.making())
	switch {
	case errors.Is(err, bridge.ErrNotFound):
		return nil
	case err != nil:
		return err
	case l.Alias != behind(visible) && l.Alias != network.MadeTapAlias(n.Domain, int(n.Device), path):
		return nil // CreateVeth will say that the name is taken
	}
	return m.Links.Delete(n.making())
}

// present marks the visible end and gives it its name. It is the name that the engine hears of: of another alias the kernel tells only where the device
// is up (linux: net/core/dev.c netdev_state_change). It stays down, since what the guest sends into a device that is up and stands in no bridge yet would
// reach the host, and pass no guard.
func (m *Maker) present(n NIC, visible bridge.Name) error {
	l, err := m.Links.LinkByName(n.making())
	if err != nil {
		return err
	}
	mark := network.MadeTapAlias(n.Domain, int(n.Device), path)
	if err := m.Links.Set(l.Index, bridge.Change{Alias: &mark}); err != nil {
		return err
	}
	return m.Links.Set(l.Index, bridge.Change{Name: visible})
}

// hiddenMTU lets the hidden end take whatever its other end may send: how long a frame may be is that one's MTU, and the rings' frames.
const hiddenMTU = 9000

// feed puts the program on the hidden end, with the socket, has it last, and switches the end on. It must be the native mode: frames that the shortcut
// redirects to the visible end are not shown to a generic program, see [xsk.Generic].
func (m *Maker) feed(n NIC, hidden bridge.Name, socket *os.File) (xsk.Mode, error) {
	l, err := m.Links.LinkByName(hidden)
	if err != nil {
		return "", err
	}
	if err := xsk.Unpin(m.pins(n)); err != nil { // of a port that had this name and has gone
		return "", err
	}
	a, err := xsk.Attach(l.Index, 1, xsk.Native)
	if err != nil {
		return "", err
	}
	err = errors.Join(a.Add(0, socket), a.Pin(m.pins(n)))
	if err == nil {
		up := true
		err = m.Links.Set(l.Index, bridge.Change{MTU: hiddenMTU, Up: &up})
	}
	return a.Mode(), errors.Join(err, a.Close())
}

// join gives a port that is there another socket: QEMU was started anew.
func (m *Maker) join(n NIC, hidden bridge.Name, socket *os.File) (xsk.Mode, error) {
	a, err := m.pinned(n, hidden)
	if err != nil {
		return "", err
	}
	if a == nil {
		return m.feed(n, hidden, socket)
	}
	return a.Mode(), errors.Join(a.Add(0, socket), a.Close())
}

// pinned opens the program of the hidden end's; nil where there is none, or one of a device that has gone.
func (m *Maker) pinned(n NIC, hidden bridge.Name) (*xsk.Attachment, error) {
	a, err := xsk.Pinned(m.pins(n))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, xsk.ErrGone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	on, err := a.Index()
	l, err2 := m.Links.LinkByName(hidden)
	if err = errors.Join(err, err2); err != nil || on != l.Index {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Delete removes a NIC's port, and gives its name. One whose socket a QEMU uses is left alone ([xsk.ErrInUse]).
func (m *Maker) Delete(n NIC) (name string, err error) {
	visible, hidden, err := n.names()
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	have, err := m.find(n, visible)
	if err != nil {
		return "", fmt.Errorf("rings: delete %s: %w", visible, err)
	}
	if !have {
		return "", fmt.Errorf("rings: delete %s: there is none: %w", visible, os.ErrNotExist)
	}
	a, err := m.pinned(n, hidden)
	if err != nil {
		return "", fmt.Errorf("rings: delete %s: %w", visible, err)
	}
	if a != nil {
		used, err := a.InUse(0)
		if err = errors.Join(err, a.Close()); err == nil && used {
			err = fmt.Errorf("%w. End QEMU first", xsk.ErrInUse)
		}
		if err != nil {
			return "", fmt.Errorf("rings: delete %s: %w", visible, err)
		}
	}
	if err := m.remove(n, visible); err != nil {
		return "", fmt.Errorf("rings: delete %s: %w", visible, err)
	}
	return string(visible), nil
}

func (m *Maker) remove(n NIC, visible bridge.Name) error {
	return errors.Join(m.Links.Delete(visible), xsk.Unpin(m.pins(n)))
}
