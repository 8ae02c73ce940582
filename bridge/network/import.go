package network

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vifplug/bridge"
)

// Import prints a declaration, as TOML, of the networks that a host has by whatever means (ifupdown, systemd-networkd, XAPI, ip), for which a
// plan on that host has no step. Its comments say which devices each part came from, what is guessed, and what cannot be declared, which stays
// as it is. The notes are the latter, a sentence each.
func Import(h bridge.Host) (text string, notes []string) {
	s := survey{host: &h, declared: map[bridge.Name]bool{}}
	s.findBonds()
	s.findBridges()
	s.findAddresses()
	s.findRest()
	s.arrange()
	for s.giveRoles(); s.dropOne(); s.giveRoles() {
		continue
	}
	s.sayBondMTUs()
	return s.text()
}

// survey is what is found out about a host on the way to its declaration.
type survey struct {
	host     *bridge.Host
	bonds    []Bond
	networks []foundNetwork
	left     []leftOut
	unused   []bridge.Name        // ports that nothing stands on
	declared map[bridge.Name]bool // the bonds
}

// foundNetwork is a network that can be declared.
type foundNetwork struct {
	Network
	holder    *bridge.Device // that its addresses are on
	source    string         // the devices that it is made of, for people
	known     string         // the name that it brings along; "" where it has none yet
	isDefault bool           // a default route goes by it
	guess     string         // what was guessed about its roles
	losses    []string       // what about it cannot be declared
}

// leftOut is a device that is not declared.
type leftOut struct {
	device bridge.Name
	why    string
	known  bool // it belongs to somebody who is known to keep it: no news
}

// leave leaves a device out. One of ours would not be left alone: what is ours and not declared goes.
func (s *survey) leave(d *bridge.Device, why string) {
	if isOurs(d) {
		why += ". It has vifplug's mark, so to apply this as it stands would delete it"
	}
	s.left = append(s.left, leftOut{device: d.Name, why: why})
}

// arrange puts the networks in the order that gives them their numbers. Those that have had one keep it. The others fill the gaps as the kernel
// has their devices, the one that carries the default route first.
func (s *survey) arrange() {
	slices.SortStableFunc(s.networks, func(a, b foundNetwork) int { return cmp.Compare(a.rank(), b.rank()) })
	taken := map[int]bool{}
	for _, n := range s.networks {
		taken[n.Number] = true
	}
	next := 1
	for i := range s.networks {
		if s.networks[i].Number != 0 {
			continue
		}
		for taken[next] {
			next++
		}
		s.networks[i].Number, taken[next] = next, true
	}
	slices.SortStableFunc(s.networks, func(a, b foundNetwork) int { return cmp.Compare(a.Number, b.Number) })
}

func (n *foundNetwork) rank() int {
	if n.isDefault {
		return -1
	}
	return n.holder.Index
}

// sayBondMTUs declares the MTUs of bonds that their networks alone would not give them.
func (s *survey) sayBondMTUs() {
	spec := s.spec()
	for i := range s.bonds {
		b := &s.bonds[i]
		mtu := deviceMTU(s.host.Device(b.Name))
		if need, _ := needed(&spec, b.Name); cmp.Or(need, ethernetMTU) != mtu {
			b.MTU = mtu
		}
	}
}

func (s *survey) spec() Spec {
	out := Spec{Bonds: s.bonds}
	for _, n := range s.networks {
		out.Networks = append(out.Networks, n.Network)
	}
	return out
}

// giveRoles guesses what the networks carry, which no device tells, and names those that it can name only then.
func (s *survey) giveRoles() {
	for i := range s.networks {
		n := &s.networks[i]
		n.Roles &= VirtualMachine
		n.Name, n.HostAddress, n.guess = n.known, false, ""
	}
	management, why := s.management()
	for i := range s.networks {
		n := &s.networks[i]
		switch bridged := n.HasBridge(); {
		case i == management:
			n.Roles |= ServerManagement
			n.guess = why
		case bridged && len(n.Address) > 0:
			n.HostAddress = true
			n.guess = "Guess: it is for guests alone, with an address of the host all the same. If it carries cluster-heartbeat, live-migrate or storage too, " +
				"add that role and drop host-address."
		case !bridged:
			n.Roles |= Storage
			n.guess = "Guess: it carries storage. If it is cluster-heartbeat or live-migrate, say that instead, or beside it."
		}
	}
	s.giveNames()
}

// management chooses the network that carries server-management, as exactly one must; -1 where none can.
func (s *survey) management() (index int, why string) {
	for _, choice := range []struct {
		fits func(n foundNetwork) bool
		why  string
	}{
		{func(n foundNetwork) bool { return n.isDefault }, "Guess: the default route goes by it, so it carries server-management."},
		{func(n foundNetwork) bool { return len(n.Address) > 0 }, "Guess: it carries server-management, as the first that has an address. No default route goes by a declared network."},
		{func(foundNetwork) bool { return true }, "Guess: it carries server-management, which exactly one network must have. None that could have it has an address."},
	} {
		if i := slices.IndexFunc(s.networks, func(n foundNetwork) bool { return n.On != "" && choice.fits(n) }); i >= 0 {
			return i, choice.why
		}
	}
	return -1, ""
}

// dropOne leaves out the first network that the rules do not allow beside those before it, and says whether there was one.
func (s *survey) dropOne() bool {
	probe := Spec{Bonds: s.bonds}
	management := slices.IndexFunc(s.networks, func(n foundNetwork) bool { return n.Roles.Has(ServerManagement) })
	if management >= 0 {
		probe.Networks = []Network{s.networks[management].Network}
	}
	for i, n := range s.networks {
		if i != management {
			probe.Networks = append(probe.Networks, n.Network)
		}
		if _, err := Check(probe); err != nil {
			s.leave(n.holder, ruled(err, n.Name))
			s.networks = slices.Delete(s.networks, i, i+1)
			return true
		}
	}
	return false
}

// ruled is a rule's sentence about a network that has no name now.
func ruled(err error, name string) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimPrefix(strings.TrimSuffix(first, "."), "network "+name+": ")
}

// giveNames names the networks that have neither a bridge nor a name from earlier times.
func (s *survey) giveNames() {
	taken := map[string]bool{}
	for _, n := range s.networks {
		taken[n.Name] = true
	}
	for i := range s.networks {
		n := &s.networks[i]
		for k := 0; n.Name == ""; k++ {
			if name := n.suggest(k); !taken[name] {
				n.Name, taken[name] = name, true
			}
		}
	}
}

// suggest gives names for a network, the best for 0.
func (n *foundNetwork) suggest(k int) string {
	names := []string{"network-" + string(n.On), fmt.Sprintf("network-%s-%d", n.On, n.VLAN)}
	if n.VLAN != 0 {
		names[0] = fmt.Sprintf("network-%d", n.VLAN)
	}
	if n.Roles.Has(ServerManagement) {
		names = append([]string{"management"}, names...)
	}
	if k < len(names) {
		return names[k]
	}
	return fmt.Sprintf("%s-%d", names[0], k)
}
