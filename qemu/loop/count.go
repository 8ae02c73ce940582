package loop

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// Counters are what a loop has done since it was opened. They may be read at any time.
type Counters struct {
	Connections atomic.Uint64 // of QEMU
	Broken      atomic.Uint64 // of these, ended for want of framing
	ToWire      Direction
	ToGuest     Direction
}

// Direction counts one direction's frames.
type Direction struct {
	Frames, Bytes atomic.Uint64 // handed on
	Bursts        atomic.Uint64 // by how many calls
	Sleeps        atomic.Uint64 // how often it went to sleep for want of frames
	Waits         atomic.Uint64 // how often it waited since the other side took no more
	Drops         [reasons]atomic.Uint64
}

// Reason says why a frame was dropped.
type Reason int

// The reasons. To the wire: Short to Refused. To the guest: Long, Unfinished, Full and Stale.
const (
	Short      Reason = iota // less than an Ethernet header
	Long                     // longer than the device, or QEMU, takes
	Down                     // the device is down
	Refused                  // the kernel took it and dropped it at once: some queue behind the device is full
	Full                     // the guest does not read, and the ring is full
	Stale                    // it came, or was being given to QEMU, when none was connected any more
	Unfinished               // its checksum was left to hardware: the visible end's offloads are on
	reasons
)

var reasonNames = [reasons]string{"short", "long", "down", "refused", "full", "stale", "unfinished"}

func (r Reason) String() string { return reasonNames[r] }

func (d *Direction) drop(r Reason) { d.Drops[r].Add(1) }

// Dropped is how many frames were dropped, for all reasons.
func (d *Direction) Dropped() (n uint64) {
	for i := range d.Drops {
		n += d.Drops[i].Load()
	}
	return n
}

// String gives the counters on one line, only those reasons that occurred.
func (c *Counters) String() string {
	return fmt.Sprintf("connections=%d broken=%d to_wire{%s} to_guest{%s}", c.Connections.Load(), c.Broken.Load(), c.ToWire.text(), c.ToGuest.text())
}

func (d *Direction) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "frames=%d bytes=%d bursts=%d sleeps=%d waits=%d", d.Frames.Load(), d.Bytes.Load(), d.Bursts.Load(), d.Sleeps.Load(), d.Waits.Load())
	for i := range d.Drops {
		if n := d.Drops[i].Load(); n > 0 {
			fmt.Fprintf(&b, " dropped_%s=%d", Reason(i), n)
		}
	}
	return b.String()
}
