//go:build afxdpqemu

package guest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/hotplug/rings"
	"vifplug/qemu/xsk"
)

// With a QEMU that has -netdev af-xdp, which is VIFPLUG_QEMU_AFXDP: a guest whose emulated NICs are at the rings of ports as the service makes them
// exchanges with its peer all that a guest does over a tap in the bridge, but for jumbo frames. Debian's QEMU has no af-xdp, so that CI cannot run this:
//
//	VIFPLUG_QEMU_AFXDP=/path/to/qemu-system-x86_64 go test -tags afxdpqemu -run AFXDP ./test/guest
func TestAFXDP(t *testing.T) {
	program := os.Getenv("VIFPLUG_QEMU_AFXDP")
	require.NotEmpty(t, program, "VIFPLUG_QEMU_AFXDP")
	l := newLAN(t, models...)
	bpf := t.TempDir()
	require.NoError(t, unix.Mount("bpf", bpf, "bpf", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(bpf, unix.MNT_DETACH)) })
	c, err := bridge.Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	m := &rings.Maker{Links: c, Pins: filepath.Join(bpf, "vifplug")}
	o := Options{Image: l.image, Program: program}
	for i, s := range l.segments {
		p, err := m.Open(rings.NIC{Domain: 1, Device: uint32(i)})
		require.NoError(t, err)
		s.port = p.Name
		netdev := "af-xdp," + xsk.NetdevOption(p.Device, p.Mode, []int{FirstFile + i})
		o.NICs = append(o.NICs, NIC{Model: s.name, MAC: s.mac, Netdev: netdev})
		o.Files = append(o.Files, p.Socket)
	}
	g, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(g.Kill)
	for i, s := range l.segments {
		require.NoError(t, o.Files[i].Close()) // QEMU has its own
		s.dev, err = g.Device(s.mac)
		require.NoError(t, err, s.name)
	}
	l.plug(g)
	for _, s := range l.segments {
		l.carriesPings(g, s)
		l.carriesTCP(g, s)
	}
	l.answers(1472)
}
