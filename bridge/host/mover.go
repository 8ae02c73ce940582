package host

import (
	"net/netip"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// How long an address stays on the device that it leaves for the sake of the one that it goes to.
const (
	settleAtMost = 200 * time.Millisecond // a bridge whose port has no carrier never gets ready
	settleEvery  = time.Millisecond
)

// mover does steps. Between the arrival of an address on a device and its removal from another it waits until the new one is ready: for some
// milliseconds after a bridge got its first port the kernel drops what it is to send (linux: net/core/link_watch.c activates its queue), and
// where that hits the first ARP request, the next one follows a second later.
type mover struct {
	k     Kernel
	added map[netip.Prefix]bridge.Name
}

func newMover(k Kernel) *mover { return &mover{k: k, added: map[netip.Prefix]bridge.Name{}} }

func (v *mover) do(s network.Step) error {
	if s.Op == network.OpDeleteAddress && s.Address != nil {
		if to := v.added[s.Address.Prefix]; to != "" && to != s.Device {
			v.settle(to)
			delete(v.added, s.Address.Prefix)
		}
	}
	err := Do(v.k, s)
	if err == nil && s.Op == network.OpAddAddress {
		v.added[s.Address.Prefix] = s.Device
	}
	return err
}

// settle waits until a device is up and has carrier, or for a time after which it hardly will.
func (v *mover) settle(device bridge.Name) {
	for end := time.Now().Add(settleAtMost); time.Now().Before(end); {
		if l, err := v.k.LinkByName(device); err != nil || l.Running {
			return
		}
		<-time.After(settleEvery)
	}
}
