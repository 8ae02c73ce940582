package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
)

func port(index int, name bridge.Name, addresses ...string) bridge.Device {
	d := bridge.Device{Index: index, Name: name, MinMTU: 68, MaxMTU: 9000, Running: true, Settings: bridge.Settings{
		bridge.KeyMTU: "1500", bridge.KeyMAC: fmt.Sprintf("02:00:00:00:00:%02x", index), bridge.KeyAlias: "", bridge.KeyUp: "1",
	}}
	for _, a := range addresses {
		d.Addresses = append(d.Addresses, bridge.Address{Prefix: netip.MustParsePrefix(a)})
	}
	return d
}

// bare is a host as its installer left it: an address on eth0, the default route by it, two ports that nobody uses.
func bare() bridge.Host {
	return bridge.Host{
		Devices: []bridge.Device{port(2, "eth0", "10.0.0.2/24"), port(3, "eth1"), port(4, "eth2")},
		Routes:  []bridge.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.1"), Device: "eth0", Table: 254, Protocol: 3, Type: 1}},
	}
}

// declared has a management network whose port goes into a bridge, with its address, and one for guests.
func declared() network.Spec {
	return network.Spec{Networks: []network.Network{
		{
			Name: "management", ID: "mgmt", On: "eth0", Roles: network.ServerManagement | network.VirtualMachine,
			Address: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")},
		},
		{Name: "guests", ID: "4b", On: "eth1", Roles: network.VirtualMachine},
	}}
}

// later is another declaration: guests have gone, others come.
func later() network.Spec {
	s := declared()
	s.Networks[1] = network.Network{Name: "others", ID: "5c", On: "eth2", Roles: network.VirtualMachine}
	s.Networks = append(s.Networks, network.Network{Name: "inner", ID: "6d", Roles: network.VirtualMachine})
	return s
}

// text is a host for people and comparisons: indices, which differ after a device came back, are left out.
func text(t *testing.T, k Reader) string {
	t.Helper()
	h, err := k.Host()
	require.NoError(t, err)
	var lines []string
	for _, d := range h.Devices {
		var addresses []string
		for _, a := range d.Addresses {
			addresses = append(addresses, a.Prefix.String())
		}
		slices.Sort(addresses)
		lines = append(lines, fmt.Sprintf("%s %s master=%s %v %v", d.Name, d.Kind, d.Master, d.Settings, addresses))
	}
	for _, r := range h.Routes {
		lines = append(lines, fmt.Sprintf("route %v via %v by %s", r.To, r.Via, r.Device))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// events is what a manager told.
type events struct {
	mu  sync.Mutex
	all []Event
}

func (e *events) hear(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) kinds() (out []Kind) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		out = append(out, ev.Kind)
	}
	return out
}

func (e *events) count(k Kind) (n int) {
	for _, kind := range e.kinds() {
		if kind == k {
			n++
		}
	}
	return n
}

// repaired says that more than was is lost since, and all of it repaired.
func (e *events) repaired(was int) bool {
	lost := e.count(NetworkLost)
	return lost > was && e.count(NetworkRepaired) == lost
}

func (e *events) last(t *testing.T) Event {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.NotEmpty(t, e.all)
	return e.all[len(e.all)-1]
}

// fakeClock counts from its making, in the time of a synctest bubble too.
type fakeClock struct {
	boot    string
	start   time.Time
	mu      sync.Mutex
	skipped time.Duration // while the machine was suspended
}

func newClock() *fakeClock { return &fakeClock{boot: "first", start: time.Now()} }

func (c *fakeClock) Boot() (string, error) { return c.boot, nil }

func (c *fakeClock) Uptime() (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.start) + c.skipped, nil
}

func (c *fakeClock) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped += d
}

// rig is a manager on a simulated host.
type rig struct {
	*Manager
	kernel *hosttest.Kernel
	gate   *hosttest.Gate
	heard  *events
	clock  *fakeClock
	dir    string
}

func newRig(t *testing.T, h bridge.Host) *rig {
	return restart(t, &rig{kernel: hosttest.New(h), clock: newClock(), dir: t.TempDir()})
}

// restart is the next process on a rig's host.
func restart(t *testing.T, old *rig) *rig {
	r := &rig{kernel: old.kernel, clock: old.clock, dir: old.dir, heard: &events{}, gate: &hosttest.Gate{Changer: old.kernel}}
	m, err := New(Options{Kernel: r.gate, Dir: r.dir, Notify: r.heard.hear})
	require.NoError(t, err)
	m.clock = r.clock
	r.Manager = m
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return r
}

func (r *rig) must(t *testing.T, s network.Spec) {
	t.Helper()
	_, err := r.Apply(t.Context(), s, ApplyOptions{Confirm: Never})
	require.NoError(t, err)
}

var errInjected = errors.New("injected")

// failAt has the n-th change refused, counted from 0.
func failAt(n int) func(int, bridge.Name) error {
	return func(i int, _ bridge.Name) error {
		if i == n {
			return errInjected
		}
		return nil
	}
}
