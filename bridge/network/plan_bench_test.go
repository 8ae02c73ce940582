package network

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

// large is a declaration of many networks for guests on one bond, and a host with many guests' NICs on them.
func large(t testing.TB, networks, guests int) (Spec, bridge.Host) {
	s := Spec{Bonds: []Bond{{Name: "bond0", Ports: []bridge.Name{"eth0", "eth1"}, Mode: "active-backup", Options: bridge.Settings{"miimon": "100"}}}}
	s.Networks = append(s.Networks, Network{Number: 1, Name: "management", ID: "m", On: "bond0", Roles: ServerManagement})
	for i := 1; i < networks; i++ {
		s.Networks = append(s.Networks, Network{
			Number: i + 1, Name: fmt.Sprintf("net%d", i), ID: bridge.Name(fmt.Sprintf("B%06d", i)), On: "bond0", VLAN: i, Roles: VirtualMachine,
		})
	}
	h := bareHost(2)
	plan, err := Make(Input{Want: s, Have: h})
	require.NoError(t, err)
	w := newWorld(h)
	for _, step := range plan.Steps {
		require.NoError(t, w.do(step))
	}
	for i := range guests {
		name := bridge.Name(fmt.Sprintf("vif%d.0", i+1))
		w.add(bridge.Device{Name: name, ParentBus: "xen-backend", Settings: bridge.Settings{"mtu": "1500", "up": "1", "alias": PortAlias("web", uint16(i), 0, "x")}})
		w.joinBridge(name, s.Networks[1+i%(networks-1)].ID)
	}
	return s, w.host()
}

// Planning is to take less than this for a host of 100 networks and 2,000 guest NICs. The bound of the test is wider, for busy machines.
const planBound = 10 * time.Millisecond

func TestPlanningIsFast(t *testing.T) {
	spec, host := large(t, 100, 2000)
	for name, have := range map[string]bridge.Host{"nothing to do": host, "everything to do": bareHost(2)} {
		best := time.Hour
		for range 5 {
			start := time.Now()
			_, err := Make(Input{Want: spec, Have: have})
			require.NoError(t, err)
			best = min(best, time.Since(start))
		}
		require.Less(t, best, 10*planBound, name)
	}
}

func BenchmarkPlan(b *testing.B) {
	spec, host := large(b, 100, 2000)
	bare := bareHost(2)
	for _, d := range host.Devices {
		if isGuests(&d) {
			d.Master = ""
			bare.Devices = append(bare.Devices, d)
		}
	}
	run := func(name string, have bridge.Host) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Make(Input{Want: spec, Have: have}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(must(b, spec, have).Steps)), "steps")
		})
	}
	run("nothing", host)
	run("everything", bare)
}

func must(b *testing.B, s Spec, h bridge.Host) Plan {
	p, err := Make(Input{Want: s, Have: h})
	require.NoError(b, err)
	return p
}

func BenchmarkCompare(b *testing.B) {
	spec, host := large(b, 100, 2000)
	for b.Loop() {
		Compare(Input{Want: spec, Have: host})
	}
}
