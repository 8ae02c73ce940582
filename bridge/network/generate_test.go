package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"pgregory.net/rapid"

	"vifplug/bridge"
)

// The generators of this file make declarations that keep the rules, and hosts as they are found: with strangers' bridges, ports that carry
// addresses and default routes, guests, and what an earlier declaration left, whole or half made.

const portCount = 6

func ethName(i int) bridge.Name { return bridge.Name(fmt.Sprintf("eth%d", i)) }

// genSpec draws a declaration. Its networks' names are those of one pool, so that two declarations are likely to share some.
func genSpec(t *rapid.T, label string) Spec {
	draw := func(what string, most int) int { return rapid.IntRange(0, most).Draw(t, label+" "+what) }
	var s Spec
	var links []bridge.Name
	free := 0
	for i := range draw("bonds", 2) {
		b := genBond(t, label, i, &free)
		s.Bonds = append(s.Bonds, b)
		links = append(links, b.Name)
	}
	for ; free < portCount; free++ {
		links = append(links, ethName(free))
	}
	if draw("absent", 4) == 0 {
		links = append(links, "eth9")
	}
	used := map[string]bool{}
	for i := range draw("networks", 5) {
		n := genNetwork(t, label, i, links, &s)
		segment := fmt.Sprintf("%s.%d", n.On, n.VLAN)
		if n.On != "" && used[segment] {
			continue
		}
		used[segment] = true
		n.Number = len(s.Networks) + 1
		s.Networks = append(s.Networks, n)
	}
	fitMTUs(&s)
	return s
}

func genBond(t *rapid.T, label string, i int, free *int) Bond {
	draw := func(what string, most int) int {
		return rapid.IntRange(0, most).Draw(t, fmt.Sprintf("%s bond%d %s", label, i, what))
	}
	b := Bond{Name: bridge.Name(fmt.Sprintf("bond%d", i)), Options: bridge.Settings{"miimon": "100"}}
	for range 1 + draw("ports", 1) {
		b.Ports = append(b.Ports, ethName(*free))
		*free += 1
	}
	if draw("missing port", 5) == 0 {
		b.Ports = append(b.Ports, bridge.Name(fmt.Sprintf("eth%d", 7+i)))
	}
	switch draw("mode", 3) {
	case 0:
		b.Mode, b.Options["lacp_rate"] = "802.3ad", []string{"slow", "fast"}[draw("rate", 1)]
	case 1:
		b.Mode, b.Options["xmit_hash_policy"] = "balance-xor", "layer3+4"
	case 2:
		b.Mode, b.Options["primary"] = "active-backup", string(b.Ports[0])
	default:
		b.Mode = "active-backup"
	}
	b.MTU = []int{0, 0, 9000}[draw("mtu", 2)]
	if draw("mac", 4) == 0 {
		b.MAC = &bridge.MAC{2, 0, 0, 0, 9, byte(i)}
	}
	return b
}

func genNetwork(t *rapid.T, label string, i int, links []bridge.Name, s *Spec) Network {
	draw := func(what string, most int) int {
		return rapid.IntRange(0, most).Draw(t, fmt.Sprintf("%s net%d %s", label, i, what))
	}
	name := []string{"red", "green", "blue", "grey", "pink"}[i]
	n := Network{Name: name, Roles: 1 << draw("role", 3), ID: bridge.Name("B" + name + strconv.Itoa(draw("id", 1)))}
	if draw("guests", 1) == 0 {
		n.Roles |= VirtualMachine
	}
	if draw("guests alone", 3) == 0 {
		n.Roles = VirtualMachine
	}
	if n.On = links[draw("on", len(links)-1)]; draw("internal", 7) == 0 {
		n.On, n.Roles = "", VirtualMachine
		return n
	}
	n.VLAN = []int{0, 0, 11, 12, 13}[draw("vlan", 4)]
	n.MTU = []int{0, 0, 0, 1400, 9000}[draw("mtu", 4)]
	n.VLANFiltering = n.HasBridge() && n.VLAN == 0 && draw("filtering", 3) == 0
	if n.HasBridge() && draw("stp", 3) == 0 {
		n.Bridge = bridge.Settings{"stp_state": "1", "ageing_time": "60"}
	}
	if n.Roles == VirtualMachine {
		return n
	}
	for k := range draw("addresses", 2) {
		n.Address = append(n.Address, netip.MustParsePrefix(fmt.Sprintf("10.0.%d.%d/24", i, 1+k+3*draw("host", 1))))
	}
	if draw("v6", 3) == 0 {
		n.Address = append(n.Address, netip.MustParsePrefix(fmt.Sprintf("fd00:%d::1/64", i+1)))
	}
	if len(n.Address) > 0 && n.Address[0].Addr().Is4() && draw("gateway", 2) == 0 && !slices.ContainsFunc(s.Networks, func(o Network) bool { return len(o.Gateway) > 0 }) {
		n.Gateway = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.%d.254", i))}
	}
	return n
}

// fitMTUs leaves out what the rules refuse.
func fitMTUs(s *Spec) {
	for i := range s.Networks {
		n := &s.Networks[i]
		if b := s.Bond(n.On); b != nil && b.MTU != 0 && n.MTU > b.MTU || n.VLAN == 0 && !n.HasBridge() {
			n.MTU = 0
		}
	}
}

// bareHost is a host as its hardware comes.
func bareHost(ports int) bridge.Host {
	h := bridge.Host{Devices: []bridge.Device{{
		Index: 1, Name: "lo", Loopback: true, Settings: bridge.Settings{"mtu": "65536", "mac": "00:00:00:00:00:00", "alias": "", "up": "1"},
		Addresses: []bridge.Address{{Prefix: netip.MustParsePrefix("127.0.0.1/8")}},
	}}}
	for i := range ports {
		mac := bridge.MAC{0, 0x16, 0x3e, 0, 0, byte(i)}
		h.Devices = append(h.Devices, bridge.Device{
			Index: 2 + i, Name: ethName(i), PermMAC: mac, MinMTU: 68, MaxMTU: 9216,
			Settings: bridge.Settings{"mtu": "1500", "mac": mac.String(), "alias": "", "up": "0"},
		})
	}
	return h
}

// genHost draws a host with a past.
func genHost(t *rapid.T) (bridge.Host, *Spec) {
	w := newWorld(bareHost(portCount))
	try := func(s Step) {
		c := newWorld(w.host())
		if c.do(s) == nil {
			w = c
		}
	}
	draw := func(what string, most int) int { return rapid.IntRange(0, most).Draw(t, "host "+what) }
	for i := range portCount {
		try(Step{Op: OpSet, Device: ethName(i), Set: bridge.Settings{"up": strconv.Itoa(draw("up", 1)), "mtu": []string{"1500", "9000"}[draw("mtu", 1)]}})
	}
	if draw("xenbr0", 2) == 0 {
		try(Step{Op: OpCreate, Device: "xenbr0", Create: &Create{Kind: "bridge", Settings: bridge.Settings{"up": "1", "mac": "00:16:3e:00:00:0f"}}})
		for range draw("its ports", 2) {
			try(Step{Op: OpMaster, Device: ethName(draw("its port", portCount-1)), Master: "xenbr0"})
		}
	}
	if draw("foreign vlan", 3) == 0 {
		port := ethName(draw("under it", portCount-1))
		try(Step{Op: OpCreate, Device: "vlan12", Create: &Create{Kind: "vlan", On: port, VLAN: 12, Settings: bridge.Settings{}}})
	}
	if draw("pristine bond", 3) == 0 {
		try(Step{Op: OpCreate, Device: "bond0", Create: &Create{Kind: "bond", Settings: bridge.Settings{}}})
	}
	genAddresses(t, w, try)
	before := genPast(t, &w)
	genGuests(t, &w)
	genDrift(t, &w, try)
	return known(w), before
}

// known is a host of which everything is known, as a kernel tells it.
func known(w *world) bridge.Host {
	h := w.host()
	for i := range h.Devices {
		d := &h.Devices[i]
		d.Settings = d.Settings.Clone()
		for key, v := range map[bridge.Key]string{bridge.KeyMTU: "9000", bridge.KeyMAC: bridge.MAC{2, 0, 0, 0, 7, byte(i)}.String()} {
			if _, is := d.Settings[key]; !is {
				d.Settings[key] = v
			}
		}
	}
	return h
}

func genAddresses(t *rapid.T, w *world, try func(Step)) {
	draw := func(what string, most int) int { return rapid.IntRange(0, most).Draw(t, "host "+what) }
	names := []bridge.Name{"eth0", "eth1", "eth2", "xenbr0", "vlan12"}
	for i := range draw("addresses", 4) {
		name := names[draw("on", len(names)-1)]
		a := bridge.Address{Prefix: netip.MustParsePrefix(fmt.Sprintf("192.168.%d.%d/24", draw("subnet", 1), 1+i))}
		if draw("v6", 2) == 0 {
			a.Prefix = netip.MustParsePrefix(fmt.Sprintf("fd01:%d::%d/64", draw("subnet", 1), 1+i))
		}
		try(Step{Op: OpAddAddress, Device: name, Address: &a})
		if draw("declared later", 3) == 0 {
			try(Step{Op: OpAddAddress, Device: name, Address: &bridge.Address{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.1/24", i))}})
		}
		if a.Prefix.Addr().Is4() && draw("route", 1) == 0 {
			r := bridge.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: a.Prefix.Masked().Addr().Next().Next(), Device: name, Table: mainTable, Type: unicast, Metric: 100 * draw("metric", 1)}
			if draw("source", 2) == 0 {
				r.Source = a.Prefix.Addr()
			}
			try(Step{Op: OpAddRoute, Device: name, Route: &r})
		}
		link := bridge.Route{To: netip.MustParsePrefix(fmt.Sprintf("172.16.%d.0/24", i)), Device: name, Table: mainTable, Type: unicast, Scope: 253}
		try(Step{Op: OpAddRoute, Device: name, Route: &link})
	}
}

// genPast carries an earlier declaration out, or begins to.
func genPast(t *rapid.T, w **world) *Spec {
	if rapid.IntRange(0, 2).Draw(t, "past") == 0 {
		return nil
	}
	s := genSpec(t, "before")
	plan, err := Make(Input{Want: s, Have: (*w).host()})
	if err != nil {
		return nil
	}
	done := len(plan.Steps)
	if rapid.IntRange(0, 2).Draw(t, "half made") == 0 {
		done = rapid.IntRange(0, done).Draw(t, "steps done")
	}
	for _, step := range plan.Steps[:done] {
		if err := (*w).do(step); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "forgotten") == 0 {
		return nil
	}
	return &s
}

// genGuests plugs guests' ports into what bridges there are.
func genGuests(t *rapid.T, w **world) {
	i := 0
	for _, d := range slices.Clone((*w).devices) {
		if d.Kind != "bridge" || rapid.IntRange(0, 2).Draw(t, "guest") != 0 {
			continue
		}
		i++
		(*w).add(bridge.Device{
			Name: bridge.Name(fmt.Sprintf("vif%d.0", i)), ParentBus: "xen-backend",
			Settings: bridge.Settings{"mtu": "1500", "mac": "fe:ff:ff:ff:ff:ff", "up": "1", "alias": PortAlias("web", uint16(i), 0, string(d.Name))},
		})
		(*w).joinBridge(bridge.Name(fmt.Sprintf("vif%d.0", i)), d.Name)
	}
}

// genDrift does what people do by hand.
func genDrift(t *rapid.T, w **world, try func(Step)) {
	for range rapid.IntRange(0, 3).Draw(t, "drift") {
		all := (*w).host().Devices
		d := all[rapid.IntRange(0, len(all)-1).Draw(t, "whose")]
		if d.Loopback || isGuests(&d) {
			continue
		}
		switch rapid.IntRange(0, 5).Draw(t, "deed") {
		case 0:
			try(Step{Op: OpDelete, Device: d.Name})
		case 1:
			try(Step{Op: OpSet, Device: d.Name, Set: bridge.Settings{"up": "0"}})
		case 2:
			try(Step{Op: OpMaster, Device: d.Name})
		case 3:
			try(Step{Op: OpSet, Device: d.Name, Set: bridge.Settings{"mtu": "1400"}})
		case 4:
			try(Step{Op: OpSet, Device: d.Name, Set: bridge.Settings{"alias": ""}})
		default:
			try(Step{Op: OpAddAddress, Device: d.Name, Address: &bridge.Address{Prefix: netip.MustParsePrefix("203.0.113.5/24")}})
		}
	}
}
