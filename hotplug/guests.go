package hotplug

import (
	"vifplug/bridge"
	"vifplug/bridge/network"
)

// Guests are the NICs as the views of the host's networks and its plans want them.
func (e *Engine) Guests() []network.Guest { return GuestsOf(e.Status()) }

// GuestsOf makes the views' guests of a status.
func GuestsOf(all []NICStatus) []network.Guest {
	out := make([]network.Guest, 0, len(all))
	for _, s := range all {
		g := network.Guest{
			Domain: s.Domain.Name, ID: s.Domain.ID, NIC: int(s.Device), Device: bridge.Name(s.VIF), State: s.State.String(), Since: s.Since,
		}
		if s.Link != nil {
			g.Device = bridge.Name(s.Link.Name)
		}
		if s.Backend != nil {
			g.MAC, g.Network = s.Backend.MAC, bridge.Name(s.Backend.Bridge)
		}
		if s.Reason != nil {
			g.Reason = s.Reason.Error()
		}
		out = append(out, g)
		if t := s.Tap; t != nil && t.Index != 0 {
			g.Device, g.Tap, g.State, g.Since, g.Reason = bridge.Name(t.Name), true, t.State.String(), t.Since, ""
			if t.Reason != nil {
				g.Reason = t.Reason.Error()
			}
			out = append(out, g)
		}
	}
	return out
}
