package hotplug

import (
	"sync"
	"time"
)

// Kind is what an event tells.
type Kind string

// The events of domains and NICs.
const (
	DomainCreated   Kind = "domain.created"
	DomainRenamed   Kind = "domain.renamed"
	DomainShutdown  Kind = "domain.shutdown" // Detail has the guest's reason: poweroff, reboot, suspend...
	DomainCrashed   Kind = "domain.crashed"
	DomainDestroyed Kind = "domain.destroyed"
	NICSeen         Kind = "nic.seen"
	NICPlugged      Kind = "nic.plugged"
	NICFailed       Kind = "nic.failed"  // Reason says why
	NICLost         Kind = "nic.lost"    // was plugged, is not now; Reason says why
	NICBack         Kind = "nic.back"    // was lost, is plugged again
	NICChanged      Kind = "nic.changed" // something else is wanted of it (network, VLAN, MTU, name), and it is that now; Detail says what was done
	NICDraining     Kind = "nic.draining"
	NICGone         Kind = "nic.gone"
	NICPath         Kind = "nic.path" // its frames take another path; Detail says which, and why
	TapSeen         Kind = "tap.seen" // the same of a NIC's tap: VIF names the NIC, Netdev the tap
	TapPlugged      Kind = "tap.plugged"
	TapFailed       Kind = "tap.failed"
	TapLost         Kind = "tap.lost"
	TapBack         Kind = "tap.back"
	TapChanged      Kind = "tap.changed"
	TapDraining     Kind = "tap.draining"
	TapPath         Kind = "tap.path"
	TapGone         Kind = "tap.gone" // QEMU has ended, or there is no backend for it any more
	// Overrun stands in a subscriber's stream where it was too slow: Lost events are missing here.
	Overrun Kind = "overrun"
)

// ofTap are the kinds for a NIC's tap.
var ofTap = map[Kind]Kind{
	NICSeen: TapSeen, NICPlugged: TapPlugged, NICFailed: TapFailed, NICLost: TapLost, NICBack: TapBack, NICChanged: TapChanged,
	NICDraining: TapDraining, NICGone: TapGone, NICPath: TapPath,
}

// of is the kind for a port: a NIC's own, or its tap's.
func (k Kind) of(port Key) Kind {
	if port.Tap {
		return ofTap[k]
	}
	return k
}

// Domain is whose event or NIC it is, as far as the store tells. Name and UUID are what dom0 wrote, bounded and free of control characters.
type Domain struct {
	ID   uint16 `json:"id"`
	UUID string `json:"uuid,omitempty"`
	Name string `json:"name,omitempty"`
}

// Event is one thing that happened to a domain or a NIC. It was observed before it was sent.
type Event struct {
	Seq    uint64    `json:"seq"` // counts this daemon's events from 1
	Time   time.Time `json:"time"`
	Kind   Kind      `json:"kind"`
	Domain Domain    `json:"domain"`
	VIF    string    `json:"vif,omitempty"`    // kernel's name vifFE.N
	Netdev string    `json:"netdev,omitempty"` // present name of the device
	Bridge string    `json:"bridge,omitempty"`
	// Network is the declared network's name; "" where the bridge is not declared.
	Network string  `json:"network,omitempty"`
	Reason  *Reason `json:"reason,omitempty"`
	Detail  string  `json:"detail,omitempty"`
	Lost    uint64  `json:"lost,omitempty"` // Overrun: how many events are missing
}

const (
	history    = 1024 // events kept at least for those who ask later
	subscriber = 256  // events a subscriber may lag behind
)

// Hub keeps the last events and hands new ones to subscribers. A subscriber that does not read loses events, and is told how many; it never
// makes the engine wait.
type Hub struct {
	mu   sync.Mutex // guards all following fields
	seq  uint64
	ring []Event
	subs map[*Subscription]struct{}
}

// NewHub makes an empty hub.
func NewHub() *Hub { return &Hub{subs: map[*Subscription]struct{}{}} }

// Publish stamps an event and sends it to everybody. It never blocks. It returns the stamped event.
func (h *Hub) Publish(e Event) Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	e.Seq = h.seq
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if len(h.ring) == 2*history {
		h.ring = append(h.ring[:0], h.ring[history:]...)
	}
	h.ring = append(h.ring, e)
	for s := range h.subs {
		s.offer(e)
	}
	return e
}

// Recent returns the kept events after seq, oldest first.
func (h *Hub) Recent(seq uint64) []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.recent(seq)
}

func (h *Hub) recent(seq uint64) []Event {
	i := max(0, len(h.ring)-history)
	for i < len(h.ring) && h.ring[i].Seq <= seq {
		i++
	}
	return append([]Event(nil), h.ring[i:]...)
}

// Subscribe starts a stream: first the kept events after seq, then everything new, with none lost or doubled between.
func (h *Hub) Subscribe(seq uint64) *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Subscription{hub: h, ready: make(chan struct{}, 1), queue: h.recent(seq)}
	h.subs[s] = struct{}{}
	if len(s.queue) > 0 {
		s.ready <- struct{}{}
	}
	return s
}

// Subscription is one listener's stream.
type Subscription struct {
	hub   *Hub
	ready chan struct{}
	queue []Event // guarded by hub.mu, as are the next two
	lost  uint64
	after uint64 // Seq of the last event before the gap
}

func (s *Subscription) offer(e Event) {
	if len(s.queue) >= history+subscriber {
		s.lost++
		s.after = e.Seq
		return
	}
	if s.lost > 0 {
		s.queue = append(s.queue, Event{Seq: s.after, Time: e.Time, Kind: Overrun, Lost: s.lost})
		s.lost = 0
	}
	s.queue = append(s.queue, e)
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Ready is readable when Take has something to give.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Take returns what has come since the last call, oldest first.
func (s *Subscription) Take() []Event {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	out := s.queue
	s.queue = nil
	if s.lost > 0 {
		out = append(out, Event{Seq: s.after, Time: time.Now(), Kind: Overrun, Lost: s.lost})
		s.lost = 0
	}
	return out
}

// Close ends the stream.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subs, s)
}
