package hotplug

import (
	"fmt"
	"net/netip"
	"time"

	"vifplug/hotplug/paths"
)

// NICStatus is a NIC as `vifctl status --json` and GET /v1/nics show it.
type NICStatus struct {
	VIF     string         `json:"vif"`    // kernel's name, vifFE.N
	Domain  Domain         `json:"domain"` // whose
	Device  uint32         `json:"device"` // devid: ethN in the guest, usually
	State   State          `json:"state"`
	Since   time.Time      `json:"since"`
	Reason  *Reason        `json:"reason,omitempty"` // why not plugged, or what is awaited
	Notes   []string       `json:"notes,omitempty"`
	Network string         `json:"network,omitempty"` // the declared network that the backend node names
	Backend *BackendStatus `json:"backend,omitempty"`
	Link    *LinkStatus    `json:"link,omitempty"`
	Tap     *TapStatus     `json:"tap,omitempty"`  // QEMU's, where the NIC is emulated as well
	Path    *paths.State   `json:"path,omitempty"` // that the frames of its netdev take, where it is plugged
}

// TapStatus is the side of QEMU's tap. Name, Index, MTU, Up and Bridge are as in [LinkStatus], and absent where there is no tap.
type TapStatus struct {
	Name   string       `json:"name"`
	Index  int          `json:"index,omitempty"`
	MTU    int          `json:"mtu,omitempty"`
	Up     bool         `json:"up"`
	Bridge string       `json:"bridge,omitempty"`
	State  State        `json:"state"`
	Since  time.Time    `json:"since"`
	Reason *Reason      `json:"reason,omitempty"` // why not plugged, or what is awaited
	Notes  []string     `json:"notes,omitempty"`
	Path   *paths.State `json:"path,omitempty"` // that its frames take, where it is plugged
}

// BackendStatus is the backend node's side.
type BackendStatus struct {
	State         uint8  `json:"state"`
	StateName     string `json:"state_name"`
	Online        bool   `json:"online"`
	Bridge        string `json:"bridge"`
	MAC           string `json:"mac,omitempty"`  // the guest's
	MTU           int    `json:"mtu,omitempty"`  // asked for; 0: as the bridge
	VLAN          int    `json:"vlan,omitempty"` // asked for; 0: as the bridge gives it
	Type          string `json:"type,omitempty"`
	Script        string `json:"script,omitempty"`
	HotplugStatus string `json:"hotplug_status"`
	HotplugError  string `json:"hotplug_error,omitempty"`
}

// LinkStatus is the netdev's side.
type LinkStatus struct {
	Name      string         `json:"name"`
	Index     int            `json:"index"`
	MAC       string         `json:"mac"`
	MTU       int            `json:"mtu"`
	Up        bool           `json:"up"`
	Bridge    string         `json:"bridge,omitempty"` // the bridge that it is a port of, now
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Explanation is a NIC with its last runs: what was seen, decided and done, and why.
type Explanation struct {
	NICStatus
	Runs    []Run `json:"runs"`
	TapRuns []Run `json:"tap_runs,omitempty"` // those of its tap
}

// Status lists every NIC by domain and device.
func (e *Engine) Status() []NICStatus {
	keys := e.keys()
	out := make([]NICStatus, 0, len(keys))
	for _, k := range keys {
		if k.Tap {
			continue // told with its NIC
		}
		if s, ok := e.nicStatus(k); ok {
			out = append(out, s.NICStatus)
		}
	}
	return out
}

// Explain tells all that the engine knows of one NIC; false: it knows none of that name. Any name serves: vifFE.N, the netdev's
// present one, or its tap's.
func (e *Engine) Explain(name string) (Explanation, bool) {
	if k, err := ParseVIF(name); err == nil {
		if x, ok := e.nicStatus(k); ok {
			return x, true
		}
	}
	for _, k := range e.keys() {
		if x, ok := e.nicStatus(k.nic()); ok && (x.Link != nil && x.Link.Name == name || x.Tap != nil && x.Tap.Name == name) {
			return x, true
		}
	}
	return Explanation{}, false
}

// Domains lists the guests by id.
func (e *Engine) Domains() []Domain {
	if e.guests == nil {
		return nil
	}
	return e.guests.list()
}

func (e *Engine) nicStatus(k Key) (Explanation, bool) {
	e.mu.Lock()
	n, tap := e.nics[k], e.nics[k.tap()]
	e.mu.Unlock()
	if n == nil {
		return Explanation{}, false
	}
	x, ok := n.status()
	if ok && tap != nil {
		x.Tap, x.TapRuns = tap.tapStatus()
	}
	if ok {
		x.Path = e.pathOf(k)
	}
	if x.Tap != nil {
		x.Tap.Path = e.pathOf(k.tap())
	}
	return x, ok
}

func (n *nic) status() (Explanation, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.key
	if n.mem.State == Absent {
		return Explanation{}, false // marked, not looked at yet
	}
	s := NICStatus{VIF: k.VIF(), Domain: n.facts.Domain, Device: k.Device, State: n.mem.State, Since: n.since, Reason: n.reason, Notes: n.notes, Network: n.facts.Node.networkName()}
	s.Backend, s.Link = backendStatus(n.facts.Node), linkStatus(n.facts)
	return Explanation{NICStatus: s, Runs: append([]Run(nil), n.runs...)}, true
}

func backendStatus(n *Node) *BackendStatus {
	if n == nil {
		return nil
	}
	return &BackendStatus{
		State: uint8(n.State), StateName: n.State.String(), Online: n.Online, Bridge: printable(n.Bridge, 64), MAC: n.MAC, MTU: n.MTU, VLAN: n.VLAN,
		Type: printable(n.Type, 32), Script: printable(n.Script, 200), HotplugStatus: printable(n.Status, 32), HotplugError: printable(n.Error, 300),
	}
}

func linkStatus(f Facts) *LinkStatus {
	if f.Link == nil {
		return nil
	}
	l := f.Link
	s := &LinkStatus{Name: string(l.Name), Index: l.Index, MAC: l.MAC.String(), MTU: l.MTU, Up: l.Up, Addresses: f.Addresses}
	if l.Master != 0 {
		s.Bridge = f.Master
		if f.Bridge != nil && f.Bridge.Index == l.Master {
			s.Bridge = string(f.Bridge.Name)
		}
	}
	return s
}

// Summary is the engine's state in one line, for systemd's STATUS.
func (e *Engine) Summary() string {
	var plugged, failed, other int
	for _, s := range e.Status() {
		switch s.State {
		case Plugged:
			plugged++
		case Failed:
			failed++
		default:
			other++
		}
	}
	nics := "NICs"
	if plugged == 1 {
		nics = "NIC"
	}
	return fmt.Sprintf("%d %s plugged, %d failed, %d on their way", plugged, nics, failed, other)
}
