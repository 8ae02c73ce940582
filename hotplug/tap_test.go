package hotplug

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

var theTap = Key{Front: 5, Tap: true}

// bornTap is a tap as QEMU leaves it, of a NIC that netback has begun with.
func bornTap() Facts {
	f := born()
	f.Key, f.Node.Type = theTap, typeIOEmu
	f.Link = &bridge.Link{Index: 10, Name: "vif5.0-emu", Kind: tunKind, MAC: bridge.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500, MaxMTU: 65521, Up: true}
	return f
}

func settledTap() Facts {
	f := bornTap()
	f.Node.State, f.Node.Status = StateConnected, statusConnected
	f.Link.Master, f.Link.MAC, f.Link.NoAddrGen, f.Link.Alias, f.Master = 3, portMAC, true, portAlias(f), "xenbr0"
	return f
}

// The numbers in the names are the rows of section 9 of the specification of Xen's hotplug.
func TestDecideTap(t *testing.T) {
	adopted := Memory{State: Plugged, Ifindex: 10, MTU: 1500}
	plug := `plugged
ignore router advertisements
no IPv6 address of its own
MAC fe:ff:ff:ff:ff:ff (was 02:00:00:00:00:01)
mark it
put on xenbr0
read the port back`
	for _, c := range []struct {
		name string
		f    Facts
		m    Memory
		want string
	}{
		{"30 plain plug, hotplug-status is not its affair", bornTap(), Memory{}, plug},
		{"30 however far netback is", with(bornTap(), func(f *Facts) { f.Node.State = StateInitialising }), Memory{}, plug},
		{"30 also where netback has failed", with(bornTap(), func(f *Facts) { f.Node.State, f.KernelError = StateClosing, "17 x" }), Memory{}, plug},
		{"30 before there is a backend", with(bornTap(), func(f *Facts) { f.Node, f.Bridge = nil, nil }), Memory{}, "gone"},
		{"30 a backend of another type", with(bornTap(), func(f *Facts) { f.Node.Type = "vif" }), Memory{}, "seen tap-unpaired final"},
		{"30 a backend that says no type", with(bornTap(), func(f *Facts) { f.Node.Type = "" }), Memory{}, "seen tap-unpaired final"},
		{"made for vif-loop, of which libxl knows nothing", with(bornTap(), func(f *Facts) {
			f.Node.Type, f.Link.Kind, f.Link.Name, f.Link.Alias = "vif", "veth", "tap5.0", network.MadeTapAlias(5, 0, "socket")
		}), Memory{}, plug},
		{"30 QEMU is gone", with(settledTap(), func(f *Facts) { f.Link = nil }), adopted, "gone"},
		{"30 QEMU is gone, and somebody waits", with(bornTap(), func(f *Facts) { f.Link, f.Awaited = nil, true }), Memory{}, "seen tap-missing again 10s"},
		{"30 who waited may have given up", with(bornTap(), func(f *Facts) { f.Link = nil }), Memory{NetdevSince: epoch.Add(-4 * time.Second)}, "seen tap-missing again 6s"},
		{"30 it never came", with(bornTap(), func(f *Facts) { f.Link, f.Awaited = nil, true }), Memory{NetdevSince: epoch.Add(-10 * time.Second)}, "failed tap-missing final"},
		{"31 awaited, and inside a stub domain", with(bornTap(), func(f *Facts) { f.Link, f.Awaited, f.Elsewhere = nil, true, true }), Memory{}, "gone"},
		{"awaited, and the NIC is not emulated", with(bornTap(), func(f *Facts) { f.Link, f.Awaited, f.Node.Type = nil, true, "vif" }), Memory{}, "seen tap-unpaired final"},
		{"awaited, and the NIC goes", with(bornTap(), func(f *Facts) { f.Link, f.Awaited, f.Node.Online = nil, true, false }), Memory{}, "gone"},
		{"28 right already", settledTap(), Memory{}, "plugged"},
		{"32 the PV drivers have taken over", with(settledTap(), func(f *Facts) { f.Node.State = StateConnected }), adopted, "plugged"},
		{"32 the guest closed its side, online", with(settledTap(), func(f *Facts) { f.Node.State = StateClosed }), adopted, "plugged"},
		{"taken off its bridge", with(settledTap(), func(f *Facts) { f.Link.Master, f.Master = 0, "" }), adopted, "plugged\nput on xenbr0\nread the port back"},
		{"set down", with(settledTap(), func(f *Facts) { f.Link.Up = false }), adopted, "plugged\nup\nread the port back"},
		{"11 a port elsewhere, not ours", with(bornTap(), func(f *Facts) { f.Link.Master, f.Master = 7, "br7" }), Memory{}, "failed port-elsewhere final"},
		{"8 bridge missing", with(bornTap(), func(f *Facts) { f.Bridge = nil }), Memory{}, "ready bridge-missing again 30s"},
		{"6 a value that fits no grammar", with(bornTap(), func(f *Facts) {
			f.NodeProblem = &Problem{Node: "vifname", Value: "a/b", Err: fmt.Errorf("has a slash")}
		}), Memory{}, "failed node-invalid final"},
		{"left to vif-route", with(bornTap(), func(f *Facts) { f.Node.Script = "vif-route" }), Memory{}, "seen other-script final"},
		{"4 renamed", with(settledTap(), func(f *Facts) { f.Node.VIFName = "web" }), Memory{}, `plugged
take the device down to rename it
rename vif5.0-emu to web-emu
up
read the port back`},
		{"3 renamed already", with(settledTap(), func(f *Facts) { f.Node.VIFName, f.Link.Name = "web", "web-emu" }), Memory{}, "plugged"},
		{"5 the name is taken", with(bornTap(), func(f *Facts) {
			f.Node.VIFName, f.NameOwner = "web", &bridge.Link{Index: 99, Name: "web-emu", Kind: "dummy"}
		}), Memory{}, "failed name-taken final"},
		{"33 MTU of the node", with(settledTap(), func(f *Facts) { f.Node.MTU, f.Bridge.MTU = 9000, 9000 }), adopted, "plugged\nMTU 9000 (was 1500)\nread the port back"},
		{"33 MTU of the bridge", with(bornTap(), func(f *Facts) { f.Bridge.MTU, f.Link.NoAddrGen, f.Link.MAC = 1400, true, portMAC }), Memory{}, `plugged
MTU 1400 (was 1500)
mark it
put on xenbr0
read the port back`},
		{"33 the bridge follows its smallest port, the tap does not", with(settledTap(), func(f *Facts) { f.Bridge.MTU, f.Link.MTU = 1400, 1400 }), adopted, `plugged
MTU 1500 (was 1400)
read the port back
note: MTU 1500 is more than the 1400 of its bridge xenbr0, which is the narrow link: longer frames are lost there`},
		{"33 a standing tap is adopted with its MTU", with(settledTap(), func(f *Facts) { f.Bridge.MTU = 9000 }), Memory{}, "plugged"},
		{"33 and follows a declared network", with(settledTap(), func(f *Facts) {
			f.Node.Network, f.Bridge.MTU = &Network{Name: "guests", ID: "xenbr0", Guests: true}, 9000
			f.Link.Alias = portAlias(*f)
		}), Memory{}, "plugged\nMTU 9000 (was 1500)\nread the port back"},
		{"33 no clamp for a tap", with(settledTap(), func(f *Facts) { f.Node.MTU, f.Bridge.MTU, f.Link.MTU = 9000, 9000, 1500 }), Memory{State: Plugged, Ifindex: 10, MTU: 9000}, "plugged\nMTU 9000 (was 1500)\nread the port back"},
		{"33 MTU above the device's", with(bornTap(), func(f *Facts) { f.Node.MTU, f.Link.MaxMTU = 9000, 1500 }), Memory{}, "failed mtu-too-big final"},
		{"network without the role", with(bornTap(), func(f *Facts) { f.Node.Network = &Network{Number: 1, Name: "storage", Roles: "storage"} }), Memory{}, "failed network-role final"},
		{"VLAN of a bridge that does not filter", with(bornTap(), func(f *Facts) { f.Node.VLAN = 5 }), Memory{}, "failed network-vlan final"},
		{"VLAN of its own", with(bornTap(), func(f *Facts) { f.Node.VLAN, f.Bridge.Filtering, f.Link.NoAddrGen, f.Link.MAC = 5, true, true, portMAC }), Memory{}, `plugged
take the port down until it has its VLAN
mark it
put on xenbr0
take part in VLAN 5 alone, untagged
up
read the port back`},
		{"detached, not asked yet", with(settledTap(), func(f *Facts) { f.Node.Online = false }), adopted, "draining"},
		{"detached, asked", with(settledTap(), func(f *Facts) { f.Node.Online = false }), Memory{State: Plugged, OfflineAsked: true}, `draining
take the port down
release the port from xenbr0`},
		{"22 node vanished under a plugged tap", with(settledTap(), func(f *Facts) { f.Node, f.Bridge = nil, nil }), adopted, "draining backend-gone"},
		{"detached, QEMU lives on", with(settledTap(), func(f *Facts) { f.Node, f.Bridge, f.Domain.UUID = nil, nil, "u-5" }), adopted, `draining
take the port down
release the port from xenbr0`},
		{"detached while no daemon ran", with(settledTap(), func(f *Facts) { f.Node, f.Bridge, f.Domain.UUID = nil, nil, "u-5" }), Memory{}, `draining
take the port down
release the port from xenbr0`},
		{"detached, a port that is not ours", with(bornTap(), func(f *Facts) {
			f.Node, f.Bridge, f.Domain.UUID, f.Link.Master, f.Master = nil, nil, "u-5", 7, "br7"
		}), Memory{State: Seen}, "draining backend-gone"},
		{"node vanished after the release", with(bornTap(), func(f *Facts) { f.Node, f.Bridge = nil, nil }), Memory{State: Draining}, "gone"},
		{"27 QEMU came again", with(bornTap(), func(f *Facts) { f.Link.Index = 11 }), adopted, plug},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, text(Decide(c.f, c.m, epoch, DefaultPolicy())))
		})
	}
}

// QEMU cuts at 15 bytes, and what it has made is known again.
func TestTapNames(t *testing.T) {
	for name, want := range map[string]Key{
		"vif5.0-emu": {Front: 5}, "vif12345.10-emu": {Front: 12345, Device: 10}, "vif12345.100-em": {Front: 12345, Device: 100},
		"vif12345.1000-e": {Front: 12345, Device: 1000}, "vif12345.10000-": {Front: 12345, Device: 10000}, "tap5.1": {Front: 5, Device: 1},
	} {
		k, err := ParseTap(name)
		require.NoError(t, err, name)
		assert.Equal(t, want.tap(), k, name)
	}
	for _, name := range []string{"", "vif5.0", "vif5.0-em", "vif5.0-", "web-emu", "tap0", "tap5.0-emu", "vif05.0-emu", "vif5.0-emu2", "vif5.-emu", "vif99999.0-emu"} {
		_, err := ParseTap(name)
		assert.Error(t, err, name)
	}
	assert.Equal(t, "vif5.0-emu", theTap.String())
	rapid.Check(t, func(t *rapid.T) {
		k := Key{Front: 5, Device: rapid.Uint32Range(0, 99999).Draw(t, "device"), Tap: true}
		k.Front = k.Front + 32000
		again, err := ParseTap(k.TapName())
		require.NoError(t, err)
		require.Equal(t, k, again)
	})
}

func TestTapOf(t *testing.T) {
	for _, c := range []struct {
		l    bridge.Link
		want string
	}{
		{bridge.Link{Name: "vif5.0-emu", Kind: tunKind}, "vif5.0-emu"},
		{bridge.Link{Name: "web-emu", Kind: tunKind, Alias: network.TapAlias("web", 5, 0, "guests", "")}, "vif5.0-emu"},
		{bridge.Link{Name: "vif6.0-emu", Kind: tunKind, Alias: network.TapAlias("web", 5, 0, "guests", "")}, "vif5.0-emu"}, // a vifname of vif6.0
		{bridge.Link{Name: "tap5.0", Kind: "veth", Alias: network.MadeTapAlias(5, 0, "socket")}, "vif5.0-emu"},
		{bridge.Link{Name: "web-emu", Kind: tunKind, Alias: network.PortAlias("web", 5, 0, "guests")}, ""},
		{bridge.Link{Name: "web-emu", Kind: tunKind}, ""},
		{bridge.Link{Name: "vif5.0-emu", Parent: "vif-6-0", ParentBus: backendBus}, ""}, // a stub domain's netdev
	} {
		k, ok := tapOf(c.l)
		assert.Equal(t, c.want != "", ok, c.l)
		if ok {
			assert.Equal(t, c.want, k.String())
		}
	}
}

// tap makes QEMU's tap in the kernel in memory.
func (k *kernel) tap(name string) int {
	return k.add(bridge.Link{Name: bridge.Name(name), Kind: tunKind, MAC: bridge.MAC{2}, MTU: 1500, MaxMTU: 65521, Up: true})
}

func (w *world) attachEmulated() {
	w.attach("xenbr0")
	w.write(back+"/type", typeIOEmu, "/libxl/5/device/vif/0/backend", back)
}

// QEMU's first, then the toolstack; then QEMU ends, and another comes.
func TestTapOfEarlyQEMUIsPluggedWithItsBackend(t *testing.T) {
	w := newWorld(t, nil)
	i := w.kernel.tap("vif5.0-emu")
	require.NoError(t, w.Alive(t.Context()))
	w.eventually(func() bool { return len(w.keys()) == 0 }) // nobody's tap
	w.attachEmulated()
	ev := w.next(TapPlugged)
	assert.Equal(t, []string{"vif5.0", "vif5.0-emu", "xenbr0", "web01"}, []string{ev.VIF, ev.Netdev, ev.Bridge, ev.Domain.Name})
	l := w.link(i)
	assert.Equal(t, "vifplug: domain web01 (5) eth0 tap on xenbr0", l.Alias)
	assert.Equal(t, portMAC, l.MAC)
	assert.Empty(t, w.read(back+"/hotplug-status"), "the netdev's affair alone")

	w.kernel.vif(Key{Front: 5})
	w.next(NICPlugged)
	s := w.Status()
	require.Len(t, s, 1)
	require.NotNil(t, s[0].Tap)
	s[0].Tap.Since = time.Time{}
	assert.Equal(t, TapStatus{Name: "vif5.0-emu", Index: i, MTU: 1500, Up: true, Bridge: "xenbr0", State: Plugged}, *s[0].Tap)
	g := w.Guests()
	require.Len(t, g, 2)
	assert.Equal(t, []bool{false, true}, []bool{g[0].Tap, g[1].Tap})
	assert.Equal(t, bridge.Name("vif5.0-emu"), g[1].Device)
	for _, name := range []string{"vif5.0", "vif5.0-emu"} {
		x, ok := w.Explain(name)
		require.True(t, ok, name)
		assert.Equal(t, "vif5.0", x.VIF)
		assert.NotEmpty(t, x.TapRuns)
	}

	w.kernel.delete(i)
	assert.Nil(t, w.next(TapGone).Reason, "no error")
	w.eventually(func() bool { return w.Status()[0].Tap == nil })
	assert.Equal(t, Plugged, w.Status()[0].State)
	i = w.kernel.tap("tap5.0")
	w.next(TapPlugged)
	assert.NotZero(t, w.link(i).Master, "by XAPI's name as well")
}

// What only looks like the tap is left alone: another kind of device, and a tap whose backend is no emulated NIC's.
func TestTapThatIsNone(t *testing.T) {
	w := newWorld(t, nil)
	i := w.kernel.add(bridge.Link{Name: "vif5.0-emu", Kind: "veth", MTU: 1500})
	w.attachEmulated()
	w.kernel.vif(Key{Front: 5})
	w.next(NICPlugged)
	require.NoError(t, w.Alive(t.Context()))
	assert.Zero(t, w.link(i).Master)
	assert.Nil(t, w.Status()[0].Tap)
	w.kernel.delete(i)

	w.write(back+"/type", "vif")
	i = w.kernel.tap("vif5.0-emu")
	ev := w.next(TapSeen)
	assert.Nil(t, ev.Reason)
	var r *Reason
	require.ErrorAs(t, w.Plug(t.Context(), theTap), &r)
	assert.Equal(t, CodeTapUnpaired, r.Code)
	assert.Equal(t, `the tap of vif5.0 has no backend of type vif_ioemu: that NIC's is "vif". Say type=ioemu in the guest's vif line if QEMU is to emulate this NIC; otherwise nothing.`, r.Error())
	assert.Zero(t, w.link(i).Master)
	w.write(back+"/type", typeIOEmu)
	w.next(TapPlugged)
	assert.Len(t, w.keys(), 2)
}

// A NIC that is not emulated costs nothing for taps.
func TestNICWithoutTapHasNoSecondWorker(t *testing.T) {
	w := newWorld(t, nil)
	w.kernel.vif(Key{Front: 5})
	w.attach("xenbr0")
	w.write(back+"/type", "vif")
	w.next(NICPlugged)
	w.Resync(t.Context())
	require.NoError(t, w.Alive(t.Context()))
	assert.Equal(t, []Key{{Front: 5}}, w.keys())
}

func TestPlugTapWaits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Policy.NetdevWait = 20 * time.Second })
	require.NoError(t, w.Plug(t.Context(), theTap), "there is no backend: nothing to do yet, as when udev tells of QEMU's tap")
	w.attachEmulated()
	answer := make(chan error, 1)
	go runAskTap(w.Engine, answer)
	w.next(TapSeen)
	w.kernel.tap("vif5.0-emu")
	require.NoError(t, <-answer)
	require.NoError(t, w.Plug(t.Context(), theTap), "and again: idempotent")
}

func runAskTap(e *Engine, answer chan<- error) { answer <- e.Plug(e.ctx, theTap) }

// A tap that fails is told as the stock script tells it, but the netdev beside it is none the worse, and nothing stays behind.
func TestTapThatFails(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Policy.NetdevWait = 10 * time.Millisecond })
	w.kernel.vif(Key{Front: 5})
	w.attachEmulated()
	w.next(NICPlugged)
	var r *Reason
	require.ErrorAs(t, w.Plug(t.Context(), theTap), &r)
	assert.Equal(t, CodeTapMissing, r.Code)
	assert.Contains(t, r.Error(), "QEMU's tap vif5.0-emu did not appear within 10ms. Look into QEMU's log")
	assert.Equal(t, r, w.next(TapFailed).Reason)
	w.eventually(func() bool { return w.read(back+"/hotplug-error") == r.Error() })
	assert.Equal(t, "connected", w.read(back+"/hotplug-status"), "or netback would not connect the netdev")
	require.NoError(t, w.Alive(t.Context()))
	s := w.Status()[0]
	assert.Equal(t, Plugged, s.State)
	assert.Nil(t, s.Reason)
	assert.Equal(t, Failed, s.Tap.State)
	assert.Equal(t, "vif5.0-emu", s.Tap.Name)
	assert.Len(t, w.Guests(), 1, "there is no port to show")

	w.kernel.tap("vif5.0-emu")
	w.next(TapPlugged)
	w.eventually(func() bool { return w.read(back+"/hotplug-error") == "" })
	assert.Equal(t, "connected", w.read(back+"/hotplug-status"))
}

// The netdev's failure is not the tap's, and its words stay.
func TestTapOfAFailedNIC(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Policy.NetdevWait = 10 * time.Millisecond })
	w.attachEmulated()
	r := w.next(NICFailed).Reason
	w.eventually(func() bool { return w.read(back+"/hotplug-status") == "error" })
	w.kernel.tap("vif5.0-emu")
	w.next(TapPlugged)
	assert.Equal(t, r.Error(), w.read(back+"/hotplug-error"))
	assert.Equal(t, "error", w.read(back+"/hotplug-status"))
}

// Where the tap is not to be here, whoever asks for it is told that all is well: at once.
func TestTapThatIsElsewhere(t *testing.T) {
	t.Run("in a stub domain", func(t *testing.T) {
		w := newWorld(t, nil)
		w.attachEmulated()
		w.write("/local/domain/5/image/device-model-domid", "6")
		require.NoError(t, w.Plug(within(t, 5*time.Second), theTap))
	})
	t.Run("in dom0, and this is a driver domain", func(t *testing.T) {
		w := newWorld(t, nil)
		w.attach("xenbr0")
		w.write(back+"/type", typeIOEmu)
		require.NoError(t, w.Plug(within(t, 5*time.Second), theTap))
	})
}

// remove type_if=tap: QEMU is dead as a rule; a tap that lingers is released, for its NIC is going.
func TestUnplugTap(t *testing.T) {
	w := newWorld(t, nil)
	require.NoError(t, w.Unplug(t.Context(), theTap), "gone already")
	i := w.kernel.tap("vif5.0-emu")
	w.attachEmulated()
	w.next(TapPlugged)
	require.NoError(t, w.Unplug(t.Context(), theTap))
	assert.NotZero(t, w.link(i).Master, "its NIC is not going: udev tells of another tap that went")
	w.write(back+"/online", "0", back+"/state", "5")
	w.next(TapDraining)
	require.NoError(t, w.Unplug(t.Context(), theTap))
	assert.Zero(t, w.link(i).Master)
	assert.False(t, w.link(i).Up)
	require.NoError(t, w.store.Remove(t.Context(), back))
	w.next(TapGone)
	w.eventually(func() bool { return len(w.keys()) == 0 })
}

// The same domid, another guest: what was known of the old one's tap counts no more.
func TestTapOfAnotherIncarnation(t *testing.T) {
	w := newWorld(t, nil)
	w.kernel.tap("vif5.0-emu")
	w.attachEmulated()
	w.next(TapPlugged)
	w.write("/local/domain/5/name", "db01", "/local/domain/5/vm", "/vm/u-6")
	w.Resync(t.Context())
	assert.Equal(t, "web01", w.next(TapGone).Domain.Name)
	assert.Equal(t, "db01", w.next(TapPlugged).Domain.Name)
}
