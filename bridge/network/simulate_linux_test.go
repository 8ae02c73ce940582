package network_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/host"
	"vifplug/bridge/network"
)

// seeds are how many random walks the kernel and Simulate take side by side, of walkSteps steps each; fewer with -short, as in the lab.
const (
	seeds      = 12
	shortSeeds = 5
	walkSteps  = 60
)

// Simulate is held against the kernel: the same random steps are done to both, and at each both do it or both refuse it, and what is known of the
// host is the same.
func TestSimulateIsLikeTheKernel(t *testing.T) {
	walks := uint64(seeds)
	if testing.Short() {
		walks = shortSeeds
	}
	for seed := range walks {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			ports(t, "eth0", "eth1", "eth2", "vif1.0")
			c, err := bridge.Open()
			require.NoError(t, err)
			defer func() { assert.NoError(t, c.Close()) }()
			walk(t, c, &walker{r: rand.New(rand.NewPCG(seed, 3)), bonds: supports(t, c.ProbeBonding), vlans: supports(t, c.ProbeVLAN)})
		})
	}
}

func supports(t *testing.T, probe func() (bridge.Support, error)) bool {
	t.Helper()
	s, err := probe()
	require.NoError(t, err)
	if s != bridge.Supported {
		require.NotEqual(t, "1", os.Getenv("XENVM"), "the lab's kernel must have it")
	}
	return s == bridge.Supported
}

func walk(t *testing.T, c *bridge.Conn, w *walker) {
	t.Helper()
	h, err := c.Host()
	require.NoError(t, err)
	var told []string
	for i := range walkSteps {
		s := w.step(&h)
		expected, refusal := network.Simulate(h, s)
		undo := network.Undo(s, h)
		told = append(told, fmt.Sprintf("%d %s: %v", i, s, refusal))
		err := host.Do(c, s)
		if refusal != nil && err == nil && tolerated(s, refusal) {
			expected, refusal = h, nil
		}
		require.Equal(t, refusal == nil, err == nil, "the kernel: %v\n%s", err, strings.Join(told, "\n"))
		now, err := c.Host()
		require.NoError(t, err)
		if refusal != nil {
			expected = h
		}
		// Of several settings in one message the kernel may have taken some, and a port that another master refuses has left its own.
		if refusal != nil && (s.Op == network.OpSet || s.Op == network.OpMaster) {
			h = now
			continue
		}
		require.Equal(t, visible(expected, expected), visible(now, expected), strings.Join(told, "\n"))
		if refusal == nil && w.r.IntN(3) == 0 {
			for _, u := range undo {
				if err := host.Do(c, u); err != nil && !errors.Is(err, bridge.ErrExists) {
					require.NoError(t, err, "undoing by %s\n%s", u, strings.Join(told, "\n"))
				}
			}
			now, err = c.Host()
			require.NoError(t, err)
			require.Equal(t, visible(h, h), visible(now, h), "undone by %v\n%s", undo, strings.Join(told, "\n"))
		}
		h = now
	}
	t.Log(strings.Join(told, "\n"))
}

// tolerated says that the kernel's door is wider than Simulate's: what is gone already may be deleted.
func tolerated(s network.Step, refusal error) bool {
	return (s.Op == network.OpDeleteAddress || s.Op == network.OpDeleteRoute || s.Op == network.OpDelete) && errors.Is(refusal, bridge.ErrNotFound)
}

// visible is a host as text, by name, as far as another knows it. Ports' VLANs are told only by bridges that filter.
func visible(h, known bridge.Host) string {
	var lines []string
	for _, d := range h.Devices {
		if strings.HasPrefix(string(d.Name), "wire") || d.Loopback || strings.Contains("sit0 tunl0 ip6tnl0 teql0 gre0 gretap0 erspan0", string(d.Name)) {
			continue
		}
		var settings, addrs []string
		for key, v := range d.Settings {
			k := known.Device(d.Name)
			if k == nil || bridge.BondOption(key) != nil && !bridge.BondOption(key).In(d.Settings["mode"]) {
				continue
			}
			if _, is := k.Settings[key]; is && (key == "mtu" || key == "mac" || key == "up" || key == "alias" || key == "mode" || key == "primary" || key == "miimon") {
				settings = append(settings, string(key)+"="+v)
			}
		}
		for _, a := range d.Addresses {
			addrs = append(addrs, a.Prefix.String())
		}
		slices.Sort(settings)
		slices.Sort(addrs)
		lines = append(lines, fmt.Sprintf("%s %s %s.%d of %q %v %v", d.Name, d.Kind, d.On, d.VLAN, d.Master, settings, addrs))
	}
	for _, r := range h.Routes {
		lines = append(lines, fmt.Sprintf("route %s via %v on %s metric %d source %v", r.To, r.Via, r.Device, r.Metric, r.Source))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// walker draws steps.
type walker struct {
	r            *rand.Rand
	bonds, vlans bool
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (w *walker) step(h *bridge.Host) network.Step {
	names := []bridge.Name{"eth0", "eth1", "eth2", "vif1.0", "br0", "br1"}
	if w.bonds {
		names = append(names, "bond7", "bond8")
	}
	if w.vlans {
		names = append(names, "eth0.5", "eth1.5", "bond7.5", "br0.5")
	}
	s := network.Step{Device: pick(w.r, names...)}
	d := h.Device(s.Device)
	if d == nil {
		return w.create(s)
	}
	switch w.r.IntN(12) {
	case 0:
		s.Op = network.OpDelete
		if d.Kind == "veth" {
			s.Op, s.Set = network.OpSet, bridge.Settings{"up": "1"}
		}
	case 1, 2, 3:
		s.Op, s.Set = network.OpSet, w.settings(h, d)
	case 4, 5, 6:
		s.Op, s.Master = network.OpMaster, pick(w.r, bridge.Name(""), "br0", "br1")
		if w.bonds && d.Kind == "veth" && w.r.IntN(2) == 0 {
			s.Master = pick(w.r, bridge.Name("bond7"), "bond8")
		}
	case 7, 8:
		s.Op, s.Address = network.OpAddAddress, &bridge.Address{Prefix: pick(w.r, addresses...)}
	case 9:
		s.Op, s.Address = network.OpDeleteAddress, &bridge.Address{Prefix: pick(w.r, addresses...)}
		if len(d.Addresses) > 0 {
			s.Address = &d.Addresses[w.r.IntN(len(d.Addresses))]
		}
	default:
		s.Op, s.Route = network.OpAddRoute, &bridge.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.1.1.254"), Device: s.Device, Table: 254, Type: 1, Protocol: 4}
		if w.r.IntN(2) == 0 {
			s.Route.To, s.Route.Via, s.Route.Metric = netip.MustParsePrefix("2001:db8:ffff::/48"), netip.MustParseAddr("2001:db8:1::ff"), 1024
		}
	}
	return s
}

var addresses = []netip.Prefix{
	netip.MustParsePrefix("10.1.1.1/24"), netip.MustParsePrefix("10.1.1.2/24"), netip.MustParsePrefix("10.2.2.1/24"),
	netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("2001:db8:2::1/64"),
}

func (w *walker) create(s network.Step) network.Step {
	s.Op, s.Create = network.OpCreate, &network.Create{Kind: "bridge", Settings: bridge.Settings{"mtu": pick(w.r, "1500", "1400"), "mac": "02:00:00:00:00:77", "up": pick(w.r, "0", "1")}}
	on, _, vlan := strings.Cut(string(s.Device), ".")
	switch {
	case vlan:
		s.Create = &network.Create{Kind: "vlan", On: bridge.Name(on), VLAN: 5, Settings: bridge.Settings{"alias": "vifplug: network x (1)"}}
	case strings.HasPrefix(string(s.Device), "bond"):
		s.Create = &network.Create{Kind: "bond", Settings: bridge.Settings{"mode": pick(w.r, "active-backup", "balance-xor"), "miimon": "100", "mac": "02:00:00:00:00:78", "mtu": "1500"}}
	}
	return s
}

// portOf is one of a bond's ports; "" where it has none.
func portOf(h *bridge.Host, bond bridge.Name) string {
	for _, d := range h.Devices {
		if d.Master == bond {
			return string(d.Name)
		}
	}
	return ""
}

func (w *walker) settings(h *bridge.Host, d *bridge.Device) bridge.Settings {
	if d.Kind == "bond" && w.r.IntN(2) == 0 {
		// The kernel notes a primary that is no port for later, and tells nobody.
		return pick(w.r, bridge.Settings{"mode": "balance-rr"}, bridge.Settings{"mode": "active-backup"}, bridge.Settings{"primary": portOf(h, d.Name)}, bridge.Settings{"miimon": "200"})
	}
	return pick(w.r, bridge.Settings{"mtu": "1400"}, bridge.Settings{"mtu": "1500"}, bridge.Settings{"up": "0"}, bridge.Settings{"up": "1"}, bridge.Settings{"alias": "x"},
		bridge.Settings{"mac": fmt.Sprintf("02:00:00:00:01:%02x", w.r.IntN(200))})
}
