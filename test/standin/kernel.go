package standin

import (
	"fmt"
	"sync"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
)

// Kernel gives veths what only netback's netdevs have: a parent on the xen-backend bus, by which a netdev is known whatever its name. It
// decorates what the engine sees of the kernel; the rest is the real one's.
type Kernel struct {
	mu      sync.RWMutex // held while a netdev is made, so that none is seen before its parent is known; guards parents
	parents map[int]string
}

// Make makes a NIC's netdev under a name, and the guest's end.
func (k *Kernel) Make(name string, front, dev int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := bridgetest.MakeVeth(name, GuestEnd(front, dev)); err != nil {
		return err
	}
	index, err := bridgetest.Peer(GuestEnd(front, dev)) // the name may be another by now: a daemon that needs no parent does not wait for k.mu
	if err != nil {
		return err
	}
	if k.parents == nil {
		k.parents = map[int]string{}
	}
	k.parents[index] = fmt.Sprintf("vif-%d-%d", front, dev)
	return nil
}

func (k *Kernel) parent(l *bridge.Link) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if p := k.parents[l.Index]; p != "" {
		l.Parent, l.ParentBus = p, "xen-backend"
	}
}

// Links decorates a connection to the kernel.
func (k *Kernel) Links(l hotplug.Links) hotplug.Links { return kernelLinks{l, k} }

// inner names the embedded interface otherwise than its method Links.
type inner = hotplug.Links

type kernelLinks struct {
	inner
	k *Kernel
}

func (l kernelLinks) Link(index int) (bridge.Link, error) {
	out, err := l.inner.Link(index)
	l.k.parent(&out)
	return out, err
}

func (l kernelLinks) LinkByName(name bridge.Name) (bridge.Link, error) {
	out, err := l.inner.LinkByName(name)
	l.k.parent(&out)
	return out, err
}

func (l kernelLinks) Links() ([]bridge.Link, error) {
	out, err := l.inner.Links()
	for i := range out {
		l.k.parent(&out[i])
	}
	return out, err
}

// Monitor decorates a monitor of the kernel's events.
func (k *Kernel) Monitor(m hotplug.LinkMonitor) hotplug.LinkMonitor { return kernelMonitor{m, k} }

type kernelMonitor struct {
	hotplug.LinkMonitor
	k *Kernel
}

func (m kernelMonitor) Receive() ([]bridge.LinkEvent, error) {
	out, err := m.LinkMonitor.Receive()
	for i := range out {
		m.k.parent(&out[i].Link)
	}
	return out, err
}
