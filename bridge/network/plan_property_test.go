package network

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vifplug/bridge"
)

// genInput draws a declaration and a host that it can be carried out on, for no stranger has a name that it uses.
func genInput(t *rapid.T) (Input, Plan) {
	have, before := genHost(t)
	in := Input{Want: genSpec(t, "want"), Before: before, Have: have}
	plan, err := Make(in)
	if err != nil {
		t.Fatalf("no plan: %v\n%s", err, tell(in, plan))
	}
	return in, plan
}

// tell is an input and a plan as text.
func tell(in Input, plan Plan) string {
	var b strings.Builder
	for _, d := range in.Have.Devices {
		fmt.Fprintf(&b, "have %s %s on %s.%d master %s %v %v %v\n", d.Name, d.Kind, d.On, d.VLAN, d.Master, d.Settings["mtu"]+" "+d.Settings["up"]+" "+d.Settings["alias"]+" "+d.Settings["mac"], d.Settings["mode"], d.Addresses)
	}
	for _, r := range in.Have.Routes {
		fmt.Fprintf(&b, "have %s source %v\n", routeWhat(&r), r.Source)
	}
	for _, s := range []*Spec{in.Before, &in.Want} {
		fmt.Fprintf(&b, "spec\n")
		if s == nil {
			continue
		}
		for _, d := range s.Bonds {
			fmt.Fprintf(&b, "  bond %s %v %s %v mtu %d %v\n", d.Name, d.Ports, d.Mode, d.Options, d.MTU, d.MAC)
		}
		for _, n := range s.Networks {
			fmt.Fprintf(&b, "  network %d %s %s on %s.%d %v %v gw %v mtu %d filtering %v %v\n", n.Number, n.Name, n.ID, n.On, n.VLAN, n.Roles, n.Address, n.Gateway, n.MTU, n.VLANFiltering, n.Bridge)
		}
	}
	for i, s := range plan.Steps {
		fmt.Fprintf(&b, "%3d %s\n", i+1, s)
	}
	for _, n := range plan.Notes {
		fmt.Fprintf(&b, "note %s\n", n)
	}
	return b.String()
}

func after(t *rapid.T, h bridge.Host, steps []Step) bridge.Host {
	for i, s := range steps {
		var err error
		if h, err = Simulate(h, s); err != nil {
			t.Fatalf("step %d: %s: %v", i+1, s, err)
		}
	}
	return h
}

// A plan leads to what is declared, and then there is nothing to do, whatever is told of the past.
func TestPlanReachesItsAim(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		end := after(t, in.Have, plan.Steps)
		for _, before := range []*Spec{in.Before, &in.Want, nil} {
			then := Input{Want: in.Want, Before: before, Have: end}
			if d := Compare(then); len(d) > 0 {
				t.Fatalf("%v\n%s", d, tell(in, plan))
			}
			again, err := Make(then)
			if err != nil || len(again.Steps) > 0 {
				t.Fatalf("%v\n%s\nagain:\n%s", err, tell(in, plan), tell(then, again))
			}
		}
	})
}

// A host needs steps exactly when it differs.
func TestPlanAndCompareAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		if d := Compare(in); (len(d) == 0) != (len(plan.Steps) == 0) {
			t.Fatalf("%v\n%s", d, tell(in, plan))
		}
	})
}

// Nothing that is not ours is deleted, and no guest's port is touched.
func TestPlanLeavesStrangersAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		h := in.Have
		for i, s := range plan.Steps {
			d := h.Device(s.Device)
			switch {
			case d != nil && isGuests(d):
				t.Fatalf("step %d touches a guest's port\n%s", i+1, tell(in, plan))
			case s.Op == OpDelete && !isOurs(d):
				t.Fatalf("step %d deletes what is not ours\n%s", i+1, tell(in, plan))
			}
			var err error
			if h, err = Simulate(h, s); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range in.Have.Devices {
			now := h.Device(d.Name)
			if !isOurs(&d) && (now == nil || now.Kind != d.Kind) {
				t.Fatalf("%s is gone\n%s", d.Name, tell(in, plan))
			}
			if isGuests(&d) && (now.Master != d.Master && h.Device(d.Master) != nil || now.Settings.String() != d.Settings.String()) {
				t.Fatalf("%s has changed\n%s", d.Name, tell(in, plan))
			}
		}
	})
}

func TestPlanIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		again, err := Make(in)
		if err != nil || tell(in, plan) != tell(in, again) || again.Management != plan.Management || again.Cuts != plan.Cuts {
			t.Fatalf("%v\n%s\nor\n%s", err, tell(in, plan), tell(in, again))
		}
	})
}

func TestEveryStepSaysWhy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		for i, s := range plan.Steps {
			if s.Reason == "" || strings.ContainsAny(s.String(), "\n%") {
				t.Fatalf("step %d has no reason: %s\n%s", i+1, s, tell(in, plan))
			}
		}
	})
}

// An address that is to stay is on some device at every moment; IPv6 ones but while the kernel has taken them, because a device was down.
func TestAddressesAreNeverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		end := after(t, in.Have, plan.Steps)
		h := in.Have
		for i, s := range plan.Steps {
			h = after(t, h, []Step{s})
			for _, d := range in.Have.Devices {
				for _, a := range d.Addresses {
					if a.Prefix.Addr().Is4() && hasAddress(end, a) && !hasAddress(h, a) && !isReplaced(plan.Steps, i, a) {
						t.Fatalf("%s is nowhere after step %d\n%s", a.Prefix, i+1, tell(in, plan))
					}
				}
			}
		}
	})
}

func hasAddress(h bridge.Host, a bridge.Address) bool {
	return slices.ContainsFunc(h.Devices, func(d bridge.Device) bool { return slices.ContainsFunc(d.Addresses, a.Same) })
}

// isReplaced says that an address is away because the first of its subnet has been deleted, with which the kernel may delete it; it comes back at
// once.
func isReplaced(steps []Step, i int, a bridge.Address) bool {
	for ; steps[i].Op == OpAddAddress && !steps[i].Address.Same(a); i-- {
	}
	gone := steps[i]
	for i++; i < len(steps) && steps[i].Op == OpAddAddress; i++ {
		if steps[i].Address.Same(a) {
			return gone.Op == OpDeleteAddress && sameSubnet(*gone.Address, a)
		}
	}
	return false
}

// Between a device's change of master and the return of its addresses' routes there is nothing that does not belong to it.
func TestSwapsAreNotInterrupted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		h := in.Have
		end := after(t, in.Have, plan.Steps)
		for i, s := range plan.Steps {
			before := h
			h = after(t, h, []Step{s})
			if s.Op != OpMaster || end.Device(s.Device) == nil || end.Device(s.Device).Master != s.Master {
				continue // or a bond's port is let go for a moment
			}
			if why := interrupted(plan.Steps[i+1:], before, end, s); why != "" {
				t.Fatalf("step %d: %s\n%s", i+1, why, tell(in, plan))
			}
		}
	})
}

// chainOf is what a swap's device is at last a port of.
func chainOf(end bridge.Host, s Step) (out []bridge.Name) {
	for d := end.Device(s.Device); d != nil; d = end.Device(d.Master) {
		out = append(out, d.Name)
	}
	return out
}

// interrupted looks for a step that does not belong to a swap before the default routes that it moved are back.
func interrupted(rest []Step, before, end bridge.Host, s Step) string {
	from := []bridge.Name{s.Device, before.Device(s.Device).Master}
	var waits []bridge.Route
	for _, r := range before.Routes {
		if r.To.Bits() == 0 && slices.Contains(from, r.Device) {
			for _, e := range end.Routes {
				if samePlace(r, e) && r.Via == e.Via && r.Device != e.Device && slices.Contains(chainOf(end, s), e.Device) {
					waits = append(waits, e)
				}
			}
		}
	}
	for _, next := range rest {
		waits = slices.DeleteFunc(waits, func(r bridge.Route) bool { return next.Op == OpAddRoute && sameRoute(*next.Route, r) })
		if len(waits) == 0 {
			return ""
		}
		_, up := next.Set[bridge.KeyUp]
		if next.Op == OpCreate || next.Op == OpDelete || next.Op == OpMaster || next.Op == OpSet && !up {
			return fmt.Sprintf("%s comes before %s is back", next, routeWhat(&waits[0]))
		}
	}
	if len(waits) > 0 {
		return routeWhat(&waits[0]) + " does not come back"
	}
	return ""
}

// like is what a person would call the same host, as far as another says what is known of it.
func like(h, known bridge.Host) string {
	var lines []string
	for _, d := range h.Devices {
		var addrs []string
		for _, a := range d.Addresses {
			addrs = append(addrs, a.Prefix.String())
		}
		slices.Sort(addrs)
		set := d.Settings.Clone()
		if d.Kind == "vlan" {
			delete(set, bridge.KeyMAC) // it follows what it stands on, unless it was given one of its own: nobody can tell
		}
		if k := known.Device(d.Name); k != nil {
			maps.DeleteFunc(set, func(key bridge.Key, _ string) bool { _, is := k.Settings[key]; return !is })
		}
		lines = append(lines, fmt.Sprintf("%s %s on %s.%d of %s: %s; %v; %v", d.Name, d.Kind, d.On, d.VLAN, d.Master, set, addrs, d.PortVLANs))
	}
	for _, r := range h.Routes {
		lines = append(lines, fmt.Sprintf("route %s %s source %v", r.Device, routeWhat(&r), r.Source))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// What undoes a step leaves no trace of it; and undoing any number of steps, the last first, gives the host as it was.
func TestUndo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, plan := genInput(t)
		var undo [][]Step
		h := in.Have
		for i, s := range plan.Steps {
			back := Undo(s, h)
			then := after(t, h, []Step{s})
			if got, want := like(after(t, then, back), h), like(h, h); got != want {
				t.Fatalf("step %d, %s, undone by %v\nwant\n%s\ngot\n%s\n%s", i+1, s, back, want, got, tell(in, plan))
			}
			h, undo = then, append(undo, back)
		}
		if all, end, err := Rehearse(in.Have, plan.Steps); err != nil || !reflect.DeepEqual(all, undo) || !reflect.DeepEqual(end, h) {
			t.Fatalf("rehearsing all at once gives another end than one by one: %v\n%v\n%v\n%v\n%v", err, all, undo, end, h)
		}
		h = after(t, in.Have, plan.Steps)
		for _, back := range slices.Backward(undo) {
			h = after(t, h, back)
		}
		if got, want := like(h, in.Have), like(in.Have, in.Have); got != want {
			t.Fatalf("want\n%s\ngot\n%s\n%s", want, got, tell(in, plan))
		}
	})
}
