//go:build xen

package dom0

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
	"vifplug/test/echo"
	"vifplug/test/netns"
)

// far is a machine at the bridge's uplink, in a namespace of its own.
type far struct {
	h     *host
	space *netns.Space
}

// farHost makes a bridge whose uplink leads to another machine, which guests ping.
func (h *host) farHost(bridge, uplink, address string) *far {
	h.Helper()
	h.bridge(bridge, "")
	f := &far{h: h, space: netns.Beside(h.T)}
	require.NoError(h, f.space.Do(func() error {
		err := bridgetest.MakeVeth("eth0", uplink)
		if err == nil {
			err = bridgetest.AddAddress("eth0", netip.MustParsePrefix(address))
		}
		if err == nil {
			err = bridgetest.SetUp("eth0")
		}
		if err == nil {
			err = bridgetest.MoveTo(uplink, 1)
		}
		return err
	}))
	h.Cleanup(func() { _, _ = h.try("ip", "link", "del", uplink) })
	h.run("ip", "link", "set", uplink, "master", bridge, "up")
	return f
}

// ping begins to ask a guest, and waits until it answers each: a hundred times a second, or as often as this machine's emulation of a machine in a
// machine lets a guest answer.
func (f *far) ping(address string) (p *echo.Pinger) {
	f.h.Helper()
	for _, rate := range []time.Duration{100, 50, 20} {
		require.NoError(f.h, f.space.Do(func() (err error) {
			p, err = echo.Start(address, time.Second/rate, 56)
			return err
		}))
		f.h.Cleanup(p.Close)
		err := p.Settle(20 * time.Second)
		if err == nil {
			return p
		}
		p.Close()
		f.h.Logf("at %d a second: %v", rate, err)
	}
	require.Fail(f.h, "ping", "%s answers at no rate", address)
	return nil
}

// lost ends pings and checks that at most so many were lost.
func (f *far) lost(p *echo.Pinger, most int, what string) {
	f.h.Helper()
	sent, lost, err := p.Stop()
	require.NoError(f.h, err)
	f.h.Logf("%s: %d of %d pings lost", what, len(lost), sent)
	assert.LessOrEqual(f.h, len(lost), most, "%s: of %d pings: %v", what, sent, lost)
}

// takes waits until a port's frames take a path, and checks that the kernel has the shortcut on it, which is behind vif-loop too.
func (h *host) takes(port string, want paths.Path) {
	h.Helper()
	guarded := false
	h.eventually(fmt.Sprintf("%s takes %s", port, want), 30*time.Second, func() error {
		x, err := h.control().NIC(h.Context(), port)
		if err != nil {
			return err
		}
		p := x.Path
		if x.Tap != nil && x.Tap.Name == port {
			p = x.Tap.Path
		}
		if p == nil || p.Path != want {
			return fmt.Errorf("it takes %+v", p)
		}
		guarded = p.Guard == paths.MAC
		if want == paths.Shortcut {
			assert.Equal(h, "clsact", p.Mode, "Debian 12's kernel has no TCX")
		}
		return nil
	})
	filters := h.run("tc", "filter", "show", "dev", port, "ingress")
	assert.Equal(h, want != paths.Bridge || guarded, strings.Contains(filters, "vifplug-shortcut"), "filters of %s: %s", port, filters)
}

// tapOf waits until a NIC has a tap that is plugged.
func (h *host) tapOf(vif, tap string) {
	h.Helper()
	h.eventually(tap+" is plugged", 30*time.Second, func() error {
		x, err := h.control().NIC(h.Context(), vif)
		if err == nil && (x.Tap == nil || x.Tap.Name != tap || x.Tap.State != hotplug.Plugged) {
			err = fmt.Errorf("its tap is %+v", x.Tap)
		}
		return err
	})
}

// loop is vif-loop for a guest's NIC, where QEMU listens.
type loop struct {
	h    *host
	args []string
	cmd  *exec.Cmd
	said bytes.Buffer
}

func (h *host) startLoop(guest, nic, sock string) *loop {
	l := &loop{h: h, args: []string{"--guest", guest, "--nic", nic, "--connect", sock}}
	h.Cleanup(func() {
		if h.Failed() {
			h.Logf("vif-loop said:\n%s", l.said.String())
		}
	})
	h.Cleanup(func() { h.run("vif-loop", "--guest", guest, "--nic", nic, "--remove") }) // of a test that fails; the guest may be gone
	l.start()
	return l
}

func (l *loop) start() {
	l.h.Helper()
	l.cmd = exec.Command("vif-loop", l.args...)
	l.cmd.Stderr = &l.said
	require.NoError(l.h, l.cmd.Start())
	cmd := l.cmd
	l.h.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// kill kills the loop as nothing can prepare for.
func (l *loop) kill() {
	l.h.Helper()
	require.NoError(l.h, l.cmd.Process.Kill())
	_ = l.cmd.Wait()
}

const (
	hvmMAC2 = "00:16:3e:00:00:02"
	hvmMAC3 = "00:16:3e:00:00:03"
)

// NICs that QEMU emulates and their paths, under real Xen: a guest's first NIC, an e1000, plugged by the script (libxl runs it for the vif and again for
// the tap), on the shortcut, and its second, whose QEMU is at vif-loop's socket; then another guest, with an rtl8139 in watch mode, where nobody runs
// anything for vif or tap, that pings the first. Machines beyond the uplinks get every answer while the daemon is killed, and all but one at most
// while a path is switched; destroying the guests leaves nothing. All of it is one test, since a guest takes the better part of a minute to boot; the
// second guest comes last, since what befalls one (see onHost) befalls two more often.
func TestHVMPaths(t *testing.T) { onHost(t, (*host).hvmPaths) }

func (h *host) hvmPaths() {
	f, f1 := h.farHost("br0", "up0", net0), h.farHost("br1", "up1", net1)
	require.NoError(h, os.WriteFile(filepath.Join(filepath.Dir(h.log), "vifplug.toml"), []byte("[hotplug]\npath = \"shortcut\"\n"), 0o600))
	h.startDaemon()
	ev := h.listen()
	sock := filepath.Join(h.TempDir(), "qemu.sock")
	one := h.launch(hvm{
		name: "path1", kernel: keepEmulated + " nics=2",
		vifs: []string{"script=vif-plug,model=e1000,bridge=br0,mac=" + hvmMAC, "script=vif-plug,type=vif,bridge=br1,mac=" + hvmMAC2},
		args: []string{"-device", "e1000,romfile=,netdev=n1,mac=" + hvmMAC2, "-netdev", "stream,id=n1,server=on,addr.type=unix,addr.path=" + sock},
	})
	h.isPort(one.vif(0), "br0")
	h.isPort(one.tap(), "br0")
	ev.expect(hotplug.TapPlugged, one.tap())
	assert.Contains(h, h.run("vifctl", "status", "path1"), "its tap")
	one.expect("GUEST-PING-OK 192.168.70.1")
	one.goesBy(one.tap(), hvmMAC)
	l := h.startLoop("path1", "1", sock) // QEMU has been waiting for it
	h.tapOf(one.vif(1), one.looped())
	h.isPort(one.looped(), "br1")
	h.takes(one.tap(), paths.Shortcut)
	h.takes(one.looped(), paths.Socket)
	f.daemonKilledUnder(shortAddress, "shortcut, which ends with it")
	f1.daemonKilledUnder(loopAddress, "vif-loop")
	h.takes(one.tap(), paths.Shortcut)
	one.switched(f)
	l.killedUnder(f1, one.looped())
	one.comesBack()

	two := h.launch(hvm{name: "path2", kernel: keepEmulated + " host=1 ping=192.168.70.10", vifs: []string{"script=no-op,model=rtl8139,bridge=br0,mac=" + hvmMAC3}})
	two.expect("GUEST-PING-OK " + shortAddress)
	h.plugged(two.vif(0), "br0")
	two.tapPlugged()
	two.goesBy(two.tap(), hvmMAC3)
	h.takes(two.tap(), paths.Shortcut)
	for range 3 { // by the shortcut, from one guest's port to the other's
		two.expect("GUEST-PING-OK " + shortAddress)
	}
	taps := []string{one.tap(), two.tap(), one.looped()}
	one.destroy()
	two.destroy()
	for _, tap := range taps { // the loop, which is there still, loses its port
		h.gone(tap)
	}
	require.Error(h, l.cmd.Wait(), "its port is gone")
	require.Contains(h, l.said.String(), "the device is gone")
}

// Addresses in the guest path1, of its first and its second NIC.
const (
	shortAddress = "192.168.70.10"
	loopAddress  = "192.168.71.11"
)

// looped is the port of the guest's second NIC, where vif-loop makes it.
func (g *guest) looped() string { return fmt.Sprintf("tap%d.1", g.id) }

// daemonKilledUnder: not one reply is lost, when the daemon goes and when it is back.
func (f *far) daemonKilledUnder(address, what string) {
	f.h.Helper()
	p := f.ping(address)
	f.h.killDaemon()
	require.NoError(f.h, p.More(100, time.Minute))
	f.h.startDaemon()
	require.NoError(f.h, p.More(100, time.Minute))
	f.lost(p, 0, "daemon killed, "+what)
}

// switched: of pings at a hundred a second at most one is lost by a switch.
func (g *guest) switched(f *far) {
	g.h.Helper()
	for _, to := range []paths.Path{paths.Bridge, paths.Shortcut} {
		p := f.ping(shortAddress)
		g.h.run("vifctl", "path", g.vif(0), string(to))
		g.h.takes(g.tap(), to)
		require.NoError(g.h, p.More(50, time.Minute))
		f.lost(p, 1, "switched to "+string(to))
	}
}

// killedUnder: the port stays as it is, and the next loop goes on with the same QEMU.
func (l *loop) killedUnder(f *far, port string) {
	l.h.Helper()
	index := l.h.run("cat", "/sys/class/net/"+port+"/ifindex")
	p := f.ping(loopAddress)
	l.kill()
	l.h.isPort(port, "br1")
	l.start()
	require.NoError(l.h, p.More(110, time.Minute), "vif-loop is back")
	require.NoError(l.h, p.Settle(time.Minute))
	f.lost(p, 0, "after vif-loop was started again")
	assert.Equal(l.h, index, l.h.run("cat", "/sys/class/net/"+port+"/ifindex"))
}
