package host

import (
	"slices"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// guestIndexes are the indexes of guests' devices that changes have told of.
type guestIndexes map[int]bool

// guestsAtMost bounds what is remembered; an index is never used again while the machine runs.
const guestsAtMost = 10_000

// only says that a change is about guests' devices alone, which no declaration is about: a thousand guests that start at once must not have the
// host read over and over.
func (g guestIndexes) only(c bridge.HostChange) bool {
	if slices.ContainsFunc(c.Names, func(n bridge.Name) bool { return !network.IsGuestPort(n) }) {
		return false
	}
	unknown := slices.ContainsFunc(c.Devices, func(index int) bool { return !g[index] })
	if len(c.Devices) == 0 || unknown && len(c.Devices) > len(c.Names) {
		return false
	}
	if len(g) > guestsAtMost {
		clear(g)
	}
	for _, index := range c.Devices {
		g[index] = true
	}
	return !c.Routes
}
