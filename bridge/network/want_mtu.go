package network

import (
	"cmp"
	"fmt"
	"strconv"

	"vifplug/bridge"
)

// wantMTUs fits the MTUs of each chain: port >= bond >= segment >= bridge.
func (g *goal) wantMTUs() {
	for _, w := range g.devices {
		if w.kind == "bond" || w.kind == "" && w.carriesNetworks() {
			g.linkMTU(w)
		}
	}
	for _, w := range g.devices {
		if m := g.by[w.master]; w.kind == "" && w.mastered && m != nil && m.kind == "bond" {
			w.least = max(w.exact(), m.exact(), m.least)
		}
		g.fits(w)
	}
	for _, w := range g.devices {
		n := w.network()
		switch {
		case n == nil || w.kind != "vlan" && w.kind != "bridge":
		case n.MTU != 0:
			w.set[bridge.KeyMTU] = strconv.Itoa(n.MTU)
		case w.ours:
			w.set[bridge.KeyMTU] = strconv.Itoa(g.below(w, n))
		}
	}
}

// carriesNetworks says that networks stand on a port itself, not on a bond that it is in.
func (w *wanted) carriesNetworks() bool { return len(w.networks) > 0 && w.networks[0].On == w.name }

// network is the one for which a segment or bridge is; nil for none.
func (w *wanted) network() *Network {
	if len(w.networks) == 0 {
		return nil
	}
	return w.networks[0]
}

func (w *wanted) exact() int {
	n, _ := strconv.Atoi(w.set[bridge.KeyMTU])
	return n
}

// linkMTU is what the networks on a port or bond need of it. Only what is ours, or declares it, or carries a network by itself is held to that.
func (g *goal) linkMTU(w *wanted) {
	need, bare := needed(&g.in.Want, w.name)
	bond := g.in.Want.Bond(w.name)
	was := 0
	if g.in.Before != nil {
		was, _ = needed(g.in.Before, w.name)
	}
	switch {
	case bare, bond != nil && bond.MTU != 0:
	case w.ours:
		need = cmp.Or(need, ethernetMTU)
	case was > need && deviceMTU(w.have) == was, // we raised it
		g.leavesBond(w): // what it had before the bond only the kernel knows
		need = max(need, ethernetMTU)
	default:
		w.least = need
		return
	}
	w.set[bridge.KeyMTU] = strconv.Itoa(need)
}

func (g *goal) leavesBond(w *wanted) bool {
	m := g.have.device(w.have.Master)
	return w.mastered && m != nil && m.Kind == "bond" && w.master != m.Name
}

// needed is the greatest MTU that a declaration wants of a port or bond; 0: none. bare: a network without bridge and tag is on it and says its MTU.
func needed(s *Spec, link bridge.Name) (mtu int, bare bool) {
	if b := s.Bond(link); b != nil {
		mtu = b.MTU
	}
	for i := range s.Networks {
		if n := &s.Networks[i]; n.On == link {
			mtu = max(mtu, n.MTU)
			bare = bare || n.MTU != 0 && n.VLAN == 0 && !n.HasBridge()
		}
	}
	return mtu, bare
}

// below is the MTU of what a segment or bridge stands on, once the plan is done.
func (g *goal) below(w *wanted, n *Network) int {
	lower := g.by[n.On]
	if w.kind == "bridge" {
		lower = g.by[g.segment(n)]
	}
	if lower == nil {
		return ethernetMTU
	}
	if exact := lower.exact(); exact != 0 {
		return exact
	}
	mtu := lower.least
	if lower.have != nil {
		mtu = max(mtu, deviceMTU(lower.have))
	}
	if lower.kind == "vlan" {
		mtu = min(mtu, g.below(lower, n))
	}
	if mtu == 0 {
		return ethernetMTU
	}
	return mtu
}

// fits refuses an MTU that a port cannot have, by name.
func (g *goal) fits(w *wanted) {
	need := max(w.least, w.exact())
	if w.have == nil || w.have.MaxMTU == 0 || need <= w.have.MaxMTU {
		return
	}
	g.refuse("%s: MTU %d does not fit port %s, which takes at most %d. Lower the mtu, or build it on another port", g.needs(w, need), need, w.name, w.have.MaxMTU)
}

// needs names who needs an MTU of a device.
func (g *goal) needs(w *wanted, mtu int) string {
	for _, n := range w.networks {
		if n.MTU == mtu {
			return networkText(n)
		}
	}
	if w.master != "" {
		return fmt.Sprintf("bond %s", w.master)
	}
	return string(w.name)
}
