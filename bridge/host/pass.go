package host

import (
	"errors"
	"fmt"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// pass does the steps of one reconcile as far as they can be done. Where one fails, those that build on it are left out: above all, an address
// must not be deleted where it was when it did not arrive where it should be.
type pass struct {
	mover  *mover
	moving map[bridge.Name]bool // devices that lose addresses or routes in this pass
	off    map[bridge.Name]bool // devices that are left alone from now on
	done   map[bridge.Name]bool // devices that were changed
}

func newPass(k Kernel, steps []network.Step, asleep map[bridge.Name]bool) *pass {
	p := &pass{mover: newMover(k), moving: map[bridge.Name]bool{}, off: asleep, done: map[bridge.Name]bool{}}
	for _, s := range steps {
		if s.Op == network.OpDeleteAddress || s.Op == network.OpDeleteRoute {
			p.moving[s.Device] = true
		}
	}
	return p
}

// do does a step, unless it builds on what failed. The sentence says why the kernel refused it.
func (p *pass) do(s network.Step) (why string) {
	if p.touchesOff(s) {
		p.leave(s)
		return ""
	}
	err := p.mover.do(s)
	if err == nil || s.Op != network.OpCreate && alreadySo(s.Op, err) {
		p.done[s.Device] = true
		return ""
	}
	p.leave(s)
	if p.vanished(s) {
		return ""
	}
	return fmt.Sprintf("could not %s: %v", say(s), err)
}

// vanished says that a step's device has gone since the host was looked at, as one of which the kernel had taken the addresses already, being about
// to remove it. That is no failure: the monitor tells of it, and the next look finds it missing.
func (p *pass) vanished(s network.Step) bool {
	if s.Op == network.OpCreate {
		return false
	}
	_, err := p.mover.k.LinkByName(s.Device)
	return errors.Is(err, bridge.ErrNotFound)
}

func (p *pass) touchesOff(s network.Step) bool {
	return p.off[s.Device] || p.off[s.Master] || s.Create != nil && (p.off[s.Create.On] || p.off[s.Create.Master])
}

// leave has later steps that build on this one left out. A bond must not suffer from one port that cannot join; but where a port brings its
// addresses along, they and what they move to belong together.
func (p *pass) leave(s network.Step) {
	p.off[s.Device] = true
	if p.moving[s.Device] && s.Master != "" {
		p.off[s.Master] = true
	}
}
