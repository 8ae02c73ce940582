package bridge

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Device is a network device with all that a plan of the host's networks may be about. [Link] is the lean form, for guests' ports.
type Device struct {
	Index     int
	Name      Name
	Kind      string     // as the kernel names it: "bridge", "bond", "vlan", "veth"...; "" for hardware
	Master    Name       // the bridge or bond that it is a port of; "": none
	On        Name       // of a VLAN: the device that it stands on
	VLAN      int        // of a VLAN: its tag, 1 to 4094
	Settings  Settings   // what can be set, see the Key... constants
	Addresses []Address  // of both families, but for IPv6 link-local ones that the kernel made
	PortVLANs []PortVLAN // of a port of a bridge: the VLANs that it takes part in, by their ids

	// What is only shown or judged by.
	MinMTU, MaxMTU int    // what the device takes; 0: not reported
	PermMAC        MAC    // hardware's own address; zero where there is none
	Running        bool   // up, and has carrier
	Loopback       bool   // the loopback device
	Peer           int    // index of the device at the other end of a veth in this namespace; 0: none or elsewhere
	ParentBus      string // bus of the parent device, "xen-backend" for netback's
	BondState      *BondState
	BondPort       *BondPort
	Stats          Stats
}

// Settings are what can be set about a device, in the kernel's spelling (sysfs, ip-link). A key that is absent is not known, or not wanted.
type Settings map[Key]string

// Key names a setting. Keys of bonds and bridges are those of sysfs (bonding/..., bridge/...).
type Key string

// Keys that every device has. Bonds have "mode" and those of [BondOptions] beside, bridges those of [BridgeOptions].
const (
	KeyMTU   Key = "mtu"   // bytes
	KeyMAC   Key = "mac"   // pairs of lower-case hexadecimal digits between colons
	KeyAlias Key = "alias" // ifalias; "" for none
	KeyUp    Key = "up"    // "1" or "0": IFF_UP
)

// Clone gives a copy; nil stays nil.
func (s Settings) Clone() Settings { return maps.Clone(s) }

// String lists the settings by their keys: "mtu 1500 up 1".
func (s Settings) String() string {
	parts := make([]string, 0, len(s))
	for _, k := range slices.Sorted(maps.Keys(s)) {
		v := s[k]
		if v == "" || strings.ContainsAny(v, " ") {
			v = `"` + v + `"`
		}
		parts = append(parts, string(k)+" "+v)
	}
	return strings.Join(parts, " ")
}

// Address is an address of a device.
type Address struct {
	Prefix    netip.Prefix // the device's own address, and the length of the subnet
	Peer      netip.Prefix `json:",omitzero"` // of a point-to-point address: the other side
	Broadcast netip.Addr   `json:",omitzero"`
	Scope     int          `json:",omitempty"` // rtnetlink(7): 0 universe, 253 link
	Protocol  int          `json:",omitempty"` // who made it (IFA_PROTO, Linux 5.18); OwnProtocol: vifplug
	// Valid and Preferred are what is left of the lifetimes that DHCP or a router gave; 0: for ever.
	Valid, Preferred time.Duration `json:",omitempty"`
	NoPrefixRoute    bool          `json:",omitempty"` // the kernel made no route to its subnet
	Metric           int           `json:",omitempty"` // of that route; 0: the kernel's
	Label            string        `json:",omitempty"` // IPv4: what follows the device's name and a colon in its label ("eth0:1"), which ifupdown and keepalived give
	NoDAD            bool          `json:",omitempty"` // IPv6: use it at once, nobody else has it. Asked for when adding, never reported
}

// Deprecated is the Preferred of an address whose preferred lifetime has run out.
const Deprecated = time.Nanosecond

// Same says that two are the same address of a device for the kernel, whatever their lifetimes and makers.
func (a Address) Same(b Address) bool { return a.Prefix == b.Prefix && a.Peer == b.Peer }

// OwnProtocol marks addresses and routes that vifplug made ('v'; linux: rtnetlink.h leaves numbers above 4 to user space).
const OwnProtocol = 118

// Route is a route of the host, as somebody added it. What the kernel makes itself from addresses is no Route.
type Route struct {
	To       netip.Prefix // a default route has 0 bits
	Via      netip.Addr   `json:",omitzero"` // the gateway; zero: on the link
	Device   Name         // "" where there is none or several (Multipath, blackhole)
	Source   netip.Addr   `json:",omitzero"` // preferred source address
	Metric   int          `json:",omitempty"`
	Table    int          // 254: main
	Protocol int          // who made it: 3 boot, 4 static, 16 DHCP, OwnProtocol
	Scope    int          `json:",omitempty"`
	Type     int          // 1 unicast (linux: RTN_...)
	OnLink   bool         `json:",omitempty"` // the gateway is taken to be on the link
	MTU      int          `json:",omitempty"`
	// Multipath is set where it has several next hops, of which one goes by Device: each is a Route. It is also set where a Route cannot say all
	// of it (a nexthop object, an encapsulation, a source prefix, a TOS). Such a route is shown, never changed.
	Multipath bool `json:",omitempty"`
}

// PortVLAN is a VLAN that a port of a VLAN-filtering bridge takes part in.
type PortVLAN struct {
	From, To int  // 1 to 4094; equal for one VLAN
	PVID     bool `json:",omitempty"` // untagged frames that come in belong to it
	Untagged bool `json:",omitempty"` // its frames go out without a tag
}

// BondState is how a bond stands.
type BondState struct {
	ActivePort  Name // of active-backup and the like; "" for none
	Aggregator  int  // 802.3ad: id of the active aggregator; 0: none
	Ports       int  // in it
	ActorKey    int
	PartnerKey  int
	PartnerMAC  MAC // zero: no partner answers
	HasCarriers bool
}

// BondPort is how a port of a bond stands.
type BondPort struct {
	Active       bool // carries traffic (not a backup)
	LinkUp       bool // by the bond's own monitoring
	LinkFailures int
	PermMAC      MAC
	QueueID      int
	Aggregator   int  // 802.3ad
	Collecting   bool // 802.3ad: the partner and this port agree
}

// Stats count since the device was made.
type Stats struct {
	RxFrames, TxFrames, RxBytes, TxBytes, RxErrors, TxErrors, RxDropped, TxDropped uint64
}

// Host is the network of a host as one observation saw it.
type Host struct {
	Devices []Device // by index
	Routes  []Route  // of all tables but local, of both families
}

// Device finds a device by its name; nil where there is none.
func (h *Host) Device(name Name) *Device {
	for i := range h.Devices {
		if h.Devices[i].Name == name {
			return &h.Devices[i]
		}
	}
	return nil
}

// Clone gives a copy that shares nothing.
func (h *Host) Clone() Host {
	out := Host{Devices: slices.Clone(h.Devices), Routes: slices.Clone(h.Routes)}
	for i := range out.Devices {
		d := &out.Devices[i]
		d.Settings, d.Addresses, d.PortVLANs = d.Settings.Clone(), slices.Clone(d.Addresses), slices.Clone(d.PortVLANs)
	}
	return out
}
