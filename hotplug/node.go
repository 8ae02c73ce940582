package hotplug

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"vifplug/bridge"
	"vifplug/hotplug/paths"
	"vifplug/xenstore"
)

// XenbusState is a device's state as both ends write it (xen: xen/include/public/io/xenbus.h).
type XenbusState uint8

// The states of a xenbus device.
const (
	StateUnknown XenbusState = iota
	StateInitialising
	StateInitWait
	StateInitialised
	StateConnected
	StateClosing
	StateClosed
	StateReconfiguring
	StateReconfigured
)

var xenbusNames = [...]string{"Unknown", "Initialising", "InitWait", "Initialised", "Connected", "Closing", "Closed", "Reconfiguring", "Reconfigured"}

func (s XenbusState) String() string {
	if int(s) < len(xenbusNames) {
		return xenbusNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Node is what the toolstack and netback say of a NIC in its backend directory, parsed. Every value is checked by a strict grammar; one that
// fails it is a [Problem] that names the node, and the NIC is not plugged.
type Node struct {
	State   XenbusState
	Online  bool        // false: the toolstack is taking the device away
	Bridge  string      // a declared network by its name or id, or else a bridge by its device's name
	Network *Network    // the declared network that Bridge names; nil: none
	VLAN    int         // of a port of a bridge that filters VLANs, 1 to 4094; 0: as the bridge gives it
	VIFName bridge.Name // the wanted name, "" for the kernel's
	MAC     string      // the guest's, for display and later guards; checked
	MTU     int         // 0: as the bridge has
	Type    string      // "vif" or "vif_ioemu"
	Script  string
	Status  string     // hotplug-status
	Error   string     // hotplug-error, as somebody left it
	VM      string     // /vm/UUID of the guest: part of the incarnation
	Path    paths.Path // the NIC's own wish, by `vifctl path`; "": none
}

// Problem is a value in the backend directory that does not fit its grammar.
type Problem struct {
	Node, Value string
	Err         error
}

func (p *Problem) Error() string {
	return fmt.Sprintf("backend node %s = %q: %v", p.Node, clip(p.Value), p.Err)
}

// Unwrap gives the grammar's own complaint.
func (p *Problem) Unwrap() error { return p.Err }

// nodeKeys are the backend keys that the engine reads, in the order of readNode's replies. frontend-id and state stand first: without
// both there is no device (libxl and netback take a missing state for a backend that is gone).
var nodeKeys = [...]string{
	"frontend-id", "state", "online", "bridge", "vifname", "mac", "mtu", "type", "script", "hotplug-status", "hotplug-error", "vlan", pathKey,
}

// pathKey is vifplug's own key in a NIC's backend directory: which path its frames are to take, and those of its tap.
const pathKey = "path"

// alwaysRead are frontend-id, state, online and hotplug-status.
const alwaysRead staleSet = 1<<0 | 1<<1 | 1<<2 | 1<<9

// errNoNode says that the backend directory does not exist: the device is gone or not there yet.
var errNoNode = errors.New("hotplug: no such backend node")

// parseNode turns the values of nodeKeys into a Node. A missing value is "". The first problem is returned with as much of the Node as
// could be read, so that status can show it.
func parseNode(k Key, v map[string]string, declared Networks) (*Node, error) {
	n := &Node{Online: v["online"] != "0", Bridge: v["bridge"], Type: v["type"], Script: v["script"], Status: v["hotplug-status"], Error: v["hotplug-error"]}
	var first error
	keep := func(node, value string, err error) {
		if err != nil && first == nil {
			first = &Problem{Node: node, Value: value, Err: err}
		}
	}
	var err error
	n.State, err = parseState(v["state"])
	keep("state", v["state"], err)
	keep("frontend-id", v["frontend-id"], checkFrontend(k, v["frontend-id"]))
	if s := v["bridge"]; s != "" {
		n.Network = declared.Find(s)
		keep("bridge", s, n.checkBridge())
	}
	if s := v["vifname"]; s != "" {
		n.VIFName, err = parseVIFName(s, n.Type)
		keep("vifname", s, err)
	}
	if s := v["mac"]; s != "" {
		mac, err := bridge.ParseMAC(s)
		keep("mac", s, err)
		n.MAC = mac.String()
	}
	if s := v["mtu"]; s != "" {
		n.MTU, err = ParseMTU(s)
		keep("mtu", s, err)
	}
	if s := v["vlan"]; s != "" {
		n.VLAN, err = ParseVLAN(s)
		keep("vlan", s, err)
	}
	if s := v[pathKey]; s != "" {
		n.Path, err = paths.Parse(s)
		keep(pathKey, s, err)
	}
	return n, first
}

// checkBridge judges the name of a bridge that is no declared network.
func (n *Node) checkBridge() error {
	if n.Network != nil {
		return nil
	}
	if _, err := bridge.ParseName(n.Bridge); err != nil {
		return fmt.Errorf("names no declared network, and %w", err)
	}
	return nil
}

// bridgeName is the device that the NIC is to be a port of, as far as the text is a device's name.
func (n *Node) bridgeName() string {
	if n.Network != nil {
		return string(n.Network.ID)
	}
	return n.Bridge
}

// networkName is the declared network's name, "" where the bridge is not declared.
func (n *Node) networkName() string {
	if n == nil || n.Network == nil {
		return ""
	}
	return n.Network.Name
}

// ParseVLAN reads a VLAN's id. Of xl's lists of VLANs (xen: xl-network-configuration(5), vlan=) it takes the single one, which a guest sees without
// a tag.
func ParseVLAN(s string) (int, error) {
	n, err := parseDecimal(s, 32)
	if err != nil || n < 1 || n > 4094 {
		return 0, errors.New("is no VLAN id from 1 to 4094")
	}
	return int(n), nil
}

func parseState(s string) (XenbusState, error) {
	if s == "" {
		return StateUnknown, nil
	}
	n, err := parseDecimal(s, 8)
	if err != nil {
		return StateUnknown, err
	}
	if n > uint64(StateReconfigured) {
		return StateUnknown, errors.New("no such xenbus state")
	}
	return XenbusState(n), nil
}

func checkFrontend(k Key, s string) error {
	id, err := xenstore.ParseDomID(s)
	if err == nil && id != k.Front {
		err = fmt.Errorf("is not the domain of its path (%d)", k.Front)
	}
	return err
}

// emuSuffix is what the tap beside a vif has behind the vif's name (xen: libxl_nic.c libxl__device_nic_devname).
const emuSuffix = "-emu"

// typeIOEmu is the type of a NIC that QEMU emulates as well.
const typeIOEmu = "vif_ioemu"

func parseVIFName(s, nicType string) (bridge.Name, error) {
	name, err := bridge.ParseName(s)
	if err != nil {
		return "", err
	}
	if nicType == typeIOEmu && len(s) > maxName-len(emuSuffix) {
		return "", fmt.Errorf("is longer than %d bytes, so that its tap %s%s would not fit a device name", maxName-len(emuSuffix), s, emuSuffix)
	}
	return name, nil
}

// Ethernet's least and netback's greatest MTU, in bytes (linux: drivers/net/xen-netback/interface.c).
const (
	minMTU = 68
	maxMTU = 65517
)

// ParseMTU reads an MTU that a NIC may have, in bytes.
func ParseMTU(s string) (int, error) {
	n, err := parseDecimal(s, 32)
	if err != nil {
		return 0, err
	}
	if n < minMTU || n > maxMTU {
		return 0, fmt.Errorf("is not between %d and %d", minMTU, maxMTU)
	}
	return int(n), nil
}

// draining says that the toolstack is taking the device away. A guest that closes its side (states 5, 6 with online = 1) is not that.
func (n *Node) draining() bool { return !n.Online }

// scriptName is the last element of the script, which tells what kind of plugging the toolstack asked for.
func (n *Node) scriptName() string {
	if n.Script == "" {
		return ""
	}
	return path.Base(n.Script)
}

// leftTo says whether the NIC's script is of a kind that does not put the NIC on a Linux bridge (vif-route, vif-nat, vif-openvswitch):
// "bridge" is in the node all the same, since libxl always writes it, so the script alone tells.
func (n *Node) leftTo(prefixes []string) bool {
	name := n.scriptName()
	for _, p := range prefixes {
		if p != "" && strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
