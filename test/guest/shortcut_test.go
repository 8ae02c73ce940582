package guest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/qemu/shortcut"
)

// shortcuts are what a manager is to have of a LAN.
type shortcuts struct {
	Mode  shortcut.Mode
	Ports []shortcut.Port
	Far   map[int]shortcut.MAC // who is behind an uplink, by its index
}

// shortcuts says it as the service does, which watches ports and the bridge's forwarding database.
func (l *lan) shortcuts(mode shortcut.Mode) shortcuts {
	l.Helper()
	out := shortcuts{Mode: mode, Far: map[int]shortcut.MAC{}}
	for _, s := range l.segments {
		br, err := bridgetest.Index(s.bridge)
		require.NoError(l, err)
		for _, name := range []string{s.port, s.uplink} {
			dev, err := net.InterfaceByName(name)
			require.NoError(l, err)
			p := shortcut.Port{Index: dev.Index, Bridge: br, MTU: dev.MTU, Redirect: true}
			if name == s.uplink {
				p.Uplink, out.Far[dev.Index] = true, l.farMAC(s)
			} else {
				mac, err := net.ParseMAC(s.mac)
				require.NoError(l, err)
				p.NIC, p.MAC, p.Guard = fmt.Sprintf("1.%d", s.n), shortcut.MAC(mac), true
			}
			out.Ports = append(out.Ports, p)
		}
	}
	return out
}

func (l *lan) farMAC(s *segment) (mac shortcut.MAC) {
	l.Helper()
	require.NoError(l, l.peer.Do(func() error {
		dev, err := net.InterfaceByName(s.far)
		if err == nil {
			mac = shortcut.MAC(dev.HardwareAddr)
		}
		return err
	}))
	return mac
}

// open makes a manager that has them so, in the thread's namespace.
func (x shortcuts) open() (*shortcut.Manager, error) {
	c, err := bridge.Open()
	if err != nil {
		return nil, err
	}
	m, err := shortcut.Open(shortcut.Config{Mode: x.Mode, Classifier: c})
	if err != nil {
		return nil, err
	}
	return m, x.set(m)
}

func (x shortcuts) set(m *shortcut.Manager) error {
	for _, p := range x.Ports {
		if err := m.Set(p); err != nil {
			return err
		}
		if mac, ok := x.Far[p.Index]; ok {
			if err := m.Learn(p.Bridge, mac, 0, p.Index); err != nil {
				return err
			}
		}
	}
	return nil
}

// redirected is how many frames went past the bridge, from the guest and to it.
func (l *lan) redirected(m *shortcut.Manager, s *segment) (out, in uint64) {
	l.Helper()
	count := func(dev string) uint64 {
		i, err := bridgetest.Index(dev)
		require.NoError(l, err)
		c, err := m.Counters(i)
		require.NoError(l, err)
		assert.Zero(l, c.Dropped, "%s: dropped by the guard", s.name)
		return c.Redirected
	}
	return count(s.port), count(s.uplink)
}

// The shortcut carries all that the bridge carries, and the streams go past the bridge.
func TestShortcut(t *testing.T) {
	for _, tt := range []struct {
		mode   shortcut.Mode
		models []model
	}{{shortcut.TCX, models}, {shortcut.Clsact, models[2:3]}} {
		carriesByShortcut(t, tt.mode, tt.models)
	}
}

func carriesByShortcut(t *testing.T, mode shortcut.Mode, models []model) {
	l := newLAN(t, models...)
	g := l.start((*segment).tapNetdev)
	l.plug(g)
	m, err := l.shortcuts(mode).open()
	require.NoError(t, err)
	defer m.Close() //nolint:errcheck // the namespace goes
	require.Equal(t, mode, m.Mode())
	l.mtuChanged = func() { require.NoError(t, l.shortcuts(mode).set(m)) }
	l.carries(g)
	const stream = 8 << 20 / 65536 // of 8 MB each way, in frames that offloads make as large as they come
	for _, s := range l.segments {
		out, in := l.redirected(m, s)
		t.Logf("%s by %s: %d frames of the guest's and %d to it went past the bridge", s.name, mode, out, in)
		assert.Greater(t, out, uint64(stream), s.name)
		assert.Greater(t, in, uint64(stream), s.name)
	}
	g.Kill()
}

// owner has the test binary be a process that owns shortcuts: it has what this variable says, and waits for its end.
const owner = "GUEST_TEST_SHORTCUTS"

func runOwner() int {
	var x shortcuts
	err := json.Unmarshal([]byte(os.Getenv(owner)), &x)
	if err == nil {
		var m *shortcut.Manager
		if m, err = x.open(); err == nil {
			defer m.Close() //nolint:errcheck // it is killed
			fmt.Println("SHORT")
			_, _ = bufio.NewReader(os.Stdin).ReadByte()
			for _, p := range x.Ports {
				c, err := m.Counters(p.Index)
				fmt.Println("COUNTERS", c.Redirected, err)
			}
			select {} // until it is killed
		}
	}
	fmt.Println(err)
	return 1
}

// The process that owns the shortcut is killed while pings go by it, twice: not one is lost, and the bridge carries on. Nor is one lost when it
// comes back. (That tc's qdisc is first added to a device that sends can cost frames: the kernel stops the device for it, linux:
// net/sched/sch_api.c qdisc_graft. So the pings begin after the first time; the qdisc stays.)
func TestShortcutOwnerKilled(t *testing.T) {
	l := newLAN(t, models[0])
	s := l.segments[0]
	g := l.start((*segment).tapNetdev)
	l.plug(g)
	for _, mode := range []shortcut.Mode{shortcut.TCX, shortcut.Clsact} {
		kill := l.startOwner(mode)
		p := l.ping(s, 56)
		require.NoError(t, p.Settle(30*time.Second))
		kill()
		require.NoError(t, p.More(50, 30*time.Second))
		kill = l.startOwner(mode)
		require.NoError(t, p.More(100, 30*time.Second))
		kill()
		require.NoError(t, p.More(50, 30*time.Second))
		l.noneLost(p, s)
	}
}

// startOwner starts an owner, and gives what checks that it works and kills it.
func (l *lan) startOwner(mode shortcut.Mode) (kill func()) {
	l.Helper()
	said, err := json.Marshal(l.shortcuts(mode))
	require.NoError(l, err)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), owner+"="+string(said))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.StdinPipe()
	require.NoError(l, err)
	out, err := c.StdoutPipe()
	require.NoError(l, err)
	require.NoError(l, c.Start())
	lines := bufio.NewReader(out)
	line, _ := lines.ReadString('\n')
	require.Equal(l, "SHORT\n", line)
	return func() {
		_, err := in.Write([]byte("?"))
		require.NoError(l, err)
		for _, port := range []string{"guest", "uplink"} {
			line, err := lines.ReadString('\n')
			require.NoError(l, err)
			var n int
			_, err = fmt.Sscanf(strings.TrimSpace(line), "COUNTERS %d <nil>", &n)
			require.NoError(l, err, line)
			assert.Greater(l, n, 50, "pings from the %s's side went past the bridge", port)
		}
		require.NoError(l, c.Process.Kill())
		_ = c.Wait()
	}
}
