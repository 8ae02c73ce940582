package view

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"vifplug/bridge"
)

// Mark is what is wrong with a thing, or unusual about it.
type Mark string

// The marks, worst first.
const (
	Missing Mark = "missing" // declared, but not there
	Failed  Mark = "failed"  // a guest's NIC that could not be plugged
	Down    Mark = "down"    // set down, or without carrier
	Drifted Mark = "drifted" // not as it is declared
	Foreign Mark = "foreign" // nobody declared it
)

// State is how a network stands.
type State string

// The states. A network is degraded where a port of its bond is out.
const (
	StateUp       State = "up"
	StateDegraded State = "degraded"
	StateDown     State = "down"
	StateMissing  State = "missing"
)

// Layer is a column of the logical view.
type Layer string

// The columns, from the wire to the guest. Devices of LayerNone are in the devices view alone.
const (
	LayerNone    Layer = ""
	LayerWire    Layer = "port"
	LayerBond    Layer = "bond"
	LayerSegment Layer = "segment"
	LayerBridge  Layer = "bridge"
	LayerNIC     Layer = "nic"
	LayerGuest   Layer = "guest"
)

// layers are the columns in order, and their headings.
var layers = []struct {
	layer   Layer
	heading string
}{
	{LayerWire, "Port"}, {LayerBond, "Bond"}, {LayerSegment, "Segment"}, {LayerBridge, "Bridge"}, {LayerNIC, "Guest NIC"}, {LayerGuest, "Guest"},
}

// column counts from 0; -1 for what is in none.
func (l Layer) column() int {
	for i, x := range layers {
		if x.layer == l {
			return i
		}
	}
	return -1
}

// Network is a row of the manager's view.
type Network struct {
	Label     string   `json:"label"` // its number, as text
	Number    int      `json:"number"`
	Name      string   `json:"name"`
	ID        string   `json:"id"`
	Roles     []string `json:"roles"`
	On        string   `json:"on,omitempty"`   // the port or bond below
	VLAN      int      `json:"vlan,omitempty"` // 0: untagged
	Addresses []string `json:"addresses,omitempty"`
	MTU       int      `json:"mtu,omitempty"` // bytes
	State     State    `json:"state"`
	Marks     []Mark   `json:"marks,omitempty"`
	Notes     []string `json:"notes,omitempty"` // what is wrong, in words
	Guests    []NIC    `json:"guests,omitempty"`
}

// Foreign says that nobody declared the network.
func (n *Network) Foreign() bool { return slices.Contains(n.Marks, Foreign) }

// NIC is a guest's port on a network.
type NIC struct {
	Label  string   `json:"label"`
	Device string   `json:"device"`
	Guest  string   `json:"guest"` // the domain's name
	Domain int      `json:"domain"`
	Eth    string   `json:"eth"` // within the guest
	Tap    bool     `json:"tap,omitempty"`
	State  string   `json:"state,omitempty"` // the engine's
	Marks  []Mark   `json:"marks,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// words are a node's network, unless it is called so, and its details.
func (n *Node) words() []string {
	if n.Network == "" || n.Network == n.Name {
		return n.Detail
	}
	return append([]string{n.Network}, n.Detail...)
}

// Node is a thing of the logical view: a device, an untagged segment, or a guest.
type Node struct {
	Key      string   `json:"key"` // unique in the view
	Label    string   `json:"label,omitempty"`
	Name     string   `json:"name"`
	Layer    Layer    `json:"layer"`
	Kind     string   `json:"kind,omitempty"`     // as the kernel names it; "" for hardware and for what is no device
	Networks []int    `json:"networks,omitempty"` // numbers of those that it belongs to or carries
	Network  string   `json:"network,omitempty"`  // name of the network that it is the uppermost part of, guests apart
	On       []Stand  `json:"on,omitempty"`
	Detail   []string `json:"detail,omitempty"` // mode, VLAN, roles, addresses
	Guest    string   `json:"guest,omitempty"`  // of a guest's port: the domain's name
	Domain   int      `json:"domain,omitempty"` // of a guest, and of its ports: the domain's id
	Eth      string   `json:"eth,omitempty"`    // of a guest's port: its name within the guest
	Tap      bool     `json:"tap,omitempty"`
	Marks    []Mark   `json:"marks,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// Stand is what a node stands on.
type Stand struct {
	Key     string `json:"key"`
	Missing bool   `json:"missing,omitempty"` // it should, and does not
}

// Device is a row of the devices view.
type Device struct {
	Index     int          `json:"index,omitempty"` // the kernel's; 0: missing
	Label     string       `json:"label,omitempty"`
	Name      string       `json:"name"`
	Kind      string       `json:"kind,omitempty"`
	Networks  []int        `json:"networks,omitempty"`
	Master    string       `json:"master,omitempty"` // the bridge or bond that it is a port of
	On        string       `json:"on,omitempty"`     // of a VLAN
	VLAN      int          `json:"vlan,omitempty"`
	Bond      []string     `json:"bond,omitempty"` // of a bond: its mode, and who carries its traffic
	MAC       string       `json:"mac,omitempty"`
	Addresses []string     `json:"addresses,omitempty"`
	MTU       int          `json:"mtu,omitempty"`
	Flags     []string     `json:"flags,omitempty"` // "up", "running", "loopback"
	Guest     string       `json:"guest,omitempty"` // whose NIC it is
	Eth       string       `json:"eth,omitempty"`
	Marks     []Mark       `json:"marks,omitempty"`
	Notes     []string     `json:"notes,omitempty"`
	Stats     bridge.Stats `json:"stats,omitzero"`
}

// Head is what every view begins with.
type Head struct {
	View string    `json:"view"` // "manager", "logical" or "devices"
	Host string    `json:"host,omitempty"`
	At   time.Time `json:"at,omitzero"` // of the observation
}

// Manager is the table of networks. Its JSON is this struct, by its tags.
type Manager struct {
	Head
	Networks []Network `json:"networks"`
}

// Logical is the picture of who stands on whom. Its JSON is this struct, by its tags; nodes come by column, from the wire to the guest.
type Logical struct {
	Head
	Networks []Network `json:"networks"`
	Nodes    []Node    `json:"nodes"`
}

// Devices is every device in the kernel's order, then those that are missing. Its JSON is this struct, by its tags.
type Devices struct {
	Head
	Devices []Device `json:"devices"`
}

// View is one of the three.
type View interface {
	Text(w io.Writer, o Options) error
	JSON(w io.Writer) error
	Dot(w io.Writer) error
	Mermaid(w io.Writer) error
	SVG(w io.Writer) error
}

// Names are the views as commands name them.
var Names = []string{"manager", "logical", "devices"}

// Formats are the forms that a view writes itself in.
var Formats = []string{"text", "json", "dot", "mermaid", "svg"}

// View gives a view by its name.
func (m *Model) View(name string) (View, error) {
	switch name {
	case "manager":
		return m.Manager(), nil
	case "logical":
		return m.Logical(), nil
	case "devices":
		return m.Devices(), nil
	}
	return nil, fmt.Errorf("there is no view %q: the views are manager, logical and devices", name)
}

// Write writes a view in a format; o serves text alone.
func Write(w io.Writer, v View, format string, o Options) error {
	switch format {
	case "text":
		return v.Text(w, o)
	case "json":
		return v.JSON(w)
	case "dot":
		return v.Dot(w)
	case "mermaid":
		return v.Mermaid(w)
	case "svg":
		return v.SVG(w)
	}
	return fmt.Errorf("there is no format %q: the formats are text, json, dot, mermaid and svg", format)
}

// Manager gives the table of networks.
func (m *Model) Manager() Manager {
	return Manager{Head{"manager", m.title, m.at}, m.rows()}
}

func (m *Model) rows() []Network {
	out := make([]Network, len(m.networks))
	for i, n := range m.networks {
		out[i] = n.Network
	}
	return out
}

// Logical gives the picture.
func (m *Model) Logical() Logical {
	v := Logical{Head{"logical", m.title, m.at}, m.rows(), make([]Node, len(m.things))}
	for i, t := range m.things {
		v.Nodes[i] = t.Node
	}
	return v
}

// Devices gives the list of devices.
func (m *Model) Devices() Devices {
	v := Devices{Head{"devices", m.title, m.at}, make([]Device, len(m.devices))}
	for i, t := range m.devices {
		d := Device{Label: t.Label, Name: t.Name, Kind: clean(t.Kind), Networks: t.Networks, Guest: t.Guest, Eth: t.Eth, Marks: t.Marks, Notes: t.Notes}
		if k := t.dev; k != nil {
			d.Index, d.Master, d.On, d.VLAN, d.Stats = k.Index, clean(string(k.Master)), clean(string(k.On)), k.VLAN, k.Stats
			if k.Kind == "bond" {
				d.Bond = bondDetail(k)
			}
			d.MAC, d.MTU, d.Addresses, d.Flags = clean(k.Settings[bridge.KeyMAC]), number(k, bridge.KeyMTU), addresses(k), flags(k)
		}
		v.Devices[i] = d
	}
	return v
}

func addresses(d *bridge.Device) (out []string) {
	for _, a := range d.Addresses {
		out = append(out, clean(a.Prefix.String()))
	}
	return out
}

// number reads a setting that is one; 0 where it is not known.
func number(d *bridge.Device, k bridge.Key) int {
	n, _ := strconv.Atoi(d.Settings[k])
	return n
}

func flags(d *bridge.Device) (out []string) {
	if d.Settings[bridge.KeyUp] == "1" {
		out = append(out, "up")
	}
	if d.Running {
		out = append(out, "running")
	}
	if d.Loopback {
		out = append(out, "loopback")
	}
	return out
}
