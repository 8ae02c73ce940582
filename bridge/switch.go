package bridge

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// PortState is what a port does with frames (linux: include/uapi/linux/if_bridge.h BR_STATE_...).
type PortState uint8

// The states.
const (
	PortDisabled PortState = iota
	PortListening
	PortLearning
	PortForwarding // the only one in which frames pass
	PortBlocking
)

func (s PortState) String() string {
	names := [...]string{"disabled", "listening", "learning", "forwarding", "blocking"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// BridgePort is what a bridge does with the frames of one port: all that changes where a frame to one station goes. What an older kernel does
// not know, it does not do: it is the zero value.
type BridgePort struct {
	Index, Bridge  int
	State          PortState
	Learning       bool // source addresses are learned here
	UnicastFlood   bool // frames to unknown stations leave here
	Hairpin        bool // a frame may leave where it came in
	Isolated       bool // no frames to other isolated ports
	Locked         bool // only frames from stations that the forwarding database has here come in (802.1X)
	MAB            bool // a locked port notes the stations that it refuses
	NeighSuppress  bool // ARP and neighbour discovery are answered, not flooded
	ProxyARP       bool // ARP is answered for known neighbours
	VLANTunnel     bool // VLANs are mapped to tunnels
	RootBlock      bool // may not become STP's way to the root
	BPDUGuard      bool // is blocked by the first STP frame
	BackupPort     int  // index of the port that gets the frames while this one has no carrier; 0: none
	BackupNexthop  int  // the nexthop that the backup port is to use; 0: none
	MulticastToOne bool // a group's frames are sent to each member under its own address
}

// Switch is what a bridge is set to, as far as it changes where a frame to one station goes.
type Switch struct {
	Index           int
	STP             bool          // spanning tree protocol, the kernel's or a program's (mstpd)
	Filtering       bool          // ports take part only in their VLANs
	Ageing          time.Duration // how long a silent station is remembered; 0: not at all, every frame is flooded
	ForwardDelay    time.Duration // how long a new port listens, then learns, before it forwards; 0: not at all
	MST             bool          // a spanning tree for each VLAN
	MaxLearned      int           // how many stations are learned at most; 0: no bound
	NFCallIPTables  bool          // IPv4 frames pass iptables, whatever the sysctl says
	NFCallIP6Tables bool          // IPv6 frames pass ip6tables
	NFCallARPTables bool          // ARP frames pass arptables
}

// decodeBridgePort reads a port from a link message: its slave data (linux: net/bridge/br_netlink.c br_port_fill_attrs). Another link is false.
func decodeBridgePort(b []byte) (p BridgePort, ok bool) {
	if len(b) < ifinfo {
		return p, false
	}
	p.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	var data []byte
	for kind, v := range attrs(b[ifinfo:]) {
		switch kind {
		case unix.IFLA_MASTER:
			p.Bridge = number(v)
		case unix.IFLA_LINKINFO:
			for kind, v := range attrs(v) {
				switch kind {
				case unix.IFLA_INFO_SLAVE_KIND:
					ok = text(v) == "bridge"
				case unix.IFLA_INFO_SLAVE_DATA:
					data = v
				}
			}
		}
	}
	if !ok || p.Bridge == 0 {
		return BridgePort{}, false
	}
	for kind, v := range attrs(data) {
		p.attribute(kind, v)
	}
	return p, true
}

func (p *BridgePort) attribute(kind uint16, v []byte) {
	if flag := p.flag(kind); flag != nil {
		*flag = len(v) > 0 && v[0] != 0
		return
	}
	switch kind {
	case unix.IFLA_BRPORT_STATE:
		if len(v) > 0 {
			p.State = PortState(v[0])
		}
	case unix.IFLA_BRPORT_BACKUP_PORT:
		p.BackupPort = number(v)
	case unix.IFLA_BRPORT_BACKUP_NHID:
		p.BackupNexthop = number(v)
	}
}

// flag is the field for an attribute of one byte; nil: it is none.
func (p *BridgePort) flag(kind uint16) *bool {
	switch kind {
	case unix.IFLA_BRPORT_LEARNING:
		return &p.Learning
	case unix.IFLA_BRPORT_UNICAST_FLOOD:
		return &p.UnicastFlood
	case unix.IFLA_BRPORT_MODE:
		return &p.Hairpin
	case unix.IFLA_BRPORT_ISOLATED:
		return &p.Isolated
	case unix.IFLA_BRPORT_LOCKED:
		return &p.Locked
	case unix.IFLA_BRPORT_MAB:
		return &p.MAB
	case unix.IFLA_BRPORT_NEIGH_SUPPRESS:
		return &p.NeighSuppress
	case unix.IFLA_BRPORT_PROXYARP:
		return &p.ProxyARP
	case unix.IFLA_BRPORT_VLAN_TUNNEL:
		return &p.VLANTunnel
	case unix.IFLA_BRPORT_PROTECT:
		return &p.RootBlock
	case unix.IFLA_BRPORT_GUARD:
		return &p.BPDUGuard
	case unix.IFLA_BRPORT_MCAST_TO_UCAST:
		return &p.MulticastToOne
	}
	return nil
}

// What x/sys does not name (linux: include/uapi/linux/if_link.h, if_bridge.h).
const (
	brMaxLearned = 48     // IFLA_BR_FDB_MAX_LEARNED
	boolMST      = 1 << 2 // BR_BOOLOPT_MST_ENABLE
)

// decodeSwitch reads a bridge from its link message. Another link is false.
func decodeSwitch(b []byte) (s Switch, ok bool) {
	if len(b) < ifinfo {
		return s, false
	}
	s.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	var data []byte
	for kind, v := range attrs(b[ifinfo:]) {
		if kind != unix.IFLA_LINKINFO {
			continue
		}
		for kind, v := range attrs(v) {
			switch kind {
			case unix.IFLA_INFO_KIND:
				ok = text(v) == "bridge"
			case unix.IFLA_INFO_DATA:
				data = v
			}
		}
	}
	if !ok {
		return Switch{}, false
	}
	for kind, v := range attrs(data) {
		if n, ok := unsigned(v); ok {
			s.attribute(kind, n)
		}
	}
	return s, true
}

func (s *Switch) attribute(kind uint16, n uint64) {
	const centisecond = 10 * time.Millisecond // the kernel's unit of a bridge's times
	switch kind {
	case unix.IFLA_BR_STP_STATE:
		s.STP = n != 0
	case unix.IFLA_BR_VLAN_FILTERING:
		s.Filtering = n != 0
	case unix.IFLA_BR_AGEING_TIME:
		s.Ageing = time.Duration(n) * centisecond
	case unix.IFLA_BR_FORWARD_DELAY:
		s.ForwardDelay = time.Duration(n) * centisecond
	case unix.IFLA_BR_MULTI_BOOLOPT: // two numbers: values, and which of them are known
		var b [8]byte
		binary.NativeEndian.PutUint64(b[:], n)
		s.MST = binary.NativeEndian.Uint32(b[:4])&boolMST != 0
	case brMaxLearned:
		s.MaxLearned = int(n)
	case unix.IFLA_BR_NF_CALL_IPTABLES:
		s.NFCallIPTables = n != 0
	case unix.IFLA_BR_NF_CALL_IP6TABLES:
		s.NFCallIP6Tables = n != 0
	case unix.IFLA_BR_NF_CALL_ARPTABLES:
		s.NFCallARPTables = n != 0
	}
}
