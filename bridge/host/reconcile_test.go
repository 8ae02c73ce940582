package host

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
)

func TestReconcileWithoutADeclaration(t *testing.T) {
	r := newRig(t, bare())
	require.NoError(t, r.Reconcile(t.Context()))
	assert.Empty(t, r.kernel.Steps())
	assert.Empty(t, r.heard.kinds())
	diff, err := r.Diff()
	require.NoError(t, err)
	assert.Empty(t, diff)
}

func TestReconcileBringsBack(t *testing.T) {
	for _, device := range []bridge.Name{"mgmt", "4b"} {
		t.Run(string(device), func(t *testing.T) {
			old := newRig(t, bare())
			old.must(t, declared())
			r := restart(t, old)
			before := text(t, r.kernel)
			require.NoError(t, r.Reconcile(t.Context()))
			assert.Empty(t, r.heard.kinds(), "nothing to do, nothing to tell")

			require.NoError(t, r.kernel.Remove(device))
			diff, err := r.Diff()
			require.NoError(t, err)
			assert.NotEmpty(t, diff)
			require.NoError(t, r.Reconcile(t.Context()))
			diff, err = r.Diff()
			require.NoError(t, err)
			assert.Empty(t, diff)
			if device == "4b" { // what nobody declared, such as the default route by the bridge, nobody can bring back
				assert.Equal(t, before, text(t, r.kernel))
			}
			assert.Equal(t, NetworkLost, r.heard.kinds()[0])
			assert.Equal(t, r.heard.count(NetworkLost), r.heard.count(NetworkRepaired))
			assert.Zero(t, r.heard.count(NetworkFailed))
			last := r.heard.last(t)
			assert.NotEmpty(t, last.Device)
			assert.False(t, last.Time.IsZero())
		})
	}
}

// A port that is not there yet joins when it comes.
func TestReconcileTakesALatePort(t *testing.T) {
	h := bare()
	h.Devices = slices.DeleteFunc(h.Devices, func(d bridge.Device) bool { return d.Name == "eth1" })
	r := newRig(t, h)
	r.must(t, declared())
	require.NoError(t, r.Reconcile(t.Context()))
	require.NoError(t, r.Reconcile(t.Context()))
	assert.Zero(t, r.heard.count(NetworkFailed))
	r.kernel.Change(func(h *bridge.Host) { h.Devices = append(h.Devices, port(77, "eth1")) })
	require.NoError(t, r.Reconcile(t.Context()))
	h, err := r.kernel.Host()
	require.NoError(t, err)
	assert.Equal(t, bridge.Name("4b"), h.Device("eth1").Master)
}

// Where one device fails, the others are repaired all the same; the failure is told once, and tried again after a while.
func TestReconcileGoesOnWithWhatItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newRig(t, bare())
		old.must(t, later())
		r := restart(t, old)
		for _, d := range []bridge.Name{"5c", "6d"} {
			require.NoError(t, r.kernel.Remove(d))
		}
		refuse(r.gate, "5c")
		for range 3 {
			require.NoError(t, r.Reconcile(t.Context()))
		}
		h, err := r.kernel.Host()
		require.NoError(t, err)
		assert.NotNil(t, h.Device("6d"))
		assert.Nil(t, h.Device("5c"))
		assert.Equal(t, 1, r.heard.count(NetworkFailed))

		refuse(r.gate)
		require.NoError(t, r.Reconcile(t.Context()))
		h, err = r.kernel.Host()
		require.NoError(t, err)
		assert.Nil(t, h.Device("5c"), "it is left alone for a while")
		time.Sleep(firstRetry)
		require.NoError(t, r.Reconcile(t.Context()))
		diff, err := r.Diff()
		require.NoError(t, err)
		assert.Empty(t, diff)
	})
}

// refuse has every change to some devices fail.
func refuse(g *hosttest.Gate, devices ...bridge.Name) {
	g.Keep(func(_ int, device bridge.Name) error {
		if slices.Contains(devices, device) {
			return errInjected
		}
		return nil
	})
}

// An address must not be deleted where it was when it did not arrive, or the port did not.
func TestReconcileNeverLosesAnAddress(t *testing.T) {
	for _, device := range []bridge.Name{"mgmt", "eth0"} {
		old := newRig(t, bare())
		old.must(t, declared())
		r := restart(t, old)
		r.kernel.Change(func(h *bridge.Host) { // somebody set the host up as it was
			*h = bare()
		})
		refuse(r.gate, device)
		require.NoError(t, r.Reconcile(t.Context()))
		h, err := r.kernel.Host()
		require.NoError(t, err)
		assert.Contains(t, h.Device("eth0").Addresses, bridge.Address{Prefix: netip.MustParsePrefix("10.0.0.2/24")}, device)
		assert.Equal(t, bridge.Name("eth0"), h.Routes[0].Device, "the default route stays, too, when %s fails", device)
	}
}

func TestReconcileDoesNotFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bare())
		r.must(t, declared())
		back := 0
		for range 60 { // for a minute and a half, somebody deletes it whenever it is there
			h, err := r.kernel.Host()
			require.NoError(t, err)
			if h.Device("4b") != nil {
				back++
				require.NoError(t, r.kernel.Remove("4b"))
			}
			require.NoError(t, r.Reconcile(t.Context()))
			time.Sleep(1500 * time.Millisecond)
		}
		assert.LessOrEqual(t, back, 2*repairsAMinute+1, "60 without a limit")
		assert.GreaterOrEqual(t, r.heard.count(NetworkFailed), 1)
	})
}

// A kernel that says yes and does not do it must not be asked again and again.
func TestReconcileDoesNotInsist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bare())
		r.must(t, declared())
		r.kernel.Change(func(h *bridge.Host) { h.Device("mgmt").Addresses = nil })
		asked := 0
		r.opt.Kernel = deaf{r.gate, "10.0.0.2/24", &asked}
		for range 1000 { // each change is a hint to look again
			require.NoError(t, r.Reconcile(t.Context()))
			time.Sleep(5 * time.Millisecond)
		}
		assert.LessOrEqual(t, asked, repairsAMinute)
		assert.Equal(t, 1, r.heard.count(NetworkFailed))
	})
}

// What is repaired while a declaration waits for its confirmation is undone with it.
func TestReconcileWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bare()
		h.Devices = slices.DeleteFunc(h.Devices, func(d bridge.Device) bool { return d.Name == "eth1" })
		r := newRig(t, h)
		_, err := r.Apply(t.Context(), declared(), ApplyOptions{Confirm: window})
		require.NoError(t, err)
		r.kernel.Change(func(h *bridge.Host) { h.Devices = append(h.Devices, port(77, "eth1", "192.0.2.7/24")) })
		r.kernel.Change(func(h *bridge.Host) { h.Device("mgmt").Settings[bridge.KeyUp] = "0" })
		require.NoError(t, r.Reconcile(t.Context()))
		diff, err := r.Diff()
		require.NoError(t, err)
		require.Empty(t, diff)
		time.Sleep(window)
		synctest.Wait()
		h.Devices = append(h.Devices, port(77, "eth1", "192.0.2.7/24"))
		assert.Equal(t, text(t, hosttest.New(h)), text(t, r.kernel))
		assert.Equal(t, 1, r.heard.count(ApplyUndone))
	})
}

// told is a monitor that hints when a test says so.
type told struct {
	hints  chan error
	change bridge.HostChange
	once   sync.Once
}

var errEnd = errors.New("closed")

func (m *told) Receive() (bridge.HostChange, error) {
	err, ok := <-m.hints
	if !ok {
		return bridge.HostChange{}, errEnd
	}
	return m.change, err
}

func (m *told) Close() error {
	m.once.Do(func() { close(m.hints) })
	return nil
}

// moment is a time in which nothing is waited for.
const moment = time.Nanosecond

func TestKeepingTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newRig(t, bare())
		old.must(t, declared())
		require.NoError(t, old.kernel.Remove("4b"))
		r := restart(t, old)
		mon := &told{hints: make(chan error)}
		r.Start(mon)
		there := func(after time.Duration) bool {
			time.Sleep(after)
			synctest.Wait()
			h, err := r.kernel.Host()
			require.NoError(t, err)
			return h.Device("4b") != nil
		}
		assert.True(t, there(moment), "what is amiss at the start is repaired without a hint")

		require.NoError(t, r.kernel.Remove("4b"))
		assert.False(t, there(time.Second), "nobody has told")
		for range 5 {
			mon.hints <- nil
		}
		assert.True(t, there(moment))

		require.NoError(t, r.kernel.Remove("4b"))
		mon.hints <- bridge.ErrOverflow
		assert.True(t, there(moment), "lost hints are a hint")

		require.NoError(t, r.kernel.Remove("4b"))
		assert.True(t, there(recheck+moment), "it looks by itself now and then")

		require.NoError(t, r.kernel.Remove("4b"))
		mon.change = bridge.HostChange{Links: true, Devices: []int{7}, Names: []bridge.Name{"vif1.0"}}
		mon.hints <- nil
		assert.False(t, there(time.Second), "guests' devices are no hint")
		mon.change = bridge.HostChange{}
		mon.hints <- nil
		assert.True(t, there(moment))

		refuse(r.gate, "4b")
		require.NoError(t, r.kernel.Remove("4b"))
		mon.hints <- nil
		assert.False(t, there(moment))
		refuse(r.gate)
		assert.True(t, there(firstRetry+moment), "it tries again by itself")
		require.NoError(t, r.Close())
	})
}

// A monitor that ends is no reason to end everything.
func TestKeepingEndsWithItsMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bare())
		mon := &told{hints: make(chan error)}
		r.Start(mon)
		require.NoError(t, mon.Close())
		time.Sleep(time.Second)
		require.NoError(t, r.Close())
	})
}

func TestNetworkOf(t *testing.T) {
	s := network.Spec{Networks: []network.Network{
		{Name: "management", On: "bond0", Roles: network.ServerManagement},
		{Name: "guests", ID: "4b", On: "bond0", VLAN: 13, Roles: network.VirtualMachine},
		{Name: "storage", On: "bond0", VLAN: 14, Roles: network.Storage},
	}}
	for device, want := range map[bridge.Name]string{
		"bond0": "management", "4b": "guests", "bond0.13": "guests", "bond0.14": "storage", "eth0": "", "": "",
	} {
		assert.Equal(t, want, networkOf(&s, device), device)
	}
}
