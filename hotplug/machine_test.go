package hotplug

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
)

// machine is a NIC's whole life against a model of kernel and store: the toolstack, netback, the guest and administrators do what they like
// in any order, and the engine's judgement runs between.
type machine struct {
	f     Facts        // the model: what is
	birth func() Facts // what it begins with, and may be again
	m     Memory
	now   time.Time
}

func newMachine(t *rapid.T) *machine {
	return lifeOf(t, born)
}

func lifeOf(t *rapid.T, birth func() Facts) *machine {
	f := birth()
	if rapid.Bool().Draw(t, "unborn") {
		f.Node, f.Link = nil, nil
	}
	return &machine{f: f, birth: birth, now: epoch}
}

func (m *machine) node(change func(*Node)) {
	if m.f.Node != nil {
		n := *m.f.Node
		change(&n)
		m.f.Node = &n
	}
}

func (m *machine) link(change func(*bridge.Link)) {
	if m.f.Link != nil {
		l := *m.f.Link
		change(&l)
		m.f.Link = &l
		m.f.Master = map[int]string{0: "", 3: "xenbr0", 7: "br7"}[l.Master]
	}
}

// actions are what others do.
func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"attach":  func(*rapid.T) { m.f.Node = m.birth().Node },
		"erase":   func(*rapid.T) { m.f.Node = nil },
		"offline": func(*rapid.T) { m.node(func(n *Node) { n.Online = false }) },
		"asked":   func(*rapid.T) { m.m.OfflineAsked = true },
		"state": func(t *rapid.T) {
			m.node(func(n *Node) { n.State = XenbusState(rapid.IntRange(0, 8).Draw(t, "state")) })
		},
		"status": func(t *rapid.T) {
			m.node(func(n *Node) { n.Status = rapid.SampledFrom([]string{"", "connected", "error"}).Draw(t, "status") })
		},
		"mtu": func(t *rapid.T) {
			m.node(func(n *Node) { n.MTU = rapid.SampledFrom([]int{0, 1400, 9000}).Draw(t, "mtu") })
		},
		"vifname": func(t *rapid.T) {
			m.node(func(n *Node) { n.VIFName = bridge.Name(rapid.SampledFrom([]string{"", "web0"}).Draw(t, "vifname")) })
		},
		"netdev": func(t *rapid.T) {
			l := *m.birth().Link
			l.Index = rapid.IntRange(10, 12).Draw(t, "index")
			m.f.Link, m.f.Master, m.f.Addresses = &l, "", nil
		},
		"no netdev": func(*rapid.T) { m.f.Link, m.f.Master, m.f.Addresses = nil, "", nil },
		"moved": func(t *rapid.T) {
			m.link(func(l *bridge.Link) { l.Master = rapid.SampledFrom([]int{0, 3, 7}).Draw(t, "master") })
		},
		"set down": func(*rapid.T) { m.link(func(l *bridge.Link) { l.Up = false }) },
		"clamped":  func(*rapid.T) { m.link(func(l *bridge.Link) { l.MTU = 1500 }) },
		"MAC":      func(*rapid.T) { m.link(func(l *bridge.Link) { l.MAC = bridge.MAC{2} }) },
		"address": func(*rapid.T) {
			if m.f.Link != nil {
				m.f.Addresses = []netip.Prefix{netip.MustParsePrefix("fe80::1/64")}
			}
		},
		"bridge goes": func(*rapid.T) {
			m.f.Bridge = nil
			m.link(func(l *bridge.Link) {
				if l.Master == 3 {
					l.Master = 0
				}
			})
		},
		"bridge comes": func(t *rapid.T) {
			b := *born().Bridge
			b.Kind = rapid.SampledFrom([]string{"bridge", "bridge", "bond"}).Draw(t, "kind")
			m.f.Bridge = &b
		},
		"refused": func(*rapid.T) {
			if m.f.Link != nil && !m.f.Key.Tap {
				m.m.Clamped = m.f.Link.Index
			}
		},
		"name taken":  func(*rapid.T) { m.f.NameOwner = &bridge.Link{Index: 99, Name: "web0", Kind: "vif"} },
		"name free":   func(*rapid.T) { m.f.NameOwner = nil },
		"time":        func(t *rapid.T) { m.now = m.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "s")) * time.Second) },
		"daemon dies": func(*rapid.T) { m.m = Memory{} },
		"":            m.look, // after each of the others
	}
}

// look is a run of the engine that may break off after any step.
func (m *machine) look(t *rapid.T) {
	before := m.f
	d := Decide(m.f, m.m, m.now, DefaultPolicy())
	m.judge(t, d)
	steps := d.Steps
	if len(steps) > 0 && rapid.IntRange(0, 3).Draw(t, "break off") == 0 {
		m.f = apply(m.f, steps[:rapid.IntRange(0, len(steps)-1).Draw(t, "after")])
		m.m = d.Memory
		m.m.State = Failed
		return
	}
	if len(steps) > 0 {
		m.f = apply(m.f, steps)
	}
	m.m = d.Memory
	m.m.State = d.State
	again := Decide(m.f, m.m, m.now, DefaultPolicy())
	require.Empty(t, again.Steps, "%v\n%s\nthen\n%s", before, text(d), text(again))
	if d.State == Plugged {
		m.right(t)
	}
}

// rank is a step's place in the order of design.md.
func rank(s Step) int {
	c := s.Change
	switch {
	case s.Op == OpLink && c.Up != nil && !*c.Up:
		return 0
	case s.Op == OpLink && c.Name != "":
		return 1
	case s.Op == OpFlush, s.Op == OpIgnoreRA, s.Op == OpLink && (c.MAC != nil || c.MTU != 0 || c.NoAddrGen || c.Alias != nil):
		return 2
	case s.Op == OpLink && c.Master != nil:
		return 3
	case s.Op == OpLink && c.Up != nil:
		return 4
	case s.Op == OpVerify:
		return 5
	case s.Op == OpConnect:
		return 6
	}
	return 7
}

// judge is what holds of every decision.
func (m *machine) judge(t *rapid.T, d Decision) {
	f := m.f
	require.True(t, slices.IsSortedFunc(d.Steps, func(a, b Step) int { return rank(a) - rank(b) }), "the order of the steps:\n%s", text(d))
	if d.State == Failed {
		require.NotNil(t, d.Reason)
		require.NotEmpty(t, d.Reason.Remedy)
		require.Empty(t, d.Steps, "what is objected to is not begun")
	}
	if len(d.Steps) == 0 {
		return
	}
	require.True(t, f.Node != nil || f.Key.Tap && f.Domain.UUID != "", "steps without a node")
	require.NotNil(t, f.Link, "steps without a netdev")
	for _, s := range d.Steps {
		require.False(t, m.m.Clamped == f.Link.Index && s.Change.MTU > ethernetMTU, "the clamp is fought: %s", text(d))
	}
	ours := f.Link.Master == 0 || f.Bridge != nil && f.Link.Master == f.Bridge.Index || m.m.Ifindex == f.Link.Index || f.Link.Alias != ""
	switch d.State {
	case Plugged:
		require.True(t, ours, "taken from another's bridge: %s", text(d))
		require.Equal(t, "bridge", f.Bridge.Kind)
		require.True(t, f.Node.Online)
		require.True(t, f.Key.Tap || f.Node.State >= StateInitWait)
		require.False(t, f.Key.Tap && f.Node.Type != typeIOEmu, "a tap without its backend")
	case Draining:
		require.True(t, f.Node == nil || !f.Node.Online, "released while online")
		require.False(t, slices.ContainsFunc(d.Steps, func(s Step) bool { return s.Op == OpConnect }))
	default:
		require.Failf(t, "steps", "in state %v", d.State)
	}
}

// right is what a plugged NIC is.
func (m *machine) right(t *rapid.T) {
	l, n := m.f.Link, m.f.Node
	require.Equal(t, m.f.Bridge.Index, l.Master)
	require.True(t, l.Up)
	require.Equal(t, portMAC, l.MAC)
	require.Empty(t, m.f.Addresses)
	require.True(t, m.f.Key.Tap || n.Status == statusConnected)
	if name := m.f.wantedName(); name != "" {
		require.Equal(t, name, l.Name)
	}
	if n.MTU != 0 && n.MTU <= ethernetMTU {
		require.Equal(t, n.MTU, l.MTU)
	}
}

// Whatever the others do, and wherever a run breaks off: two looks in a row never both have something to do, steps come in design.md's order,
// nothing is begun that is objected to, nobody else's port is taken, and what is called plugged is.
func TestLifeOfANIC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { t.Repeat(newMachine(t).actions()) })
}

// The same of QEMU's tap, which nobody else's node may claim.
func TestLifeOfATap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := lifeOf(t, bornTap)
		actions := m.actions()
		actions["type"] = func(t *rapid.T) {
			m.node(func(n *Node) { n.Type = rapid.SampledFrom([]string{"vif", typeIOEmu}).Draw(t, "type") })
		}
		actions["domain"] = func(t *rapid.T) { m.f.Domain.UUID = rapid.SampledFrom([]string{"", "u-5"}).Draw(t, "uuid") }
		actions["awaited"] = func(t *rapid.T) { m.f.Awaited = rapid.Bool().Draw(t, "awaited") }
		t.Repeat(actions)
	})
}
