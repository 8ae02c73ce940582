package network

// mtus: the MTU of what stands below is never less than that of what stands above: port >= bond >= segment >= bridge. A network's own MTU raises
// what it stands on, unless that says otherwise.
func (j *judge) mtus() {
	for i := range j.s.Networks {
		n := &j.s.Networks[i]
		if b := j.s.Bond(n.On); b != nil && b.MTU != 0 && n.MTU > b.MTU {
			j.network(n, "mtu", "MTU %d does not fit the bond %s (%d). Raise the bond's mtu, or lower the network's", n.MTU, b.Name, b.MTU)
		}
		// Without a bridge or a tag the port or bond itself has the network's MTU, so who stands beside it cannot have more.
		if n.On == "" || n.VLAN != 0 || n.HasBridge() || n.MTU == 0 {
			continue
		}
		for k := range j.s.Networks {
			if o := &j.s.Networks[k]; o.On == n.On && o.MTU > n.MTU {
				j.network(o, "mtu", "MTU %d does not fit %s, which has the MTU of the network %s on its untagged segment (%d). Raise that network's mtu, or leave it out",
					o.MTU, n.On, n.Name, n.MTU)
			}
		}
		if b := j.s.Bond(n.On); b != nil && b.MTU > n.MTU {
			j.network(n, "mtu", "MTU %d is not that of the bond %s (%d), which carries it untagged. Leave one of the two out", n.MTU, b.Name, b.MTU)
		}
	}
}
