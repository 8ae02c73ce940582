package network

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"vifplug/bridge"
)

// Undo gives the steps that make of the host after a step the one before: the opposite of the step, and then all that the kernel took away or
// changed by itself. A step that the kernel refuses has nothing to be undone.
func Undo(s Step, before bridge.Host) []Step {
	undo, _, err := Rehearse(before, []Step{s})
	if err != nil {
		return nil
	}
	return undo[0]
}

// Rehearse does steps to a host in order, as [Simulate] does one. For each it gives what [Undo] gives, and then the host that all lead to. The
// error is the first step that the kernel would refuse.
func Rehearse(h bridge.Host, steps []Step) (undo [][]Step, end bridge.Host, err error) {
	w := newWorld(h)
	w.returns = true
	for _, s := range steps {
		before := w.routes
		if err := w.do(s); err != nil {
			return nil, h, err
		}
		w.back = w.back[:0]
		undo = append(undo, w.undo(before))
	}
	return undo, w.host(), nil
}

// undo undoes the last step of a world, notes how, and goes back to where it was.
func (w *world) undo(routes []bridge.Route) []Step {
	after := w.routes
	u := &undoer{w: w, was: maps.Clone(w.was), routes: routes, unsure: map[bridge.Name]bridge.Settings{}}
	u.names = slices.Sorted(maps.Keys(u.was))
	u.doubt()
	u.run()
	w.goBack(after)
	return u.steps
}

// undoer leads a world back to how some devices were.
type undoer struct {
	w      *world
	was    map[bridge.Name]*bridge.Device // nil: it was not there
	names  []bridge.Name                  // of was, sorted
	routes []bridge.Route
	unsure map[bridge.Name]bridge.Settings // to be set whatever a world says: see doubt
	steps  []Step
}

// doubt notes the settings of which only the kernel knows what they are after the step. Later steps may have set them otherwise by the time that
// this one is undone.
func (u *undoer) doubt() {
	for name, was := range u.was {
		d := u.w.device(name)
		if was == nil || d == nil {
			continue
		}
		u.unsure[name] = was.Settings.Clone()
		maps.DeleteFunc(u.unsure[name], func(key bridge.Key, _ string) bool { _, known := d.Settings[key]; return known })
	}
}

// run goes over everything until nothing differs: what one step of it brings about by itself another puts right.
func (u *undoer) run() {
	for range 4 {
		n := len(u.steps)
		u.devices()
		u.masters()
		u.settings()
		u.addresses()
		u.vlans()
		u.backRoutes()
		if len(u.steps) == n {
			return
		}
	}
}

// do adds a step. What a step changes beside that was not changed before is to be put right too.
func (u *undoer) do(s Step) {
	if u.w.do(s) != nil {
		return
	}
	s.Reason = "as it was before"
	u.steps = append(u.steps, s)
	for name, d := range u.w.was {
		if _, known := u.was[name]; !known {
			u.was[name] = d
			u.names = slices.Sorted(maps.Keys(u.was))
		}
	}
}

// devices deletes what was not there and brings back what was, each after what it stands on.
func (u *undoer) devices() {
	names := slices.Clone(u.names)
	slices.SortStableFunc(names, func(a, b bridge.Name) int { return cmp.Compare(u.depth(a), u.depth(b)) })
	for _, name := range slices.Backward(names) {
		if d := u.w.device(name); u.was[name] == nil && d != nil {
			u.do(Step{Op: OpDelete, Device: name, Create: &Create{Kind: d.Kind, On: d.On, VLAN: d.VLAN}})
		}
	}
	for _, name := range names {
		if d := u.was[name]; d != nil && u.w.device(name) == nil {
			u.do(Step{Op: OpCreate, Device: name, Create: &Create{Kind: d.Kind, On: d.On, VLAN: d.VLAN, Settings: remake(d)}})
		}
	}
}

func (u *undoer) depth(name bridge.Name) int {
	d := u.was[name]
	if d == nil {
		d = u.w.device(name)
	}
	if d == nil || d.On == "" || d.On == name {
		return 0
	}
	return 1 + u.depth(d.On)
}

// remake is what a device is to be made with: of its options those that are not the kernel's default, and none that names a port.
func remake(d *bridge.Device) bridge.Settings {
	out := bridge.Settings{}
	for key, v := range d.Settings {
		o := bridge.BridgeOption(key)
		if d.Kind == "bond" {
			o = bridge.BondOption(key)
		}
		if o != nil && (v == o.Default || o.Kind == "device" || !o.In(d.Settings[bridge.KeyMode])) {
			continue
		}
		out[key] = v
	}
	return out
}

// masters puts ports back, first those that are to be free.
func (u *undoer) masters() {
	for _, name := range u.names {
		if was, d := u.was[name], u.w.device(name); was != nil && d != nil && was.Master != d.Master && was.Master == "" {
			u.do(Step{Op: OpMaster, Device: name})
		}
	}
	for _, name := range u.names {
		was, d := u.was[name], u.w.device(name)
		if was == nil || d == nil || was.Master == d.Master {
			continue
		}
		if m := u.w.device(was.Master); m != nil && m.Kind == "bond" && d.Settings[bridge.KeyUp] == "1" {
			u.do(Step{Op: OpSet, Device: name, Set: bridge.Settings{bridge.KeyUp: "0"}})
		}
		u.do(Step{Op: OpMaster, Device: name, Master: was.Master})
	}
}

// settings puts settings back: MTUs that shrink from the top down, all else from the wire up, and up or down last.
func (u *undoer) settings() {
	names := slices.Clone(u.names)
	slices.SortStableFunc(names, func(a, b bridge.Name) int { return cmp.Compare(u.height(a), u.height(b)) })
	for _, name := range slices.Backward(names) {
		if was, d := u.was[name], u.w.device(name); was != nil && d != nil && deviceMTU(was) > 0 && deviceMTU(was) < deviceMTU(d) {
			u.do(Step{Op: OpSet, Device: name, Set: bridge.Settings{bridge.KeyMTU: was.Settings[bridge.KeyMTU]}})
		}
	}
	for _, name := range names {
		was, d := u.was[name], u.w.device(name)
		if was == nil || d == nil {
			continue
		}
		differs := bridge.Settings{}
		maps.Copy(differs, u.unsure[name])
		delete(u.unsure, name)
		for key, v := range was.Settings {
			if d.Settings[key] != v {
				differs[key] = v
			}
		}
		for _, part := range parts(was, differs) {
			u.do(Step{Op: OpSet, Device: name, Set: part})
		}
	}
}

// parts divides settings that are to be set back: first the options that a bond in its former mode has not, last up or down.
func parts(was *bridge.Device, differs bridge.Settings) (out []bridge.Settings) {
	first, then, last := bridge.Settings{}, bridge.Settings{}, bridge.Settings{}
	for key, v := range differs {
		o := bridge.BondOption(key)
		switch {
		case key == bridge.KeyUp:
			last[key] = v
		case was.Kind == "bond" && o != nil && !o.In(was.Settings[bridge.KeyMode]):
			first[key] = v
		default:
			then[key] = v
		}
	}
	for _, part := range []bridge.Settings{first, then, last} {
		if len(part) > 0 {
			out = append(out, part)
		}
	}
	return out
}

// height is how far from the wire a device is.
func (u *undoer) height(name bridge.Name) int {
	h := 2 * u.depth(name)
	if d := u.was[name]; d != nil && (d.Kind == "bond" || d.Kind == "bridge") {
		h += 1 + len(d.Kind)%4*4 // a bond stands on ports, a bridge on whatever it is
	}
	return h
}

// addresses puts addresses back, those of one subnet in their order: the kernel tells the first from the others.
func (u *undoer) addresses() {
	for _, name := range u.names {
		was := u.was[name]
		if was == nil || u.w.device(name) == nil {
			continue
		}
		for _, a := range slices.Backward(slices.Clone(u.w.device(name).Addresses)) {
			if !slices.ContainsFunc(was.Addresses, a.Same) {
				u.do(Step{Op: OpDeleteAddress, Device: name, Address: &a})
			}
		}
		for i, a := range was.Addresses {
			if slices.ContainsFunc(u.w.device(name).Addresses, a.Same) {
				continue
			}
			for _, b := range slices.Backward(was.Addresses[i+1:]) {
				if sameSubnet(a, b) && slices.ContainsFunc(u.w.device(name).Addresses, b.Same) {
					u.do(Step{Op: OpDeleteAddress, Device: name, Address: &b})
				}
			}
			u.do(Step{Op: OpAddAddress, Device: name, Address: &a})
		}
	}
}

func (u *undoer) vlans() {
	for _, name := range u.names {
		was, d := u.was[name], u.w.device(name)
		if was == nil || d == nil || d.Master == "" || slices.Equal(was.PortVLANs, d.PortVLANs) {
			continue
		}
		for _, v := range slices.Clone(d.PortVLANs) {
			if !slices.Contains(was.PortVLANs, v) {
				u.do(Step{Op: OpDeleteVLAN, Device: name, PortVLAN: &v})
			}
		}
		for _, v := range was.PortVLANs {
			if !slices.Contains(d.PortVLANs, v) {
				u.do(Step{Op: OpAddVLAN, Device: name, PortVLAN: &v})
			}
		}
	}
}

// backRoutes puts routes back: those by the link first, since gateways are reached by them. What came instead goes after, so that there is always
// one.
func (u *undoer) backRoutes() {
	if isSame(u.routes, u.w.routes) {
		return
	}
	lost := slices.DeleteFunc(slices.Clone(u.routes), func(r bridge.Route) bool {
		return r.Device == "" || slices.ContainsFunc(u.w.routes, func(o bridge.Route) bool { return sameRoute(r, o) })
	})
	slices.SortStableFunc(lost, func(a, b bridge.Route) int {
		return cmp.Or(cmp.Compare(len(a.Via.AsSlice()), len(b.Via.AsSlice())), strings.Compare(string(a.Device), string(b.Device)))
	})
	for _, r := range lost {
		if d := u.w.device(r.Device); d != nil && r.Via.IsValid() && !u.w.reaches(d, r.Via) {
			r.OnLink = true // its gateway was out of reach before, which the kernel allows to happen but not to be made
		}
		u.do(Step{Op: OpAddRoute, Device: r.Device, Route: &r})
	}
	for _, r := range slices.Clone(u.w.routes) {
		if !slices.ContainsFunc(u.routes, func(o bridge.Route) bool { return sameRoute(r, o) }) {
			u.do(Step{Op: OpDeleteRoute, Device: r.Device, Route: &r})
		}
	}
}

// isSame says that two lists of routes of one world are one: a world never changes a list in place.
func isSame(a, b []bridge.Route) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
