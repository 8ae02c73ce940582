package paths

import (
	"fmt"
	"slices"
	"strings"

	"vifplug/bridge/network"
)

// Path is a way that a guest's frames can take.
type Path string

// The paths. Auto is a wish alone: it is the shortcut wherever that is right, else the bridge.
const (
	Auto     Path = "auto"
	Bridge   Path = "bridge"   // the kernel's bridge forwards
	Shortcut Path = "shortcut" // an eBPF program sends known unicast on, the bridge does the rest
	Socket   Path = "socket"   // QEMU is at a Unix socket, and vif-loop between it and the port
	AFXDP    Path = "af-xdp"   // QEMU is at AF_XDP rings of the port's other end
)

// Parse reads a path's name.
func Parse(s string) (Path, error) {
	if !slices.Contains(network.Paths, s) {
		return "", fmt.Errorf("is none of %s", strings.Join(network.Paths, ", "))
	}
	return Path(s), nil
}

// Guard is what a guest's frames are held to.
type Guard string

// The guards.
const (
	Off Guard = "off"
	MAC Guard = "mac" // its own source MAC address; other frames are dropped and counted
)

// State is how a port's frames go, and why so.
type State struct {
	Path   Path   `json:"path"`             // bridge, shortcut, socket or af-xdp
	Mode   string `json:"mode,omitempty"`   // how the shortcut, or else the guard, is attached: tcx or clsact
	Wanted Path   `json:"wanted"`           // what the NIC, its network or the host asks for
	Guard  Guard  `json:"guard,omitempty"`  // what is enforced
	Reason string `json:"reason"`           // why this path, in a sentence
	Advice string `json:"advice,omitempty"` // what would make it faster
	// What the programs have done with the frames that came in by the port, since they were put there.
	Redirected uint64 `json:"redirected,omitempty"` // sent on past the bridge
	Dropped    uint64 `json:"dropped,omitempty"`    // by the guard
}

// With says the path and its mode in a word.
func (s State) With() string {
	if s.Path == Shortcut && s.Mode != "" {
		return string(s.Path) + "/" + s.Mode
	}
	return string(s.Path)
}
