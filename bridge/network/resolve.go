package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vifplug/bridge"
)

// installedBond is the bond that every host has from its installation. Its untagged network is known by its subnet.
const installedBond bridge.Name = "bond0"

// Resolve gives every network its Number, in the order of declaration, and its ID: the one that it declares, else the one that it had in
// earlier times (kept: by the network's name), else one that is derived from what it is, so that every host of a pool derives the same for
// the same network: live migration needs the bridge of that name on both sides. An ID that another network declares, or that a port, a bond or a
// segment has as its name, is not taken; who kept it gets another. The Spec that is given stays as it is.
func Resolve(s Spec, kept map[string]bridge.Name) (Spec, error) {
	s.Networks = slices.Clone(s.Networks)
	taken := s.deviceNames()
	var errs []error
	for i := range s.Networks {
		n := &s.Networks[i]
		n.Number = i + 1
		if n.ID == "" {
			continue
		}
		if owner, used := taken[n.ID]; used {
			errs = append(errs, fmt.Errorf("network %s: its id %s is the name of %s. Give it another", n.Name, n.ID, owner))
		}
		taken[n.ID] = "network " + n.Name
	}
	var left []*Network
	for i := range s.Networks {
		if n := &s.Networks[i]; n.ID == "" && !take(n, kept[n.Name], taken) {
			left = append(left, n)
		}
	}
	// By names, so that the order of declaration, which may differ between hosts, does not decide who gets the shorter of two alike.
	slices.SortStableFunc(left, func(a, b *Network) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range left {
		if !slices.ContainsFunc(candidates(n), func(id bridge.Name) bool { return take(n, id, taken) }) {
			errs = append(errs, fmt.Errorf("network %s: every id that its name gives is taken. Declare one: id = \"...\"", n.Name))
		}
	}
	return s, errors.Join(errs...)
}

// take gives a network an ID unless another device has it.
func take(n *Network, id bridge.Name, taken map[bridge.Name]string) bool {
	if _, used := taken[id]; used || id == "" {
		return false
	}
	n.ID, taken[id] = id, "network "+n.Name
	return true
}

// candidates are the IDs that a network without one may get, the best first: its subnet on the installed bond, else 7 to 10 digits of a hash of
// its name. Digits alone are passed over: they would look like a number, of a network or a domain.
func candidates(n *Network) (out []bridge.Name) {
	if n.On == installedBond && n.VLAN == 0 {
		for _, a := range n.Address {
			if a.Addr().Is4() {
				out = append(out, bridge.Name(a.Masked().Addr().String()))
			}
		}
	}
	digits := fmt.Sprintf("%X", sha256.Sum256([]byte(n.Name)))
	for start := range len(digits) - 9 {
		for length := 7; length <= 10; length++ {
			if id := digits[start : start+length]; strings.ContainsAny(id, "ABCDEF") {
				out = append(out, bridge.Name(id))
			}
		}
	}
	return out
}

// deviceNames are the names of all devices that the declaration names or has made, but for the networks' own, each with whose it is.
func (s *Spec) deviceNames() map[bridge.Name]string {
	out := map[bridge.Name]string{}
	for i := range s.Networks {
		n := &s.Networks[i]
		if n.On != "" {
			out[n.On] = "the port " + string(n.On)
		}
		if n.VLAN != 0 {
			out[n.Segment()] = fmt.Sprintf("the segment of VLAN %d on %s", n.VLAN, n.On)
		}
	}
	for _, b := range s.Bonds {
		for _, p := range b.Ports {
			out[p] = "the port " + string(p)
		}
	}
	for _, b := range s.Bonds {
		out[b.Name] = "the bond " + string(b.Name)
	}
	return out
}
