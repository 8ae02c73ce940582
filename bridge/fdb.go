package bridge

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// FDBEntry is one station in a bridge's forwarding database.
type FDBEntry struct {
	MAC     MAC
	VLAN    int // 0: no VLAN filtering
	Port    int // index of the port that it is behind; the bridge's own for a station that is the host
	Bridge  int
	Local   bool // an address of the host: frames for it go up, not out
	Static  bool // put there by a program: it does not age
	Sticky  bool // it does not move to another port
	Learned bool // learned by a program or by hardware, not by the bridge (extern_learn)
	Offload bool // hardware forwards
	Stale   bool // silent for longer than the ageing time: about to be forgotten
	Blocked bool // behind a locked port that refused it
}

// FDBEvent says that a station came, moved or changed, or that it was forgotten. It was true when it was sent.
type FDBEvent struct {
	FDBEntry
	Deleted bool
}

// What x/sys does not name (linux: include/uapi/linux/neighbour.h).
const (
	ndaFlags  = 15     // NDA_FLAGS_EXT
	ntfSticky = 1 << 6 // NTF_STICKY
	ntfLocked = 1 << 1 // NTF_EXT_LOCKED
)

const ndmsg = unix.SizeofNdMsg

// decodeFDB reads a neighbour message. False: it is not about a bridge's forwarding database, but about a device's own list of addresses or
// about a neighbour of the host. It allocates nothing: each station that a bridge learns comes through here.
func decodeFDB(b []byte) (e FDBEntry, ok bool) {
	if len(b) < ndmsg || b[0] != unix.AF_BRIDGE {
		return e, false
	}
	e.Port = int(int32(binary.NativeEndian.Uint32(b[4:])))
	state, flags := binary.NativeEndian.Uint16(b[8:]), b[10]
	e.Local, e.Static = state&unix.NUD_PERMANENT != 0, state&unix.NUD_NOARP != 0
	e.Stale = state&unix.NUD_STALE != 0
	e.Sticky, e.Learned, e.Offload = flags&ntfSticky != 0, flags&unix.NTF_EXT_LEARNED != 0, flags&unix.NTF_OFFLOADED != 0
	for kind, v := range attrs(b[ndmsg:]) {
		switch kind {
		case unix.NDA_LLADDR:
			if len(v) == len(e.MAC) {
				e.MAC, ok = MAC(v), true
			}
		case unix.NDA_MASTER:
			e.Bridge = number(v)
		case unix.NDA_VLAN:
			if len(v) >= 2 {
				e.VLAN = int(binary.NativeEndian.Uint16(v))
			}
		case ndaFlags:
			e.Blocked = number(v)&ntfLocked != 0
		}
	}
	return e, ok && e.Bridge != 0 && flags&unix.NTF_SELF == 0
}
