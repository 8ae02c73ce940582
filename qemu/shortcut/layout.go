package shortcut

import (
	"encoding/binary"
	"fmt"
)

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// low is the address as the programs have it in a register: its bytes in memory order, in the low 48 bits.
func (m MAC) low() uint64 {
	return uint64(binary.LittleEndian.Uint32(m[:4])) | uint64(binary.LittleEndian.Uint16(m[4:]))<<32
}

// Port is one port of a bridge with programs on it.
type Port struct {
	Index    int    // of the device
	Bridge   int    // index of its bridge; frames are sent on among ports of one bridge alone
	MTU      int    // bytes
	Uplink   bool   // not a guest's
	NIC      string // of a guest's port: whose, "5.0". A NIC's netdev and its tap share it: frames go to the one that spoke last
	MAC      MAC    // of a guest's port: the guest's
	Guard    bool   // frames from another address are dropped; else they take the bridge
	Redirect bool   // false: the guard alone
	VLAN     int    // of a guest's port on a bridge that filters VLANs: its own, untagged; 0: the bridge does not filter
	Tagged   []int  // of an uplink there: VLANs that it carries tagged
	PVID     int    // of an uplink there: the VLAN of its untagged frames; 0: none
}

// Same says that two ports are to have the same programs.
func (p Port) Same(o Port) bool {
	if len(p.Tagged) != len(o.Tagged) {
		return false
	}
	for i := range p.Tagged {
		if p.Tagged[i] != o.Tagged[i] {
			return false
		}
	}
	p.Tagged, o.Tagged = nil, nil
	return fmt.Sprint(p) == fmt.Sprint(o)
}

// Sizes of the tables. A slot stands for who can be reached: a guest's NIC, or an uplink, which has one for frames that leave untagged and one for those
// that leave tagged.
const (
	mostSlots   = 4096
	mostPorts   = 4096
	mostMACs    = 65536
	mostSources = 1024 // remembered on an uplink at once; those that collide take the bridge more often
)

// A slot in the kernel's memory: where frames for it go. The seat is one word, so that it is read and written whole.
const (
	slotSize  = 16
	slotSeat  = 0 // u64: index of the port in the low half, the longest frame in the high one; 0: not known
	slotFlags = 8 // u32
)

const (
	flagGuest  = 1 << 0 // a guest's NIC
	flagTagged = 1 << 1 // frames leave with the sender's VLAN as a tag
)

// A port's memory: what its program alone writes, and its counters.
const (
	portSize  = 128
	portLast  = 0  // u64: jiffies when a frame of its last went to the bridge
	portWord  = 8  // u64: the last destination: MAC in the upper 48 bits, slot in the lower 16
	portCheck = 16 // u64: generation in the upper half, jiffies in the lower
	portCount = 24 // u64 each, see counter
)

// counter is what is counted of a port's frames.
type counter int

const (
	cRedirected counter = iota
	cBytes              // of those redirected
	cGroup
	cUnknown
	cLong
	cVLAN
	cSource
	cLearn
	cGuard
	cRunt
	counters
)

// Counters are what the programs of a port have done with the frames that came in there.
type Counters struct {
	Redirected uint64 `json:"redirected"` // sent on at once
	Bytes      uint64 `json:"bytes"`      // of those
	Passed     Passed `json:"passed"`     // left to the bridge
	Dropped    uint64 `json:"dropped"`    // by the guard: from another source address
	Runts      uint64 `json:"runts"`      // dropped, for they have no Ethernet header
}

// Passed are frames that were left to the bridge, by why.
type Passed struct {
	Group   uint64 `json:"group"`   // broadcast and multicast
	Unknown uint64 `json:"unknown"` // to an address that is not known, or that is the host's
	Long    uint64 `json:"long"`    // longer than the port that they are for takes
	VLAN    uint64 `json:"vlan"`    // with a tag that is not the port's own
	Source  uint64 `json:"source"`  // from another address than the guest's, or from none that a station can have
	Learn   uint64 `json:"learn"`   // so that the bridge knows the sender
}

func countersOf(b []byte) Counters {
	at := func(c counter) uint64 { return binary.NativeEndian.Uint64(b[portCount+8*int(c):]) }
	return Counters{
		Redirected: at(cRedirected), Bytes: at(cBytes), Dropped: at(cGuard), Runts: at(cRunt),
		Passed: Passed{at(cGroup), at(cUnknown), at(cLong), at(cVLAN), at(cSource), at(cLearn)},
	}
}

// Time is counted in jiffies, of which a second has 100 to 1000 (CONFIG_HZ). What is to happen well within a bridge's ageing time, 300 s unless somebody
// has said less, is counted as if there were 100.
const (
	learnJiffies = 1000 // after so many the bridge sees a frame of a sender again: 1 to 10 s
	cacheJiffies = 64   // so long a destination is taken for known without a look at the table
)

// key is how the table of addresses is asked.
type key struct {
	low    uint64 // MAC, and the VLAN above it
	bridge uint32
	_      uint32
}

func keyOf(bridge int, m MAC, vlan int) key {
	return key{low: m.low() | uint64(vlan)<<48, bridge: uint32(bridge)}
}

const keySize = 16
