package view

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// Input is what a model is made of.
type Input struct {
	Spec   network.Spec // resolved; its zero where nothing is declared
	Host   bridge.Host
	Guests []network.Guest
	Drift  map[bridge.Name]string // by device: how it differs from what is declared
	Title  string                 // the host's name; "" to leave it out
	Now    time.Time              // of the observation; zero to leave it out
}

// Model is a host's networks, devices and guests with their labels.
type Model struct {
	title    string
	at       time.Time
	networks []*net
	devices  []*thing // in the kernel's order, then those that are missing
	things   []*thing // of the logical view: devices, untagged segments and guests, by column
	byName   map[bridge.Name]*thing
	drift    map[bridge.Name]string
}

// thing is a device, an untagged segment, or a guest.
type thing struct {
	Node
	dev     *bridge.Device // nil: missing, or no device
	device  bool           // it is, or would be, a device
	known   bool           // somebody declared it, or it needs no declaration
	net     *net           // the one network that it belongs to; nil: shared or none
	carries map[int]bool   // networks, of what is shared
	letter  int            // of its label, as a number: its place within the network
	guest   *network.Guest // of a guest's port
}

// net is a network with its parts.
type net struct {
	Network
	on, segment, bridge *thing // segment: the VLAN device or the untagged segment; on: the port or bond below
	nics, others        []*thing
}

// New makes the model.
func New(in Input) *Model {
	m := &Model{title: clean(in.Title), at: in.Now, byName: map[bridge.Name]*thing{}, drift: in.Drift}
	for i := range in.Host.Devices {
		m.observe(&in.Host.Devices[i])
	}
	for _, b := range in.Spec.Bonds {
		m.declareBond(b)
	}
	for i, n := range in.Spec.Networks {
		if n.Number == 0 {
			n.Number = i + 1
		}
		m.declareNetwork(n)
	}
	m.addMasters()
	nics := m.addGuests(in.Guests)
	m.addForeignBridges()
	m.placeGuests(nics)
	m.addPorts()
	for _, d := range slices.Sorted(maps.Keys(in.Drift)) {
		m.device(d, "", LayerNone)
	}
	m.label()
	m.judge()
	m.collect()
	return m
}

// observe takes a device that is there.
func (m *Model) observe(d *bridge.Device) {
	layer := LayerNone
	switch {
	case d.Kind == "bond":
		layer = LayerBond
	case d.Kind == "" && !d.Loopback && d.ParentBus != netback && !isGuestPort(d.Name):
		layer = LayerWire
	}
	t := m.device(d.Name, d.Kind, layer)
	t.dev, t.known = d, layer == LayerWire
	if d.Kind == "bond" {
		t.Detail = bondDetail(d)
	}
}

// device finds a device, or makes one that is missing so far. The first who knows its column says it.
func (m *Model) device(name bridge.Name, kind string, layer Layer) *thing {
	t := m.byName[name]
	if t == nil {
		t = &thing{Node: Node{Key: string(name), Name: clean(string(name)), Kind: kind}, device: true, carries: map[int]bool{}}
		m.byName[name] = t
		m.devices = append(m.devices, t)
	}
	if t.Layer == LayerNone {
		t.Layer = layer
	}
	return t
}

// stands says that one thing stands on another: in the kernel, or only by declaration. What would run against the columns is left out.
func (t *thing) stands(on *thing, really bool) {
	if on == nil || t == on || on.Layer.column() >= t.Layer.column() {
		return
	}
	for i := range t.On {
		if t.On[i].Key == on.Key {
			t.On[i].Missing = t.On[i].Missing && !really
			return
		}
	}
	t.On = append(t.On, Stand{Key: on.Key, Missing: !really})
}

func (m *Model) declareBond(b network.Bond) {
	t := m.device(b.Name, "bond", LayerBond)
	t.known = true
	if t.dev == nil {
		t.Detail = []string{b.Mode}
	}
	for _, p := range b.Ports {
		port := m.device(p, "", LayerWire)
		port.known = true
		t.stands(port, port.dev != nil && port.dev.Master == b.Name)
	}
}

func (m *Model) declareNetwork(d network.Network) {
	n := &net{Network: Network{
		Number: d.Number, Label: strconv.Itoa(d.Number), Name: clean(d.Name), ID: clean(string(d.ID)), On: clean(string(d.On)), VLAN: d.VLAN,
		Roles: d.Roles.List(), MTU: d.MTU,
	}}
	for _, a := range d.Address {
		n.Addresses = append(n.Addresses, a.String())
	}
	m.networks = append(m.networks, n)
	if d.On != "" {
		n.on = m.device(d.On, "", LayerWire)
		n.on.known = true
		n.segment = m.segment(n, d.On, d.VLAN, d.Segment())
	}
	if !d.HasBridge() {
		return
	}
	id := d.BridgeName()
	if id == "" {
		id = bridge.Name(d.Name)
	}
	m.addBridge(n, id)
}

// segment finds the VLAN device of a network, whatever its name, or takes it to be missing under the one that it would have. A segment without a
// tag is no device, but it is shown, so that every network on a bond has its line.
func (m *Model) segment(n *net, on bridge.Name, vlan int, name bridge.Name) *thing {
	if vlan == 0 {
		s := &thing{Node: Node{Key: "untagged " + n.Label, Name: "untagged", Layer: LayerSegment}, known: true, net: n}
		m.things = append(m.things, s)
		s.stands(n.on, n.on.dev != nil)
		return s
	}
	for _, t := range m.devices {
		if t.dev != nil && t.dev.Kind == "vlan" && t.dev.On == on && t.dev.VLAN == vlan {
			name = t.dev.Name
		}
	}
	s := m.device(name, "vlan", LayerSegment)
	s.known, s.net, s.Detail = true, n, []string{"VLAN " + strconv.Itoa(vlan)}
	s.stands(n.on, s.dev != nil && s.dev.On == on)
	return s
}

// addBridge gives a network its bridge.
func (m *Model) addBridge(n *net, id bridge.Name) {
	n.bridge = m.device(id, "bridge", LayerBridge)
	n.bridge.known, n.bridge.net = !n.Foreign(), n
	if n.segment == nil {
		return
	}
	below := n.segment
	if !below.device {
		below = n.on
	}
	n.bridge.stands(n.segment, below.dev != nil && below.dev.Master == id)
}
