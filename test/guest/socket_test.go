package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
)

// buildLoop builds vif-loop as it is installed.
func buildLoop(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vif-loop")
	c := exec.Command("go", "build", "-o", file, "vifplug/cmd/vif-loop")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	return file
}

// startLoop starts the loop of a segment: vif-loop listens at a socket (--listen), and it returns when QEMU can connect there; or QEMU does (--connect).
// kill kills it as nothing can prepare for.
func (l *lan) startLoop(program string, s *segment, how, sock string) (kill func()) {
	l.Helper()
	said := &buffer{}
	c := exec.Command(program, "--tap", s.port, "--bridge", s.bridge, how, sock)
	c.Stderr = said
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig goes by the thread: this one must last as long as the test
	require.NoError(l, c.Start())
	kill = sync.OnceFunc(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	l.Cleanup(kill)
	for start := time.Now(); how == "--listen"; {
		if _, err := os.Stat(sock); err == nil {
			break
		}
		require.Less(l, time.Since(start), 10*time.Second, "vif-loop does not listen: %s", said)
		time.Sleep(5 * time.Millisecond) // as it tells by its socket alone
	}
	return kill
}

// QEMU at a Unix socket, and vif-loop between it and the bridge, carry what the bridge carries, but for jumbo frames: those are for a loop that is told
// their MTU.
func TestSocket(t *testing.T) {
	l := newLAN(t, models[0], models[2])
	program, dir := buildLoop(t), t.TempDir()
	socks := map[string]string{}
	for _, s := range l.segments {
		socks[s.name] = filepath.Join(dir, s.name)
		l.startLoop(program, s, "--listen", socks[s.name])
	}
	g := l.start(func(s *segment) string { return "stream,server=off,addr.type=unix,addr.path=" + socks[s.name] })
	l.configure(g)
	for _, s := range l.segments {
		l.carriesPings(g, s)
		l.carriesTCP(g, s)
	}
	l.answers(1472)
}

// The loop is killed while pings go by it, and started again; then QEMU is. Each time the two find each other again, nothing is lost from then on, and
// the port is the same all the while.
func TestSocketKilled(t *testing.T) {
	l := newLAN(t, models[0])
	program, s, sock := buildLoop(t), l.segments[0], filepath.Join(t.TempDir(), "qemu")
	kill := l.startLoop(program, s, "--connect", sock)
	netdev := func(*segment) string { return "stream,server=on,addr.type=unix,addr.path=" + sock }
	g := l.start(netdev)
	l.configure(g)
	port, err := bridgetest.Index(s.port)
	require.NoError(t, err)

	p := l.ping(s, 56)
	require.NoError(t, p.Settle(30*time.Second))
	kill()
	l.startLoop(program, s, "--connect", sock)
	require.NoError(t, p.More(120, 30*time.Second))
	require.NoError(t, p.Settle(30*time.Second))
	l.noneLost(p, s)

	g.Kill()
	g = l.start(netdev)
	l.configure(g)
	l.answers(1472)
	now, err := bridgetest.Index(s.port)
	require.NoError(t, err)
	assert.Equal(t, port, now, "the port is the same")
}
