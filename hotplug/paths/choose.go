package paths

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"vifplug/bridge"
)

// Wish is a plugged port of a guest, and what is asked of its path: all that the engine tells.
type Wish struct {
	Port   string      // the port's fixed name: vif5.0, vif5.0-emu
	NIC    string      // whose it is: "5.0". A NIC's netdev and its tap share it, and the guest's MAC address
	Name   bridge.Name // the device's present name
	Index  int         // of the device
	Bridge int         // index of its bridge
	MTU    int         // bytes
	MAC    bridge.MAC  // the guest's; zero: the backend node names none
	Path   Path
	Guard  Guard
	Made   Path // Socket or AFXDP: the device was made for that path, and the frames come by it whatever is asked. "": netback's, or a tap
}

// Facts are what one observation saw of a port and of what could be in a shortcut's way: all that [Choose] may know.
type Facts struct {
	Port     bridge.BridgePort
	Switch   bridge.Switch
	VLANs    []bridge.PortVLAN // of the port, where the bridge filters VLANs
	Foreign  []string          // programs and filters of others on the device, each in a few words
	Filters  []string          // rules of others that bridged frames meet there, each in a few words
	Advice   string            // about those
	NoKernel error             // why this kernel has no shortcut, or no guard; nil: it has
	Mode     string            // how it would be attached
}

// Choice is what is to be done about a port.
type Choice struct {
	State
	Redirect bool // the shortcut is to be on
	Guarded  bool // the guard is to be on
	VLAN     int  // the one VLAN that the port takes part in; 0: the bridge filters none
}

// Choose says which path a port takes, and why. A path that cannot be had is the bridge: a NIC never fails by its path.
func Choose(w Wish, f Facts) Choice {
	c := Choice{State: State{Path: Bridge, Wanted: w.Path, Guard: Off}}
	if w.Guard == MAC && f.NoKernel == nil && w.MAC != (bridge.MAC{}) {
		c.Guarded, c.Guard, c.Mode = true, MAC, f.Mode
	}
	c.VLAN, _ = onlyVLAN(f)
	no := obstacle(w, f)
	switch {
	case w.Made == Socket:
		c.Path, c.Reason = Socket, "QEMU is at a Unix socket, and vif-loop carries its frames"
	case w.Made == AFXDP:
		c.Path, c.Reason = AFXDP, "QEMU is at AF_XDP rings of this port's other end"
	case w.Path == Bridge:
		c.Reason, c.Advice = "path = bridge is asked for", f.Advice
	case w.Path == Socket:
		c.Reason = "path = socket is asked for, but QEMU has not been started on vif-loop's socket: see docs/paths.md"
	case w.Path == AFXDP:
		c.Reason = "path = af-xdp is asked for, but QEMU has not been started on descriptors of vifctl tap create --af-xdp: see docs/paths.md"
	case no != "":
		c.Reason, c.Advice = "no shortcut: "+no, f.Advice
	default:
		c.Path, c.Redirect, c.Mode = Shortcut, true, f.Mode
		c.Reason = shortcutReason(w)
	}
	if w.Made != "" && no == "" && w.Path != Bridge { // the shortcut goes on behind
		c.Redirect, c.Mode = true, f.Mode
		c.Reason += "; the shortcut is behind"
	}
	return c
}

func shortcutReason(w Wish) string {
	if w.Path == Auto {
		return "nothing stands against the fastest path for a device like this"
	}
	return "path = shortcut is asked for"
}

// obstacle is the first thing that keeps the shortcut off a port: where it would let frames pass that the bridge or a firewall would not, or
// would take them another way than the bridge would. "" is none.
func obstacle(w Wish, f Facts) string {
	_, oneVLAN := onlyVLAN(f)
	switch {
	case f.NoKernel != nil:
		return f.NoKernel.Error()
	case w.MAC == (bridge.MAC{}):
		return "the backend node names no MAC address of the guest"
	case w.MAC[0]&1 != 0:
		return fmt.Sprintf("the guest's MAC address %v is a group's", w.MAC)
	case len(f.Foreign) > 0:
		return fmt.Sprintf("on %s there is %s, which vifplug did not put there", w.Name, strings.Join(f.Foreign, ", and "))
	case len(f.Filters) > 0:
		return strings.Join(f.Filters, "; ")
	}
	return cmp.Or(switchObstacle(f.Switch), portObstacle(f.Port), vlanObstacle(oneVLAN))
}

func vlanObstacle(one bool) string {
	if one {
		return ""
	}
	return "the bridge filters VLANs, and the port takes part in none, in several, or in a tagged one"
}

// leastAgeing is twice the longest time after which the shortcut shows the bridge a sender again (learnJiffies, at 100 to a second), so that the bridge
// forgets nobody who speaks.
const leastAgeing = 20 * time.Second

// switchObstacle is what about a bridge the shortcut does not do.
func switchObstacle(s bridge.Switch) string {
	switch {
	case s.STP:
		return "the bridge runs the spanning tree protocol, which may block a port at any time"
	case s.Ageing == 0:
		return "the bridge remembers no MAC address (ageing 0), so that every frame is flooded"
	case s.Ageing < leastAgeing:
		return fmt.Sprintf("the bridge forgets a station after %v already: the shortcut shows it each sender but every 10 s (set ageing_time to %v or more)", s.Ageing, leastAgeing)
	}
	return ""
}

// portObstacle is what about a port the shortcut does not do.
func portObstacle(p bridge.BridgePort) string {
	for _, o := range []struct {
		is   bool
		text string
	}{
		{p.State != bridge.PortForwarding, "the port is not forwarding yet, or its device has no carrier"},
		{p.Hairpin, "hairpin is set on the port"},
		{p.Isolated, "the port is isolated"},
		{!p.Learning, "learning is off on the port"},
		{p.Locked, "the port is locked (802.1X)"},
		{p.NeighSuppress, "the port suppresses neighbour discovery"},
		{p.VLANTunnel, "the port maps VLANs to tunnels"},
		{p.ProxyARP, "the port answers ARP for others"},
		{p.BackupPort != 0, "the port has a backup port"},
	} {
		if o.is {
			return o.text
		}
	}
	return ""
}

// onlyVLAN is the one VLAN in which a port takes part, untagged both ways; 0 where the bridge filters none. ok says that it is so simple.
func onlyVLAN(f Facts) (vlan int, ok bool) {
	switch {
	case !f.Switch.Filtering:
		return 0, true
	case len(f.VLANs) == 1 && f.VLANs[0].PVID && f.VLANs[0].Untagged && f.VLANs[0].From == f.VLANs[0].To:
		return f.VLANs[0].From, true
	}
	return 0, false
}

// Uplink is what a port that is no guest's carries: which VLANs tagged, which one untagged.
type Uplink struct {
	Tagged []int
	PVID   int
}

// UplinkOf says whether frames may be sent on to a port that is no guest's, and taken from there; else why not.
func UplinkOf(f Facts) (Uplink, string) {
	var u Uplink
	if no := cmp.Or(switchObstacle(f.Switch), portObstacle(f.Port)); no != "" {
		return u, no
	}
	if len(f.Foreign) > 0 {
		return u, "there is " + strings.Join(f.Foreign, ", and ")
	}
	if !f.Switch.Filtering {
		return u, ""
	}
	for _, v := range f.VLANs {
		switch {
		case v.PVID && v.Untagged:
			u.PVID = v.From
		case v.Untagged || v.PVID:
			return u, "a VLAN there is untagged one way alone"
		default:
			for id := v.From; id <= v.To; id++ {
				u.Tagged = append(u.Tagged, id)
			}
		}
	}
	return u, ""
}
