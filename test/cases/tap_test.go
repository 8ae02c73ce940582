package cases

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/toolstack"
	"vifplug/test/netns"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// emulated is a NIC that QEMU emulates as well.
var emulated = standin.NIC{Bridge: "xenbr0", Type: "vif_ioemu"}

// qemu starts a stand-in for QEMU, which has one tap.
func (h *host) qemu(tap string) *standin.QEMU {
	h.t.Helper()
	netns.Need(h.t)
	q, err := standin.StartQEMU(tap)
	require.NoError(h.t, err)
	h.t.Cleanup(q.Close)
	return q
}

// tapPort says whether a tap is what a plugged one is.
func (h *host) tapPort(name, master string, mtu int) error {
	got, err := bridgetest.Describe(name)
	want := fmt.Sprintf("tuntap %s mtu %d fe:ff:ff:ff:ff:ff master %s up", name, mtu, master)
	if err == nil && got != want {
		err = fmt.Errorf("the kernel has %q, want %q", got, want)
	}
	return err
}

// tapPlugged awaits a tap in its final state: kernel and engine say so.
func (h *host) tapPlugged(vif, name, master string, mtu int) {
	h.t.Helper()
	h.eventually(func() error {
		if err := h.tapPort(name, master, mtu); err != nil {
			return err
		}
		x, ok := h.engine.Explain(vif)
		switch {
		case !ok || x.Tap == nil:
			return fmt.Errorf("the engine knows no tap of %s", vif)
		case x.Tap.State != hotplug.Plugged || x.Tap.Name != name || x.Tap.Bridge != master || x.Tap.MTU != mtu || !x.Tap.Up:
			return fmt.Errorf("the tap of %s is %+v (%v)", vif, *x.Tap, x.Tap.Reason)
		}
		return nil
	})
}

// noTap awaits that the engine knows of no tap beside a NIC.
func (h *host) noTap(vif string) {
	h.t.Helper()
	h.eventually(func() error {
		if x, ok := h.engine.Explain(vif); ok && x.Tap != nil {
			return fmt.Errorf("%s still has a tap: %+v", vif, *x.Tap)
		}
		return nil
	})
}

// cross checks that frames go both ways between a QEMU's guest and the PV side of another.
func (h *host) cross(q *standin.QEMU, guest string) {
	h.t.Helper()
	d, err := bridgetest.OpenDevice(guest)
	require.NoError(h.t, err)
	defer d.Close()
	_, err = bridgetest.Between(q, d)
	require.NoError(h.t, err, "from the tap")
	_, err = bridgetest.Between(d, q)
	require.NoError(h.t, err, "to the tap")
}

// QEMU cuts a tap's name at 15 bytes: the tap is known all the same.
func TestCase07TapsNameThatQEMUCuts(t *testing.T) {
	h := newHost(t)
	h.start()
	q := h.qemu("vif12345.100-emu")
	require.Equal(t, "vif12345.100-em", q.Tap)
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 12345, "many", uuidOf(12345)))
	h.attach(12345, 100, emulated)
	h.tapPlugged("vif12345.100", "vif12345.100-em", "xenbr0", 1500)
}

// A vifname of which the tap's would not fit is refused at once, for both devices, in words that name the limit; the longest that fits is fine.
func TestCase07VIFNameMustLeaveRoomForTheTap(t *testing.T) {
	h := newHost(t)
	h.start()
	h.qemu("vif5.0-emu")
	h.domain(5, standin.NIC{Bridge: "xenbr0", Type: "vif_ioemu", VIFName: "testvif-twel"})
	r := h.failed(5, 0, hotplug.CodeNodeInvalid)
	assert.Contains(t, r.Error(), `vifname = "testvif-twel": is longer than 11 bytes, so that its tap testvif-twel-emu would not fit a device name. Correct the vif's line`)
	var tr *hotplug.Reason
	require.ErrorAs(t, h.engine.Plug(h.ctx(), hotplug.Key{Front: 5, Tap: true}), &tr)
	assert.Equal(t, r, tr)
	got, err := bridgetest.Describe("vif5.0-emu")
	require.NoError(t, err)
	assert.Contains(t, got, "master none down")

	h.set(5, 0, "vifname", "testvif-elf")
	h.plugged(5, 0, "testvif-elf", "xenbr0", 1500)
	h.tapPlugged("vif5.0", "testvif-elf-emu", "xenbr0", 1500)
	h.stop()
	h.start() // a renamed tap is found again
	h.tapPlugged("vif5.0", "testvif-elf-emu", "xenbr0", 1500)
	assert.Equal(t, "adopted as it stands", h.event(hotplug.TapPlugged, "vif5.0").Detail)
}

// A bridge that is made again gets its taps too, and one that somebody takes a tap off gets it back.
func TestCase09TapsReturnToTheirBridge(t *testing.T) {
	h := newHost(t)
	h.start()
	q := h.qemu("vif5.0-emu")
	h.domain(5, emulated)
	h.domain(6, standin.NIC{Bridge: "xenbr0"})
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.settle()
	require.NoError(t, bridgetest.SetMaster(q.Tap, "xenbr1"))
	assert.Equal(t, "somebody changed the port", h.event(hotplug.TapLost, "vif5.0").Detail)
	h.event(hotplug.TapBack, "vif5.0")
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	require.NoError(t, bridgetest.Delete("xenbr0"))
	assert.Equal(t, hotplug.CodeBridgeMissing, h.event(hotplug.TapLost, "vif5.0").Reason.Code)
	h.bridge("xenbr0", 1500)
	h.event(hotplug.TapBack, "vif5.0")
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.cross(q, "g6.0")
}

// The daemon ends, in whatever way, and frames go on; its successor changes nothing.
func TestCase28TapsAreAdopted(t *testing.T) {
	h := newHost(t)
	h.start()
	q := h.qemu("vif5.0-emu")
	h.domain(5, emulated)
	h.domain(6, standin.NIC{Bridge: "xenbr0"})
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.stop()
	require.NoError(t, h.tapPort(q.Tap, "xenbr0", 1500))
	h.cross(q, "g6.0")
	h.links.on(nil)
	h.start()
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	h.settle()
	assert.Empty(t, h.links.all(), "nothing was changed")
	h.cross(q, "g6.0")
}

// A tap without a backend is nobody's, and stays as it is, whatever it is called.
func TestCase30TapWithoutBackendIsLeftAlone(t *testing.T) {
	h := newHost(t)
	before := map[string]string{}
	for _, name := range []string{"vif5.0-emu", "tap5.0", "tap0"} {
		text, err := bridgetest.Describe(h.qemu(name).Tap)
		require.NoError(t, err)
		before[name] = text
	}
	h.start()
	h.settle()
	h.domain(6, standin.NIC{Bridge: "xenbr0"})
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.domain(5, standin.NIC{Bridge: "xenbr0", Type: "vif"}) // not emulated: a namesake
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.settle()
	for name, was := range before {
		is, err := bridgetest.Describe(name)
		require.NoError(t, err)
		assert.Equal(t, was, is)
	}
}

// libxl starts QEMU before it writes the backend. XAPI's name serves as well.
func TestCase30TapThatComesFirst(t *testing.T) {
	for _, name := range []string{"vif5.0-emu", "tap5.0"} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.start()
			q := h.qemu(name)
			h.settle()
			h.domain(6, standin.NIC{Bridge: "xenbr0"})
			h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
			h.domain(5, standin.NIC{Bridge: "xenbr0", Type: "vif_ioemu", MTU: 1400})
			h.tapPlugged("vif5.0", name, "xenbr0", 1400)
			h.plugged(5, 0, "vif5.0", "xenbr0", 1400)
			h.cross(q, "g6.0")
			_, err := bridgetest.Between(q, h.device("g5.0"))
			require.NoError(t, err, "the guest's own two sides share the bridge")
		})
	}
}

func (h *host) device(name string) *bridgetest.Device {
	h.t.Helper()
	d, err := bridgetest.OpenDevice(name)
	require.NoError(h.t, err)
	h.t.Cleanup(d.Close)
	return d
}

// QEMU dies: no error, and the NIC's other side does not notice. Another QEMU comes: its tap is plugged.
func TestCase30QEMUDiesAndComesAgain(t *testing.T) {
	h := newHost(t)
	h.start()
	h.domain(5, emulated)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	q := h.qemu("vif5.0-emu")
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	h.settle()
	h.events.Take()
	h.seen = nil
	q.Close()
	assert.Nil(t, h.event(hotplug.TapGone, "vif5.0").Reason)
	h.noTap("vif5.0")
	assert.Empty(t, h.kinds("vif5.0"))
	require.NoError(t, h.node(5, 0, "hotplug-error", ""))
	require.NoError(t, h.node(5, 0, "hotplug-status", "connected"))

	q = h.qemu("vif5.0-emu")
	came := time.Now()
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	assert.Less(t, time.Since(came), time.Second)

	// xl destroy: QEMU first, then the nodes
	q.Close()
	require.NoError(t, h.engine.Unplug(h.ctx(), hotplug.Key{Front: 5, Tap: true}))
	h.detach(5, 0)
	h.gone("vif5.0")
}

// A stub domain's NICs are its own and its guest's: two netdevs with one MAC, of which one is called like a tap and is none.
func TestCase31StubDomainHasTheTapInside(t *testing.T) {
	h := newHost(t)
	h.start()
	const mac = "00:16:3e:00:05:00"
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 6, "web01-dm", uuidOf(6)))
	require.NoError(t, h.store.Write(h.ctx(), "/local/domain/6/target", "5"))
	h.attach(6, 0, standin.NIC{Bridge: "xenbr0", Type: "vif", MAC: mac, VIFName: "vif5.0-emu"})
	h.plugged(6, 0, "vif5.0-emu", "xenbr0", 1500)
	require.NoError(t, h.tools.CreateDomain(h.ctx(), 5, "web01", uuidOf(5)))
	require.NoError(t, h.store.Write(h.ctx(), "/local/domain/5/image/device-model-domid", "6"))
	h.attach(5, 0, standin.NIC{Bridge: "xenbr0", Type: "vif_ioemu", MAC: mac})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	require.NoError(t, h.engine.Plug(h.ctx(), hotplug.Key{Front: 5, Tap: true}), "whoever asks for the tap is content")
	h.settle()
	for _, vif := range []string{"vif5.0", "vif6.0"} {
		x, ok := h.engine.Explain(vif)
		require.True(t, ok)
		assert.Equal(t, hotplug.Plugged, x.State)
		assert.Nil(t, x.Tap)
		assert.Nil(t, x.Reason)
	}
	_, err := bridgetest.Frame("g6.0", "g5.0")
	require.NoError(t, err)
}

// The PV drivers have taken the emulated NIC away: the tap stays a port, quiet and with all that a port has, and the guest's frames go by the vif.
func TestCase32TapStaysAfterThePVUnplug(t *testing.T) {
	h := newHost(t)
	h.start()
	q := h.qemu("vif5.0-emu")
	h.domain(5, emulated)
	h.domain(6, standin.NIC{Bridge: "xenbr0"})
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	h.plugged(6, 0, "vif6.0", "xenbr0", 1500)
	h.eventually(func() error { return h.node(5, 0, "state", "4") })
	h.settle()
	h.links.on(nil)
	_, err := bridgetest.Frame("g5.0", "g6.0")
	require.NoError(t, err)
	h.set(5, 0, "state", "6") // the PV driver goes, as at a kexec, and comes again
	h.set(5, 0, "state", "4")
	h.settle()
	assert.Empty(t, h.links.all())
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	x, _ := h.engine.Explain("vif5.0-emu")
	assert.Equal(t, "vif5.0", x.VIF, "it is known by its tap's name")

	// The node says another bridge: both go.
	h.set(5, 0, "bridge", "xenbr1")
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)
	h.tapPlugged("vif5.0", q.Tap, "xenbr1", 1500)
}

// xl network-detach: QEMU lives on, and its tap with it, but it is no port any more.
func TestTapOfADetachedNICIsReleased(t *testing.T) {
	h := newHost(t)
	h.start()
	q := h.qemu("vif5.0-emu")
	h.domain(5, emulated)
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	h.detach(5, 0)
	h.gone("vif5.0")
	h.eventually(func() error {
		got, err := bridgetest.Describe(q.Tap)
		if err == nil && got != "tuntap vif5.0-emu mtu 1500 fe:ff:ff:ff:ff:ff master none down" {
			err = fmt.Errorf("the kernel has %q", got)
		}
		return err
	})
}

// Backends of a domain that is not number 0, and a tap that is there; one that is not is not this domain's affair.
func TestCase42TapsInAnotherDomainThanZero(t *testing.T) {
	h := driverDomain(t)
	h.start()
	h.domain(5, emulated)
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	require.NoError(t, h.engine.Plug(h.ctx(), hotplug.Key{Front: 5, Tap: true}), "`xl devd` asks for taps of dom0's")
	q := h.qemu("vif5.0-emu")
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	require.NoError(t, h.engine.Plug(h.ctx(), hotplug.Key{Front: 5, Tap: true}))
	assert.NotContains(t, h.log.String(), "EACCES")
}

// vif-plug without a daemon does a tap as well, and only that.
func TestOnceTap(t *testing.T) {
	h := bareHost(t, "")
	q := h.qemu("vif5.0-emu")
	tap := hotplug.Key{Front: 5, Tap: true}
	require.NoError(t, hotplug.Once(h.ctx(), h.store, tap, true, h.policy, h.t.TempDir()), "no backend yet: nothing to do")
	h.domain(5, standin.NIC{Bridge: "xenbr0", State: "2", Type: "vif_ioemu", VIFName: "testweb"})
	require.NoError(t, hotplug.Once(h.ctx(), h.store, tap, true, h.policy, h.t.TempDir()))
	require.NoError(t, h.tapPort("testweb-emu", "xenbr0", 1500))
	require.NoError(t, h.node(5, 0, "hotplug-status", ""))
	require.NoError(t, h.tools.Detach(h.ctx(), 5, 0))
	require.NoError(t, hotplug.Once(h.ctx(), h.store, tap, false, h.policy, h.t.TempDir()))
	text, err := bridgetest.Describe("testweb-emu")
	require.NoError(t, err)
	assert.Equal(t, "tuntap testweb-emu mtu 1500 fe:ff:ff:ff:ff:ff master none down", text)
	q.Close()
	require.NoError(t, hotplug.Once(h.ctx(), h.store, tap, false, h.policy, h.t.TempDir()), "QEMU is dead as a rule")
	var r *hotplug.Reason
	h.policy.NetdevWait = 30 * time.Millisecond
	require.NoError(t, h.store.Write(h.ctx(), h.dir(5, 0)+"/online", "1"))
	require.ErrorAs(t, hotplug.Once(h.ctx(), h.store, tap, true, h.policy, h.t.TempDir()), &r)
	assert.Equal(t, hotplug.CodeTapMissing, r.Code)
	require.NoError(t, h.node(5, 0, "hotplug-error", r.Error()))
	require.NoError(t, h.node(5, 0, "hotplug-status", ""), "the netdev's")
}

// A tap costs the same at 1 and at 50, and an engine with many does nothing when nothing happens.
func TestManyTaps(t *testing.T) {
	h := newHost(t)
	h.start()
	const taps = 50
	for id := xenstore.DomID(5); id < 5+taps; id++ {
		h.qemu(standin.VIF(int(id), 0) + "-emu")
		h.domain(id, emulated)
	}
	for id := 5; id < 5+taps; id++ {
		h.tapPlugged(standin.VIF(id, 0), standin.VIF(id, 0)+"-emu", "xenbr0", 1500)
	}
	all := func(request) bool { return true }
	h.eventually(func() error {
		h.settle() // what the last work has brought about
		h.links.on(nil)
		requests := h.proxy.count(all)
		h.settle()
		if links, more := h.links.readCount(), h.proxy.count(all)-requests; links+more > 0 {
			return fmt.Errorf("%d looks at links, %d requests to the store while nothing happens", links, more)
		}
		return nil
	})
}

// Taps go where their NICs go, by the names of declared networks, and are refused where those are.
func TestTapsOfDeclaredNetworks(t *testing.T) {
	h := newHost(t)
	h.declare()
	h.start()
	q := h.qemu("vif5.0-emu")
	h.domain(5, standin.NIC{Bridge: "guests-of-the-second-floor", Type: "vif_ioemu"})
	h.plugged(5, 0, "vif5.0", "xenbr0", 1500)
	h.tapPlugged("vif5.0", q.Tap, "xenbr0", 1500)
	alias := func() string {
		b, err := h.links.LinkByName("vif5.0-emu")
		require.NoError(t, err)
		return b.Alias
	}
	assert.Equal(t, "vifplug: domain guest5 (5) eth0 tap on guests-of-the-second-floor", alias())

	k := hotplug.Key{Front: 5}
	require.NoError(t, toolstack.New(h.engine).Move(h.ctx(), k, toolstack.Place{Network: "backup"}))
	require.NoError(t, h.engine.Follow(h.ctx(), k))
	h.plugged(5, 0, "vif5.0", "xenbr1", 1500)
	h.tapPlugged("vif5.0", q.Tap, "xenbr1", 1500)
	assert.Contains(t, h.event(hotplug.TapChanged, "vif5.0").Detail, "move from xenbr0 to xenbr1")
	assert.Equal(t, "vifplug: domain guest5 (5) eth0 tap on backup", alias())

	h.set(5, 0, "bridge", "management")
	h.failed(5, 0, hotplug.CodeNetworkRole)
	r := h.event(hotplug.TapFailed, "vif5.0").Reason
	assert.Equal(t, hotplug.CodeNetworkRole, r.Code)
	require.NoError(t, h.tapPort(q.Tap, "xenbr1", 1500), "it stays until the NIC is moved or detached")
}
