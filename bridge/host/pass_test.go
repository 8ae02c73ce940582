package host

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"vifplug/bridge"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
)

// moving is how a port goes into a bridge with its address and the default route.
func moving() []network.Step {
	address, route := bare().Devices[0].Addresses[0], bare().Routes[0]
	route.Device = "mgmt"
	return []network.Step{
		{Op: network.OpCreate, Device: "mgmt", Create: &network.Create{Kind: "bridge", Settings: bridge.Settings{bridge.KeyUp: "1"}}},
		{Op: network.OpAddAddress, Device: "mgmt", Address: &address},
		{Op: network.OpMaster, Device: "eth0", Master: "mgmt"},
		{Op: network.OpDeleteAddress, Device: "eth0", Address: &address},
		{Op: network.OpAddRoute, Device: "mgmt", Route: &route},
		{Op: network.OpCreate, Device: "6d", Create: &network.Create{Kind: "bridge", Settings: bridge.Settings{}}},
	}
}

func TestPassLeavesOutWhatBuildsOnAFailure(t *testing.T) {
	for _, tc := range []struct {
		fails int // the step
		done  []int
	}{
		{0, []int{5}},
		{1, []int{0, 5}},
		{2, []int{0, 1, 5}},
		{3, []int{0, 1, 2, 4, 5}},
		{5, []int{0, 1, 2, 3, 4}},
	} {
		k := hosttest.New(bare())
		gate := &hosttest.Gate{Changer: k}
		steps, p := moving(), newPass(gate, moving(), map[bridge.Name]bool{})
		for i, s := range steps {
			gate.Keep(func(int, bridge.Name) error {
				if i == tc.fails {
					return errInjected
				}
				return nil
			})
			if why := p.do(s); i == tc.fails {
				assert.Contains(t, why, "could not "+say(s)+": injected")
			} else {
				assert.Empty(t, why)
			}
		}
		var want []network.Step
		for _, i := range tc.done {
			want = append(want, steps[i])
		}
		assert.Equal(t, want, k.Steps(), "when step %d fails", tc.fails)
	}
}

// A device that somebody is just deleting lost its address first; that it cannot be given back is no failure.
func TestPassMeetsADeviceThatVanishes(t *testing.T) {
	k := hosttest.New(bare())
	gate := &hosttest.Gate{Changer: k}
	steps, p := moving(), newPass(gate, nil, map[bridge.Name]bool{})
	assert.Empty(t, p.do(steps[0]))
	gate.Keep(func(_ int, device bridge.Name) error { return k.Remove(device) })
	add := steps[1]
	assert.Empty(t, p.do(add))
	assert.True(t, p.touchesOff(add), "it is left alone in this pass")
	assert.NotContains(t, k.Steps(), add)
	gate.Keep(func(int, bridge.Name) error { return bridge.ErrNotFound })
	assert.Contains(t, p.do(steps[5]), "could not", "what is to be created need not exist")
}

// One port that cannot join must not keep its bond from everything else.
func TestPassGoesOnWithoutAPortOfABond(t *testing.T) {
	p := newPass(nil, nil, map[bridge.Name]bool{})
	p.leave(network.Step{Op: network.OpMaster, Device: "eth1", Master: "bond0"})
	assert.True(t, p.touchesOff(network.Step{Op: network.OpSet, Device: "eth1"}))
	assert.False(t, p.touchesOff(network.Step{Op: network.OpCreate, Device: "bond0.13", Create: &network.Create{On: "bond0"}}))
	p.leave(network.Step{Op: network.OpCreate, Device: "bond0"})
	assert.True(t, p.touchesOff(network.Step{Op: network.OpCreate, Device: "bond0.13", Create: &network.Create{On: "bond0"}}))
	assert.True(t, p.touchesOff(network.Step{Op: network.OpMaster, Device: "eth2", Master: "bond0"}))
	assert.True(t, p.touchesOff(network.Step{Op: network.OpCreate, Device: "x", Create: &network.Create{Master: "bond0"}}))
}

// A device that is left alone for a while is left alone by all steps.
func TestPassLeavesTheRestingAlone(t *testing.T) {
	k := hosttest.New(bare())
	p := newPass(k, moving(), map[bridge.Name]bool{"mgmt": true})
	for _, s := range moving() {
		assert.Empty(t, p.do(s))
	}
	assert.Len(t, k.Steps(), 1)
	assert.Equal(t, map[bridge.Name]bool{"6d": true}, p.done)
}

func TestStateOfWhatIsBeingApplied(t *testing.T) {
	s := state{applied: &applied{Spec: declared()}, pending: &record{Phase: applying, After: later()}}
	assert.Len(t, s.current().Networks, 2, "it does not hold yet")
	assert.Equal(t, bridge.Name("4b"), s.ids()["guests"])
	s.pending.Phase = waiting
	assert.Len(t, s.current().Networks, 3)
	assert.Equal(t, bridge.Name("5c"), s.ids()["others"])
	assert.Nil(t, state{}.current())
	assert.Empty(t, state{}.ids())
}
