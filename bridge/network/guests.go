package network

import "vifplug/bridge"

// GuestsOf are the guests' NICs as their ports' own marks tell: for when no daemon runs who knows more.
func GuestsOf(h bridge.Host) []Guest {
	var out []Guest
	for i := range h.Devices {
		d := &h.Devices[i]
		if a, ours := ParseAlias(d.Settings[bridge.KeyAlias]); ours && a.Domain != "" {
			out = append(out, Guest{Domain: a.Domain, ID: a.ID, NIC: a.NIC, Device: d.Name, Tap: d.Kind == "tun", Network: bridge.Name(a.On)})
		}
	}
	return out
}
