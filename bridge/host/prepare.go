package host

import (
	"fmt"
	"slices"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// prepare works out, before anything is done, what undoes each step, and the host that the steps lead to. A step that the kernel is known to
// refuse is an error here, where nothing has happened yet. Guests' devices, which may be thousands and which no plan changes, are left out of
// the reckoning and of the host that it gives.
func prepare(have bridge.Host, steps []network.Step) (out []undoable, end bridge.Host, err error) {
	undo, end, err := network.Rehearse(withoutGuests(have), steps)
	if err != nil {
		return nil, have, fmt.Errorf("host: the plan cannot be carried out: %w", err)
	}
	for i, s := range steps {
		out = append(out, undoable{Step: s, Undo: undo[i]})
	}
	return out, end, nil
}

func withoutGuests(h bridge.Host) bridge.Host {
	h.Devices = slices.DeleteFunc(slices.Clone(h.Devices), func(d bridge.Device) bool { return network.IsGuestPort(d.Name) })
	return h
}

// touched are the devices that steps change, or whose state may change with them.
func touched(steps []undoable) map[bridge.Name]bool {
	out := map[bridge.Name]bool{}
	note := func(s network.Step) {
		out[s.Device] = true
		out[s.Master] = true
		if s.Create != nil {
			out[s.Create.Master] = true
		}
	}
	for _, u := range steps {
		note(u.Step)
		for _, s := range u.Undo {
			note(s)
		}
	}
	delete(out, "")
	return out
}

// portion is the part of a host that some devices are, with their routes.
func portion(h bridge.Host, names map[bridge.Name]bool) (out bridge.Host) {
	for _, d := range h.Devices {
		if names[d.Name] {
			d.Stats, d.BondState, d.BondPort = bridge.Stats{}, nil, nil
			out.Devices = append(out.Devices, d)
		}
	}
	for _, r := range h.Routes {
		if names[r.Device] {
			out.Routes = append(out.Routes, r)
		}
	}
	return out
}

// extend adds steps to a record, and what they touch as it is now, but for what earlier steps have touched already.
func (r *record) extend(have bridge.Host, steps []undoable) {
	known, more := touched(r.Steps), touched(steps)
	for name := range known {
		delete(more, name)
	}
	was := portion(have, more)
	r.Was.Devices = append(r.Was.Devices, was.Devices...)
	r.Was.Routes = append(r.Was.Routes, was.Routes...)
	r.Steps = append(slices.Clip(r.Steps), steps...)
}

// say is a step without its reason.
func say(s network.Step) string {
	s.Reason = ""
	return s.String()
}
