package network

import "vifplug/bridge"

// GuestsOf are the guests' NICs as their ports' own marks tell: for when no daemon runs who knows more.
func GuestsOf(h bridge.Host) []Guest {
	var out []Guest
	for i := range h.Devices {
		d := &h.Devices[i]
		if a, ours := ParseAlias(d.Settings[bridge.KeyAlias]); ours && a.Domain != "" {
			g := Guest{Domain: a.Domain, ID: a.ID, NIC: a.NIC, Device: d.Name, Tap: a.Tap}
			if a.On != NoBridge {
				g.Network = bridge.Name(a.On)
			}
			out = append(out, g)
		}
	}
	return out
}
