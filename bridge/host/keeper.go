package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// How often the manager tries. It must never fight with somebody who undoes what it does.
const (
	repairsAMinute = 10          // of one device; then it is left alone for a while
	restAfterFight = time.Minute // that while
	firstRetry     = time.Second // after a failure; doubled by each further one
	lastRetry      = time.Minute // at most
)

// keeper is what reconcile remembers from one pass to the next.
type keeper struct {
	lost    map[string]network.Difference // what was told as lost, by its subject
	repairs map[bridge.Name][]time.Time   // when it was changed, in the last minute
	resting map[bridge.Name]rest
	told    map[bridge.Name]string // the last failure of a device that was told
}

// rest is why and how long a device is left alone.
type rest struct {
	until    time.Time
	failures int // in a row; 0: too many repairs
}

func newKeeper() keeper {
	return keeper{
		lost: map[string]network.Difference{}, repairs: map[bridge.Name][]time.Time{}, resting: map[bridge.Name]rest{}, told: map[bridge.Name]string{},
	}
}

// newlyLost gives what was as declared at the last pass and is no more, and remembers all that is not.
func (k *keeper) newlyLost(now []network.Difference) (out []network.Difference) {
	for _, d := range now {
		if _, known := k.lost[subject(d)]; !known {
			k.lost[subject(d)] = d
			out = append(out, d)
		}
	}
	return out
}

// subject is what a difference is about, however it is wrong just now.
func subject(d network.Difference) string {
	return fmt.Sprintf("%s\x00%s\x00%s", d.Device, d.What, cmp.Or(d.Want, d.Have))
}

// found gives what was lost and is as declared again, and forgets it.
func (k *keeper) found(now []network.Difference) (out []network.Difference) {
	still := map[string]bool{}
	for _, d := range now {
		still[subject(d)] = true
	}
	for s, d := range k.lost {
		if !still[s] {
			delete(k.lost, s)
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b network.Difference) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// worked notes that a device was changed. The sentence says that it is left alone for a while, where that was once too often: somebody else
// changes it back, or the kernel does not keep what it says yes to.
func (k *keeper) worked(device bridge.Name, now time.Time) string {
	recent := slices.DeleteFunc(append(k.repairs[device], now), func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	k.repairs[device] = recent
	if len(recent) < repairsAMinute {
		return ""
	}
	k.resting[device] = rest{until: now.Add(restAfterFight)}
	delete(k.repairs, device)
	return fmt.Sprintf("%s was repaired %d times within a minute, and does not stay so: somebody undoes it. It is left alone for %v; "+
		"find out who it is, or change the declaration", device, len(recent), restAfterFight)
}

// recovered notes that a device is as declared again, so that failures of it count anew.
func (k *keeper) recovered(device bridge.Name) {
	delete(k.told, device)
	if k.resting[device].failures > 0 {
		delete(k.resting, device)
	}
}

// failed notes that a device could not be repaired. The sentence is to be told, "" when it was already.
func (k *keeper) failed(device bridge.Name, why string, now time.Time) string {
	r := k.resting[device]
	r.failures++
	wait := min(firstRetry<<min(r.failures-1, 10), lastRetry)
	r.until = now.Add(wait)
	k.resting[device] = r
	if k.told[device] == why {
		return ""
	}
	k.told[device] = why
	return why
}

// asleep are the devices to be left alone now.
func (k *keeper) asleep(now time.Time) map[bridge.Name]bool {
	out := map[bridge.Name]bool{}
	for device, r := range k.resting {
		switch {
		case now.Before(r.until):
			out[device] = true
		case r.failures == 0:
			delete(k.resting, device)
		}
	}
	return out
}

// wake is how long until some device is to be tried again; 0: there is none.
func (k *keeper) wake(now time.Time) (out time.Duration) {
	for _, r := range k.resting {
		if d := r.until.Sub(now); d > 0 && (out == 0 || d < out) {
			out = d
		}
	}
	return out
}
