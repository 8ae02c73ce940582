package commands

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/test/netns"
)

func hostFor(t *testing.T) *host {
	t.Helper()
	netns.Need(t)
	dir, err := os.MkdirTemp("", "vp") // short: sockets lie in it
	require.NoError(t, err)
	h := &host{dir: dir}
	t.Cleanup(func() {
		h.close()
		if log, err := os.ReadFile(h.path("log")); t.Failed() && err == nil {
			t.Logf("vifplugd's log:\n%s", log)
		}
		assert.NoError(t, os.RemoveAll(dir))
	})
	require.NoError(t, h.play())
	return h
}

func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("VIFPLUG_CI") == "1" {
		t.Fatalf("%s is missing: make deps installs it", name)
	}
	t.Skipf("needs %s (Debian package systemd)", name)
}

// plug is vif-plug as libxl runs it.
func (h *host) plug(id, dev int) *exec.Cmd {
	c := h.program("vif-plug", "online", "type_if=vif")
	c.Env = append(c.Env, fmt.Sprintf("XENBUS_PATH=backend/vif/%d/%d", id, dev), fmt.Sprintf("vif=vif%d.%d", id, dev),
		"script=/etc/xen/scripts/vif-plug", "XENBUS_TYPE=vif", "XENBUS_BASE_PATH=backend", "netdev=")
	return c
}

// logTo has a process write to the daemon's log.
func (h *host) logTo(t *testing.T, c *exec.Cmd) {
	t.Helper()
	f, err := os.OpenFile(h.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	c.Stderr = f
}

func (h *host) logs(text string) error {
	return eventually(func() error {
		b, err := os.ReadFile(h.path("log"))
		if err == nil && !strings.Contains(string(b), text) {
			err = fmt.Errorf("the log has no %q", text)
		}
		return err
	})
}

// systemd holds the socket; the first vif-plug starts the daemon and gets its answer.
func TestSocketActivation(t *testing.T) {
	needProgram(t, "systemd-socket-activate")
	h := hostFor(t)
	require.NoError(t, h.bridge("brsa"))
	require.NoError(t, h.guest(31, "web01", "brsa"))
	args := append([]string{"--listen=" + h.path("c"), "--fdname=control", filepath.Join(bin, "vifplugd")}, h.daemonArgs()...)
	h.daemon = exec.Command("systemd-socket-activate", args...)
	h.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.logTo(t, h.daemon)
	require.NoError(t, h.daemon.Start())
	require.NoError(t, h.logs("Listening on"))
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", h.daemon.Process.Pid))
	require.NoError(t, err)
	require.Equal(t, "systemd-socket-", strings.TrimSpace(string(name)), "nobody has asked, so no daemon")

	out, err := h.plug(31, 0).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, string(out))
	require.NoError(t, h.node(31, 0, "hotplug-status", "connected"))
	name, err = os.ReadFile(fmt.Sprintf("/proc/%d/comm", h.daemon.Process.Pid))
	require.NoError(t, err)
	assert.Equal(t, "vifplugd", strings.TrimSpace(string(name)), "it was the daemon that answered")

	state, err := h.stop(syscall.SIGTERM)
	require.NoError(t, err)
	assert.True(t, state.Success())
	assert.FileExists(t, h.path("c"), "the socket is systemd's")
}

// A socket of another name is not taken for the control socket.
func TestSocketOfAnotherName(t *testing.T) {
	needProgram(t, "systemd-socket-activate")
	h := hostFor(t)
	args := append([]string{"--listen=" + h.path("c"), "--fdname=other", filepath.Join(bin, "vifplugd")}, h.daemonArgs()...)
	h.daemon = exec.Command("systemd-socket-activate", args...)
	h.logTo(t, h.daemon)
	require.NoError(t, h.daemon.Start())
	require.NoError(t, h.logs("Listening on"))
	c, err := net.Dial("unix", h.path("c"))
	require.NoError(t, err)
	defer c.Close()
	_ = h.daemon.Wait()
	assert.Equal(t, 1, h.daemon.ProcessState.ExitCode())
	require.NoError(t, h.logs(`name is unknown: want FileDescriptorName= to be one of [\"control\"]`))
}

// activated starts a daemon on a socket that the test holds, as systemd does over the daemon's restarts.
func (h *host) activated(t *testing.T, socket *os.File) {
	t.Helper()
	h.daemon = exec.Command("sh", append([]string{"-c", `LISTEN_FDS=1 LISTEN_FDNAMES=control LISTEN_PID=$$ exec "$0" "$@"`, filepath.Join(bin, "vifplugd"), "--log-level", "debug"},
		h.daemonArgs()...)...)
	h.daemon.ExtraFiles = []*os.File{socket}
	h.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.logTo(t, h.daemon)
	require.NoError(t, h.daemon.Start())
}

// A daemon that is killed between accept and answer, or stopped, costs libxl nothing: vif-plug asks again, and the successor answers.
func TestKillBetweenAcceptAndAnswer(t *testing.T) {
	for i, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			h := hostFor(t)
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.path("c")})
			require.NoError(t, err)
			socket, err := l.File()
			require.NoError(t, err)
			defer socket.Close()
			defer l.Close()
			id, name := 33+i, fmt.Sprintf("brk%d", i)
			vif := fmt.Sprintf("vif%d.0", id)
			require.NoError(t, h.guest(id, "web01", name))
			h.activated(t, socket)
			c := h.plug(id, 0)
			out := &strings.Builder{}
			c.Stderr = out
			require.NoError(t, c.Start())
			require.NoError(t, h.state(vif, hotplug.Ready, hotplug.CodeBridgeMissing))
			require.NoError(t, h.logs("msg=asked"), "the daemon has taken the question")

			_, err = h.stop(sig)
			require.NoError(t, err)
			require.NoError(t, c.Process.Signal(syscall.Signal(0)), "vif-plug still waits")
			require.NoError(t, h.bridge(name))
			h.activated(t, socket)
			require.NoError(t, c.Wait(), out.String())
			assert.Empty(t, out.String())
			require.NoError(t, h.node(id, 0, "hotplug-status", "connected"))
			require.NoError(t, h.link(vif, "master "+name+" up"))
		})
	}
}

// notified is a service manager's socket.
type notified struct {
	*testing.T
	conn *net.UnixConn
}

func (h *host) notify(t *testing.T) notified {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.path("n"), Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return notified{t, conn}
}

// next reads a message; "" when none comes in time.
func (n notified) next(within time.Duration) string {
	n.Helper()
	require.NoError(n, n.conn.SetReadDeadline(time.Now().Add(within)))
	b := make([]byte, 4096)
	got, err := n.conn.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:got])
}

// READY comes after the first look at every NIC, WATCHDOG while the engine works and not while it hangs, STOPPING before the end.
func TestServiceManagerIsTold(t *testing.T) {
	h := hostFor(t)
	const nics = 9 // one more than the engine's workers
	bridges := make([]string, nics)
	for i := range bridges {
		bridges[i] = "brn"
	}
	require.NoError(t, h.bridge("brn"))
	require.NoError(t, h.guest(35, "web01", bridges...))
	n := h.notify(t)
	h.daemon = h.program("vifplugd", h.daemonArgs()...)
	const interval = 400 * time.Millisecond
	h.daemon.Env = append(h.daemon.Env, "NOTIFY_SOCKET="+h.path("n"), fmt.Sprintf("WATCHDOG_USEC=%d", interval.Microseconds()))
	h.logTo(t, h.daemon)
	require.NoError(t, h.daemon.Start())
	first := n.next(patience)
	for first == "WATCHDOG=1" {
		first = n.next(patience)
	}
	lines := strings.Split(first, "\n")
	require.Equal(t, "READY=1", lines[0])
	require.Len(t, lines, 2)
	assert.Regexp(t, `^STATUS=\d NICs? plugged, 0 failed, \d on their way$`, lines[1])
	for i := range nics {
		require.NoError(t, h.state(fmt.Sprintf("vif35.%d", i), hotplug.Plugged, ""))
	}
	if all := fmt.Sprintf("STATUS=%d NICs plugged, 0 failed, 0 on their way", nics); lines[1] != all {
		n.wants(all)
	}
	for range 3 {
		n.wants("WATCHDOG=1")
	}

	// The store hangs, and every worker with it: each has a port to put right.
	require.NoError(t, h.store.Process.Signal(syscall.SIGSTOP))
	for i := range nics {
		require.NoError(t, bridgetest.SetDown(fmt.Sprintf("vif35.%d", i)))
	}
	assert.True(t, n.silentSoon(2*interval), "the watchdog is fed though the engine hangs")
	require.NoError(t, h.store.Process.Signal(syscall.SIGCONT))
	n.wants("WATCHDOG=1") // it is fed again
	for i := range nics {
		require.NoError(t, h.link(fmt.Sprintf("vif35.%d", i), "master brn up"))
	}

	require.NoError(t, h.daemon.Process.Signal(syscall.SIGTERM))
	n.wants("STOPPING=1")
	require.NoError(t, h.daemon.Wait())
	assert.Empty(t, n.next(time.Millisecond))
}

// wants awaits a message; of the watchdog's, and of how the NICs are, there may be others before.
func (n notified) wants(message string) {
	n.Helper()
	for end := time.Now().Add(patience); ; {
		got := n.next(time.Until(end))
		if got == message {
			return
		}
		require.True(n, got == "WATCHDOG=1" || strings.HasPrefix(got, "STATUS="), "%q came, not %q", got, message)
	}
}

// silentSoon says whether messages stop for some time, once those that were waiting have been read.
func (n notified) silentSoon(quiet time.Duration) bool {
	for end := time.Now().Add(5 * quiet); time.Now().Before(end); {
		if n.next(quiet) == "" {
			return true
		}
	}
	return false
}

// A store that hangs holds up neither SIGHUP's reading nor, with it, the end.
func TestStopsWhileTheStoreHangs(t *testing.T) {
	h := hostFor(t)
	require.NoError(t, h.start())
	require.NoError(t, h.store.Process.Signal(syscall.SIGSTOP))
	require.NoError(t, h.daemon.Process.Signal(syscall.SIGHUP))
	ended := make(chan struct{})
	go runStop(h, ended)
	select {
	case <-ended:
		assert.True(t, h.daemon.ProcessState.Success(), h.daemon.ProcessState)
	case <-time.After(patience):
		assert.Fail(t, "SIGTERM is not heard")
		require.NoError(t, h.daemon.Process.Kill())
		<-ended
	}
}

func runStop(h *host, ended chan<- struct{}) {
	defer close(ended)
	_, _ = h.stop(syscall.SIGTERM) // the state says how it ended
}

// Under systemd the journal gets each event with its fields. The journal is a socket of the test's, in a mount namespace where it has the
// journal's place.
func TestJournal(t *testing.T) {
	h := hostFor(t)
	require.NoError(t, h.bridge("brj"))
	require.NoError(t, os.Mkdir(h.path("journal"), 0o700))
	journal, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.path("journal/socket"), Net: "unixgram"})
	require.NoError(t, err)
	defer journal.Close()
	script := `mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$JOURNAL" /run/systemd/journal &&
		JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec vifplugd "$@"`
	h.daemon = exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, "sh"}, h.daemonArgs()...)...)
	h.daemon.Env = append(os.Environ(), append(h.env(), "JOURNAL="+h.path("journal"))...)
	h.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.logTo(t, h.daemon)
	require.NoError(t, h.daemon.Start())
	require.NoError(t, h.guest(36, "web01", "brj"))

	require.NoError(t, journal.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 64<<10)
	for {
		n, err := journal.Read(b)
		require.NoError(t, err, "nic.plugged did not come")
		record := string(b[:n])
		assert.Contains(t, record, "SYSLOG_IDENTIFIER=vifplugd\n")
		if !strings.Contains(record, "EVENT=nic.plugged\n") {
			continue
		}
		for _, field := range []string{"VIF=vif36.0", "DOMID=36", "DOMAIN=web01", "NETWORK=brj", "PRIORITY=6", "MESSAGE_ID=0ada8c6b471c4073b53961d6044a31b5"} {
			assert.Contains(t, record, field+"\n")
		}
		break
	}
	log, err := os.ReadFile(h.path("log"))
	require.NoError(t, err)
	assert.Empty(t, string(log), "nothing is said twice")
}

// How long the daemon takes until it answers; the wish is 100 ms. It is printed, not judged: this machine may be busy.
func TestReadyTime(t *testing.T) {
	h := hostFor(t)
	start := time.Now()
	require.NoError(t, h.start())
	t.Logf("vifplugd answers %v after its start (wanted: 100 ms)", time.Since(start).Round(time.Millisecond))
}
