package network

import (
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// bonds: a port is in one bond, and a bond has the options of its mode.
func (j *judge) bonds() {
	in := map[bridge.Name]*Bond{}
	for i := range j.s.Bonds {
		b := &j.s.Bonds[i]
		if len(b.Ports) == 0 {
			j.bond(b, "ports", "a bond is made of one port or more")
		}
		if b.Name == "lo" || IsGuestPort(b.Name) {
			j.bond(b, "name", "other devices are called so: the loopback device, or a guest's NIC")
		}
		for _, p := range b.Ports {
			switch other := in[p]; {
			case j.s.Bond(p) == b:
				j.bond(b, "ports", "it cannot be a port of itself")
			case j.s.Bond(p) != nil:
				j.bond(b, "ports", "%s is a bond, and the kernel takes no bond into another", p)
			case other != nil:
				j.bond(b, "ports", "the port %s is one of the bond %s already", p, other.Name)
			}
			in[p] = b
		}
		j.options(b)
		j.monitoring(b)
	}
}

func (j *judge) options(b *Bond) {
	for _, o := range bridge.BondOptions {
		v, said := b.Options[o.Key]
		if said && !o.In(b.Mode) {
			j.bond(b, OptionKey(o.Key), "%s is not an option of mode %s, but of %s", OptionKey(o.Key), b.Mode, strings.Join(o.Modes, ", "))
		}
		if said && o.Kind == "device" && v != "" && !slices.Contains(b.Ports, bridge.Name(v)) {
			j.bond(b, OptionKey(o.Key), "%s %q is none of its ports. Did you mean %q?", OptionKey(o.Key), v, Nearest(v, texts(b.Ports)))
		}
	}
}

// Ways by which a bond finds out that a port has lost its link.
const (
	miimon      bridge.Key = "miimon"
	arpInterval bridge.Key = "arp_interval"
	arpTargets  bridge.Key = "arp_ip_target"
	nsTargets   bridge.Key = "ns_ip6_target"
)

// DefaultMiimon is how often a bond looks for its ports' links, in milliseconds, where its declaration says neither miimon nor arp-interval. The
// kernel's own default, never, leaves traffic on a dead port.
const DefaultMiimon = "100"

// monitoring: a bond must find out when a port has lost its link, in one way.
func (j *judge) monitoring(b *Bond) {
	mii, arp := on(b.Options[miimon]), on(b.Options[arpInterval])
	switch {
	case mii && arp:
		j.bond(b, OptionKey(arpInterval), "miimon and arp-interval exclude each other: the kernel watches links in one way. Leave one out")
	case !mii && !arp:
		j.warnBond(b, OptionKey(miimon), "nothing tells it when a port has lost its link, so traffic stays on a dead port. Say miimon = %s", DefaultMiimon)
	case arp && b.Options[arpTargets] == "" && b.Options[nsTargets] == "":
		j.bond(b, OptionKey(arpInterval), "arp-interval asks for somebody to answer. Say whom: arp-ip-target = [\"...\"]")
	}
	every, _ := strconv.Atoi(b.Options[miimon])
	for _, key := range []bridge.Key{"updelay", "downdelay", "peer_notif_delay"} {
		n, _ := strconv.Atoi(b.Options[key])
		switch {
		case n == 0:
		case every == 0:
			j.bond(b, OptionKey(key), "%s counts in steps of miimon, which is off", OptionKey(key))
		case n%every != 0:
			j.bond(b, OptionKey(key), "%s %d is no multiple of miimon (%d), and the kernel would make it %d", OptionKey(key), n, every, n-n%every)
		}
	}
}

// on says that an interval is given and not 0.
func on(v string) bool { return v != "" && v != "0" }

func texts[T ~string](of []T) []string {
	out := make([]string, len(of))
	for i, x := range of {
		out[i] = string(x)
	}
	return out
}

// complete gives a bond what its declaration may leave out.
func (b *Bond) complete() {
	if b.Mode == "" {
		b.Mode = DefaultMode
	}
	if _, said := b.Options[miimon]; !said && !on(b.Options[arpInterval]) {
		if b.Options == nil {
			b.Options = bridge.Settings{}
		}
		b.Options[miimon] = DefaultMiimon
	}
}

// IsGuestPort says that a name is one that libxl and netback give to guests' NICs: vif1.0, tap1.0, vif1.0-emu.
func IsGuestPort(name bridge.Name) bool {
	rest, vif := strings.CutPrefix(string(name), "vif")
	if !vif {
		if rest, vif = strings.CutPrefix(rest, "tap"); !vif {
			return false
		}
	}
	dom, nic, dotted := strings.Cut(strings.TrimSuffix(rest, "-emu"), ".")
	return dotted && digits(dom) && digits(nic)
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
