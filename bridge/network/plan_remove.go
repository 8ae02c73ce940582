package network

import (
	"fmt"
	"slices"

	"vifplug/bridge"
)

// remove deletes what is ours and no longer declared, from the top down, each after its ports.
func (p *planner) remove() {
	for _, name := range p.g.gone {
		d := p.w.device(name)
		if d == nil || p.err != nil {
			continue
		}
		p.empty(name, fmt.Sprintf("%s is no longer declared", name))
		p.delete(name, "it is no longer declared")
	}
}

// empty releases a device's ports, and the device from its master.
func (p *planner) empty(name bridge.Name, reason string) {
	for _, port := range slices.Clone(p.w.ports[name]) {
		if !isGuests(p.w.device(port)) {
			p.do(Step{Op: OpMaster, Device: port, Reason: reason})
		}
	}
	if p.err == nil && p.w.device(name).Master != "" {
		p.do(Step{Op: OpMaster, Device: name, Reason: reason})
	}
}

// delete deletes a device. The step tells what it was.
func (p *planner) delete(name bridge.Name, reason string) {
	d := p.w.device(name)
	if p.err != nil || d == nil {
		return
	}
	p.do(Step{Op: OpDelete, Device: name, Create: &Create{Kind: d.Kind, On: d.On, VLAN: d.VLAN, Master: d.Master, Settings: d.Settings.Clone()}, Reason: reason})
}
