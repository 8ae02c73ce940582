package paths

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

func wish() Wish {
	return Wish{Port: "vif5.0-emu", NIC: "5.0", Name: "vif5.0-emu", Index: 10, Bridge: 3, MTU: 1500, MAC: bridge.MAC{0, 0x16, 0x3e, 0, 0, 5}, Path: Auto, Guard: Off}
}

// plain is a port on a bridge of which nothing stands against the shortcut.
func plain() Facts {
	return Facts{
		Port:   bridge.BridgePort{Index: 10, Bridge: 3, State: bridge.PortForwarding, Learning: true},
		Switch: bridge.Switch{Index: 3, Ageing: 300e9}, Mode: "tcx", Advice: "turn it off",
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Wish, *Facts)
		want   string // path/mode, what is on, and the reason
		text   string
	}{
		{"auto", func(*Wish, *Facts) {}, "shortcut/tcx redirect", "nothing stands against"},
		{"asked for", func(w *Wish, _ *Facts) { w.Path = Shortcut }, "shortcut/tcx redirect", "path = shortcut is asked for"},
		{"older kernel", func(_ *Wish, f *Facts) { f.Mode = "clsact" }, "shortcut/clsact redirect", "nothing"},
		{"bridge", func(w *Wish, _ *Facts) { w.Path = Bridge }, "bridge", "path = bridge is asked for"},
		{"bridge, guarded", func(w *Wish, _ *Facts) { w.Path, w.Guard = Bridge, MAC }, "bridge guard", "path = bridge is asked for"},
		{"auto, guarded", func(w *Wish, _ *Facts) { w.Guard = MAC }, "shortcut/tcx redirect guard", "nothing"},
		{"socket without it", func(w *Wish, _ *Facts) { w.Path = Socket }, "bridge", "QEMU has not been started on vif-loop's socket"},
		{"socket", func(w *Wish, _ *Facts) { w.Made = Socket }, "socket redirect", "vif-loop carries its frames; the shortcut is behind"},
		{"socket, and the bridge behind", func(w *Wish, _ *Facts) { w.Made, w.Path = Socket, Bridge }, "socket", "vif-loop carries its frames"},
		{"af-xdp without it", func(w *Wish, _ *Facts) { w.Path = AFXDP }, "bridge", "vifctl tap create --af-xdp"},
		{"af-xdp", func(w *Wish, _ *Facts) { w.Made = AFXDP }, "af-xdp redirect", "AF_XDP rings of this port's other end; the shortcut is behind"},
		{"no eBPF", func(_ *Wish, f *Facts) { f.NoKernel = errors.New("no eBPF here") }, "bridge", "no shortcut: no eBPF here"},
		{"no eBPF, guard wanted", func(w *Wish, f *Facts) { f.NoKernel, w.Guard = errors.New("no eBPF here"), MAC }, "bridge", "no shortcut: no eBPF here"},
		{"no MAC", func(w *Wish, _ *Facts) { w.MAC, w.Guard = bridge.MAC{}, MAC }, "bridge", "names no MAC address"},
		{"a group's MAC", func(w *Wish, _ *Facts) { w.MAC = bridge.MAC{1} }, "bridge", "01:00:00:00:00:00 is a group's"},
		{"spanning tree", func(_ *Wish, f *Facts) { f.Switch.STP = true }, "bridge", "spanning tree"},
		{"ageing 0", func(_ *Wish, f *Facts) { f.Switch.Ageing = 0 }, "bridge", "ageing 0"},
		{"short ageing", func(_ *Wish, f *Facts) { f.Switch.Ageing = 19e9 }, "bridge", "forgets a station after 19s"},
		{"ageing just long enough", func(_ *Wish, f *Facts) { f.Switch.Ageing = 20e9 }, "shortcut/tcx redirect", ""},
		{"listening", func(_ *Wish, f *Facts) { f.Port.State = bridge.PortListening }, "bridge", "not forwarding"},
		{"hairpin", func(_ *Wish, f *Facts) { f.Port.Hairpin = true }, "bridge", "hairpin"},
		{"isolated", func(_ *Wish, f *Facts) { f.Port.Isolated = true }, "bridge", "isolated"},
		{"learning off", func(_ *Wish, f *Facts) { f.Port.Learning = false }, "bridge", "learning is off"},
		{"locked", func(_ *Wish, f *Facts) { f.Port.Locked = true }, "bridge", "locked"},
		{"foreign program", func(_ *Wish, f *Facts) { f.Foreign = []string{"an XDP program"} }, "bridge", "on vif5.0-emu there is an XDP program, which vifplug did not put there"},
		{"firewall", func(_ *Wish, f *Facts) { f.Filters = []string{"nftables: bridge x"} }, "bridge", "nftables: bridge x"},
		{"filtering, one VLAN", func(_ *Wish, f *Facts) { f.Switch.Filtering, f.VLANs = true, []bridge.PortVLAN{own(13)} }, "shortcut/tcx redirect vlan 13", "nothing"},
		{"filtering, two VLANs", func(_ *Wish, f *Facts) { f.Switch.Filtering, f.VLANs = true, []bridge.PortVLAN{own(13), own(14)} }, "bridge", "filters VLANs"},
		{"filtering, none", func(_ *Wish, f *Facts) { f.Switch.Filtering = true }, "bridge", "filters VLANs"},
		{"filtering, tagged", func(_ *Wish, f *Facts) { f.Switch.Filtering, f.VLANs = true, []bridge.PortVLAN{{From: 13, To: 13}} }, "bridge", "filters VLANs"},
	} {
		w, f := wish(), plain()
		c.change(&w, &f)
		got := Choose(w, f)
		assert.Equal(t, c.want, short(got), c.name)
		assert.Contains(t, got.Reason, c.text, c.name)
	}
}

func own(id int) bridge.PortVLAN {
	return bridge.PortVLAN{From: id, To: id, PVID: true, Untagged: true}
}

func short(c Choice) string {
	text := c.With()
	if c.Redirect {
		text += " redirect"
	}
	if c.Guarded {
		text += " guard"
	}
	if c.VLAN != 0 {
		text += " vlan 13"
	}
	return text
}

// A path that lets frames by what the bridge or a rule would do with them is never taken, whatever is asked; and every choice says why.
func TestChooseNeverByAnObstacle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, f := wish(), plain()
		w.Path = Path(rapid.SampledFrom(network.Paths).Draw(t, "path"))
		w.Made = Path(rapid.SampledFrom([]string{"", "socket", "af-xdp"}).Draw(t, "made"))
		w.Guard = Guard(rapid.SampledFrom(network.Guards).Draw(t, "guard"))
		flag := func(name string) bool { return rapid.IntRange(0, 5).Draw(t, name) == 0 }
		f.Port.Hairpin, f.Port.Isolated, f.Port.Locked, f.Switch.STP, f.Switch.Filtering = flag("hairpin"), flag("isolated"), flag("locked"), flag("stp"), flag("filtering")
		if flag("foreign") {
			f.Foreign = []string{"x"}
		}
		if flag("rules") {
			f.Filters = []string{"x"}
		}
		if flag("kernel") {
			f.NoKernel = errors.New("none")
		}
		c := Choose(w, f)
		clean := !f.Port.Hairpin && !f.Port.Isolated && !f.Port.Locked && !f.Switch.STP && !f.Switch.Filtering && f.Foreign == nil && f.Filters == nil && f.NoKernel == nil
		assert.Equal(t, clean && w.Path != Bridge && (w.Made != "" || w.Path == Auto || w.Path == Shortcut), c.Redirect)
		assert.Equal(t, w.Guard == MAC && f.NoKernel == nil, c.Guarded, "a guard does not depend on the path")
		assert.NotEmpty(t, c.Reason)
		assert.NotEqual(t, Auto, c.Path)
		assert.Equal(t, w.Made == "" && c.Redirect, c.Path == Shortcut)
	})
}

func TestUplinkOf(t *testing.T) {
	f := plain()
	f.Switch.Filtering = true
	f.VLANs = []bridge.PortVLAN{{From: 1, To: 1, PVID: true, Untagged: true}, {From: 13, To: 15}}
	u, no := UplinkOf(f)
	assert.Empty(t, no)
	assert.Equal(t, Uplink{Tagged: []int{13, 14, 15}, PVID: 1}, u)
	f.VLANs = append(f.VLANs, bridge.PortVLAN{From: 20, To: 20, Untagged: true})
	_, no = UplinkOf(f)
	assert.Contains(t, no, "untagged one way alone")
	f = plain()
	f.Port.Isolated = true
	_, no = UplinkOf(f)
	assert.Equal(t, "the port is isolated", no)
}

func TestParse(t *testing.T) {
	for _, name := range network.Paths {
		p, err := Parse(name)
		assert.NoError(t, err)
		assert.Equal(t, name, string(p))
	}
	_, err := Parse("Bridge")
	assert.ErrorContains(t, err, "none of auto, bridge")
	assert.ElementsMatch(t, network.Guards, []string{string(Off), string(MAC)})
	assert.ElementsMatch(t, network.Paths, []string{string(Auto), string(Bridge), string(Shortcut), string(Socket), string(AFXDP)})
}
