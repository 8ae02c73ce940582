package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// undo takes back the first n steps of a record, the last first, and reads the host back. What it returns are sentences about what is not as
// before; none says that the host is. An error on the way that leaves no trace is none.
func undo(k Kernel, rec record, n int) []string {
	at, err := k.Host()
	if err != nil {
		return []string{fmt.Sprintf("nothing was undone, for the host could not be read: %v", err)}
	}
	var met []string
	v := newMover(k)
	for i, u := range slices.Backward(rec.Steps[:n]) {
		for _, s := range u.Undo {
			if s.Op == network.OpDelete && !stillOurs(&at, u.Step, i == n-1) {
				continue
			}
			if err := v.do(s); err != nil && !alreadySo(s.Op, err) {
				met = append(met, fmt.Sprintf("%s: %v", say(s), err))
			}
		}
	}
	now, err := k.Host()
	if err != nil {
		return append(met, fmt.Sprintf("the host could not be read back: %v", err))
	}
	if left := leftover(rec.Was, now, rec.Steps[:n]); len(left) > 0 {
		return append(left, met...)
	}
	return nil
}

// stillOurs says that the device which undoing would delete is the one that the step made, by its mark: a name alone may be another's by now. A
// process may have died in the last step before the device got its mark, which comes after it is made.
func stillOurs(at *bridge.Host, s network.Step, last bool) bool {
	d, c := at.Device(s.Device), s.Create
	if d == nil || s.Op != network.OpCreate || c == nil || d.Kind != c.Kind {
		return false
	}
	if d.Settings[bridge.KeyAlias] == c.Settings[bridge.KeyAlias] {
		return true
	}
	mac, said := c.Settings[bridge.KeyMAC]
	return last && d.Settings[bridge.KeyAlias] == "" && d.On == c.On && d.VLAN == c.VLAN && (!said || mac == d.Settings[bridge.KeyMAC])
}

// alreadySo says that an error of an undo step means that there is nothing to do: the step that it undoes never happened, or somebody was
// faster.
func alreadySo(op network.Op, err error) bool {
	switch op {
	case network.OpCreate, network.OpAddAddress, network.OpAddRoute, network.OpAddVLAN:
		return errors.Is(err, bridge.ErrExists)
	case network.OpDelete, network.OpDeleteAddress, network.OpDeleteRoute, network.OpDeleteVLAN:
		return errors.Is(err, bridge.ErrNotFound) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ESRCH)
	}
	return false
}

// leftover compares what steps have touched with how it was before them.
func leftover(was, now bridge.Host, steps []undoable) (out []string) {
	for _, d := range was.Devices {
		out = append(out, deviceLeft(&d, now.Device(d.Name))...)
	}
	for _, r := range was.Routes {
		if !slices.ContainsFunc(now.Routes, func(o bridge.Route) bool { return sameRoute(r, o) }) {
			out = append(out, fmt.Sprintf("the route to %s by %s is missing", r.To, r.Device))
		}
	}
	for _, u := range steps {
		out = append(out, stillThere(&was, &now, u.Step)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func deviceLeft(was, now *bridge.Device) (out []string) {
	if now == nil {
		return []string{fmt.Sprintf("%s is missing", was.Name)}
	}
	if was.Master != now.Master {
		out = append(out, fmt.Sprintf("%s is a port of %s instead of %s", was.Name, orNone(now.Master), orNone(was.Master)))
	}
	for key, v := range was.Settings {
		if now.Settings[key] != v {
			out = append(out, fmt.Sprintf("%s has %s %q instead of %q", was.Name, key, now.Settings[key], v))
		}
	}
	for _, a := range was.Addresses {
		if !slices.ContainsFunc(now.Addresses, a.Same) {
			out = append(out, fmt.Sprintf("%s lacks its address %s", was.Name, a.Prefix))
		}
	}
	for _, v := range was.PortVLANs {
		if !slices.Contains(now.PortVLANs, v) {
			out = append(out, fmt.Sprintf("%s lacks its VLANs %d to %d", was.Name, v.From, v.To))
		}
	}
	return out
}

func orNone(n bridge.Name) string {
	if n == "" {
		return "none"
	}
	return string(n)
}

// stillThere says what a step added that was not there before and is there now.
func stillThere(was, now *bridge.Host, s network.Step) []string {
	before, after := was.Device(s.Device), now.Device(s.Device)
	switch {
	case after == nil:
		return nil
	case s.Op == network.OpCreate && before == nil:
		return []string{fmt.Sprintf("%s is still there", s.Device)}
	case before == nil: // said once, by what created it
		return nil
	case s.Op == network.OpAddAddress && slices.ContainsFunc(after.Addresses, s.Address.Same) && !slices.ContainsFunc(before.Addresses, s.Address.Same):
		return []string{fmt.Sprintf("%s still has the address %s", s.Device, s.Address.Prefix)}
	case s.Op == network.OpAddRoute && hasRoute(now, *s.Route) && !hasRoute(was, *s.Route):
		return []string{fmt.Sprintf("the route to %s by %s is still there", s.Route.To, s.Device)}
	}
	return nil
}

func hasRoute(h *bridge.Host, r bridge.Route) bool {
	return slices.ContainsFunc(h.Routes, func(o bridge.Route) bool { return sameRoute(r, o) })
}

// sameRoute says that two are one route for the kernel.
func sameRoute(a, b bridge.Route) bool {
	return a.To == b.To && a.Via == b.Via && a.Device == b.Device && a.Table == b.Table && a.Metric == b.Metric && a.Type == b.Type
}

// UndoError says that a change was taken back, and what is not as before all the same.
type UndoError struct {
	Left []string // sentences
}

func (e *UndoError) Error() string { return "could not be undone whole: " + strings.Join(e.Left, "; ") }
