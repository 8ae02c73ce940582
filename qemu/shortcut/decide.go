package shortcut

// Address is what a bridge knows a station by.
type Address struct {
	MAC  MAC
	VLAN int // 0: the bridge does not filter VLANs
}

// Seat is where a station can be reached.
type Seat struct {
	Port   int // index of the port; 0: it has not spoken yet
	MTU    int // of the port
	Guest  bool
	Tagged bool // frames for it leave with their VLAN as a tag
}

// State is what the decision on a port's frames depends on, and what it changes.
type State struct {
	Port     Port
	Stations map[Address]*Seat     // that the port's bridge has; a guest's own is among them
	Shown    bool                  // of a guest's port: the bridge has been shown a frame of the guest's lately
	Heard    *[mostSources]Address // of an uplink: the senders that the bridge has been shown lately, each in its place
}

// Frame is a frame at a port's ingress, where the kernel has taken the outermost VLAN tag out of it.
type Frame struct {
	Data []byte
	TPID uint16 // of the tag; 0: it has none
	TCI  uint16 // its priority and VLAN
	GSO  bool   // it is to be cut into segments
}

// Action is what becomes of a frame.
type Action int

// The actions.
const (
	Pass Action = iota // the bridge decides
	Drop
	Redirect
)

// Verdict is the decision on a frame.
type Verdict struct {
	Action Action
	To     int // of a frame that is redirected: index of the port
	Tag    int // and the VLAN of the tag that it leaves with, 0: none
	count  counter
}

func pass(why counter) Verdict { return Verdict{Action: Pass, count: why} }
func drop(why counter) Verdict { return Verdict{Action: Drop, count: why} }

// Decide is the decision of a port's programs, and has the same effects on s as they have on the tables.
func Decide(s *State, f Frame) Verdict {
	switch {
	case len(f.Data) < headerLen && (s.Port.Redirect || s.Port.Guard):
		return drop(cRunt)
	case s.Port.Uplink && s.Port.Redirect:
		return s.fromOutside(f)
	case s.Port.Uplink:
		return Verdict{}
	}
	switch guests := MAC(f.Data[6:12]) == s.Port.MAC; {
	case !guests && s.Port.Guard:
		return drop(cGuard)
	case !s.Port.Redirect:
		return Verdict{}
	case !guests:
		return pass(cSource)
	}
	return s.fromGuest(f)
}

func (s *State) fromGuest(f Frame) Verdict {
	p := s.Port
	if p.VLAN != 0 && f.TPID != 0 {
		return pass(cVLAN) // the bridge may drop it, and not learn from it
	}
	own := s.Stations[Address{p.MAC, p.VLAN}]
	if own.Port != p.Index || own.MTU != p.MTU || !s.Shown {
		own.Port, own.MTU, s.Shown = p.Index, p.MTU, true
		return pass(cLearn)
	}
	switch {
	case f.Data[0]&1 != 0:
		return pass(cGroup)
	case f.TPID != 0:
		return pass(cVLAN)
	}
	return s.sendOn(f, p.VLAN)
}

func (s *State) fromOutside(f Frame) Verdict {
	source := MAC(f.Data[6:12])
	switch {
	case f.Data[0]&1 != 0:
		return pass(cGroup)
	case source[0]&1 != 0 || source == MAC{}:
		return pass(cSource)
	}
	vlan, ok := s.vlanOf(f)
	if !ok {
		return pass(cVLAN)
	}
	a := Address{source, vlan}
	if place := placeOf(keyOf(0, source, vlan)); s.Heard[place] != a {
		if of := s.Stations[a]; of == nil || !of.Guest {
			s.Heard[place] = a
		}
		return pass(cLearn)
	}
	return s.sendOn(f, vlan)
}

// vlanOf is the VLAN that the bridge takes a frame from outside to be of.
func (s *State) vlanOf(f Frame) (vlan int, ok bool) {
	p := s.Port
	filtering := p.PVID != 0 || len(p.Tagged) > 0
	switch {
	case !filtering:
		return 0, f.TPID == 0
	case f.TPID == 0:
		return p.PVID, p.PVID != 0
	case f.TPID != 0x8100:
		return 0, false
	}
	vlan = int(f.TCI & 0xfff)
	for _, v := range append([]int{p.PVID}, p.Tagged...) {
		if v == vlan {
			return vlan, vlan != 0
		}
	}
	return 0, false
}

// sendOn decides where the frame's destination is known.
func (s *State) sendOn(f Frame, vlan int) Verdict {
	to := s.Stations[Address{MAC(f.Data[:6]), vlan}]
	switch {
	case to == nil || to.Port == 0 || to.Port == s.Port.Index:
		return pass(cUnknown)
	case len(f.Data) > headerLen+to.MTU && !f.GSO:
		return pass(cLong)
	case s.Port.Uplink && !to.Guest:
		return pass(cUnknown)
	}
	v := Verdict{Action: Redirect, To: to.Port, count: cRedirected}
	if to.Tagged {
		v.Tag = vlan
	}
	return v
}
