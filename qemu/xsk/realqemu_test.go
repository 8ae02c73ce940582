//go:build afxdpqemu

package xsk_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu"
	"vifplug/qemu/xsk"
)

// With a QEMU that has -netdev af-xdp, of which VIFPLUG_QEMU_AFXDP is the command: a hub between our socket and a tap carries frames both ways, of
// every length that the rings take, in both modes; and another QEMU can follow. No Debian's QEMU has it, so that CI cannot run this:
//
//	VIFPLUG_QEMU_AFXDP="/path/to/qemu-system-x86_64" go test -tags afxdpqemu -run RealQEMU ./qemu/xsk
func TestRealQEMU(t *testing.T) {
	command := strings.Fields(os.Getenv("VIFPLUG_QEMU_AFXDP"))
	require.NotEmpty(t, command, "VIFPLUG_QEMU_AFXDP")
	for _, mode := range []xsk.Mode{xsk.Native, xsk.Generic} {
		dev := needVeth(t)
		a := attach(t, dev, mode)
		for range 2 {
			f, err := xsk.NewFile()
			require.NoError(t, err)
			require.NoError(t, a.Add(0, f))
			tap, err := qemu.CreateTap(qemu.Options{Name: "guest"})
			require.NoError(t, err)
			q := exec.Command(command[0], append(command[1:], "-machine", "none", "-nodefaults", "-display", "none",
				"-netdev", "af-xdp,id=a,"+xsk.NetdevOption("hidden", mode, []int{3}), "-netdev", "hubport,id=ha,hubid=0,netdev=a",
				"-netdev", "tap,id=t,fd=4", "-netdev", "hubport,id=ht,hubid=0,netdev=t")...)
			q.ExtraFiles, q.Stderr = []*os.File{f, tap.Queues[0]}, os.Stderr
			require.NoError(t, q.Start())
			end := sync.OnceFunc(func() {
				assert.NoError(t, q.Process.Kill())
				assert.Error(t, q.Wait())
			})
			t.Cleanup(end)
			require.NoError(t, f.Close())
			quiet(t, "guest")
			require.NoError(t, bridgetest.SetUp("guest"))
			awaitCarrier(t, "visible", "guest") // QEMU too needs a moment
			awaitCarrier(t, "guest", "visible")

			w, g := openWire(t, "visible"), openWire(t, "guest")
			for _, n := range []int{60, 64, 1000, 1514} {
				w.send(frame(n, n))
				require.True(t, bytes.Equal(frame(n, n), g.receive()), "%d bytes in", n)
				g.send(frame(n, n))
				require.True(t, bytes.Equal(frame(n, n), w.receive()), "%d bytes out", n)
			}
			began := time.Now()
			for n := 0; n < 5000; n += 50 { // QEMU drops what a tap or a ring has no room for
				for i := range 50 {
					g.send(frame(n+i, 60))
					w.send(frame(n+i, 60))
				}
				for i := range 50 {
					require.True(t, bytes.Equal(frame(n+i, 60), w.receive()), "frame %d out", n+i)
					require.True(t, bytes.Equal(frame(n+i, 60), g.receive()), "frame %d in", n+i)
				}
			}
			t.Logf("%s: 2 times 5000 frames in %v", mode, time.Since(began))
			end()
			require.NoError(t, tap.Close())
		}
	}
}
