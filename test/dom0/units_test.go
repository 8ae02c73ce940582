//go:build xen

package dom0

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug/paths"
	"vifplug/systemd"
)

// manager is a systemd that runs the shipped units. It is process 1 of a PID namespace, with mounts of its own; the network, the store and /run are dom0's.
type manager struct {
	h   *host
	pid string
}

// startSystemd installs the units as `make install` does, and waits until systemd has come up.
func (h *host) startSystemd() *manager {
	h.Helper()
	units, err := filepath.Glob("../../systemd/units/*")
	require.NoError(h, err)
	require.Len(h, units, 5, "ship systemd/units/* by XENVM_FILES")
	for _, unit := range units {
		b, err := os.ReadFile(unit)
		require.NoError(h, err)
		require.NoError(h, os.WriteFile("/lib/systemd/system/"+filepath.Base(unit), b, 0o644))
	}
	require.NoError(h, os.WriteFile("/etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"), 0o444)) // journald wants one
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"env", "container=lab", "/lib/systemd/systemd", "--system", "--unit=basic.target", "--log-target=journal")
	require.NoError(h, cmd.Start())
	h.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	m := &manager{h: h}
	h.eventually("systemd is up", time.Minute, func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			return err
		}
		if m.pid = strings.TrimSpace(string(children)); m.pid == "" {
			return errors.New("it has not been started")
		}
		out, err := m.try("systemctl", "is-system-running")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	m.run("systemctl", "start", "systemd-journald.service")
	h.Cleanup(func() {
		if h.Failed() {
			out, _ := m.try("journalctl", "--no-pager", "--identifier=systemd", "--identifier=vifplugd", "--identifier=vif-loop")
			h.Logf("the journal:\n%s", out)
		}
	})
	return m
}

// try runs a program where systemd is: it answers nobody of another PID namespace.
func (m *manager) try(args ...string) (string, error) {
	out, err := m.h.try(append([]string{"nsenter", "-t", m.pid, "-p", "-m"}, args...)...)
	return strings.TrimSpace(out), err
}

func (m *manager) run(args ...string) string {
	m.h.Helper()
	out, err := m.try(args...)
	require.NoError(m.h, err, "%s\n%s", strings.Join(args, " "), out)
	return out
}

// property is what systemctl show says of a unit.
func (m *manager) property(unit, name string) string {
	m.h.Helper()
	return m.run("systemctl", "show", "--value", "-p", name, unit)
}

// becomes waits until a unit's property has a value.
func (m *manager) becomes(unit, name, want string) {
	m.h.Helper()
	m.h.eventually(fmt.Sprintf("%s of %s is %s", name, unit, want), time.Minute, func() error {
		if got := m.property(unit, name); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// kill sends the main process of a unit a signal.
func (m *manager) kill(unit, signal string) {
	m.h.Helper()
	m.run("systemctl", "kill", "--kill-whom=main", "--signal="+signal, unit)
}

const unitsSite = `
[hotplug]
path  = "shortcut"
guard = "mac"

[[network]]
name    = "guests"
on      = "eth0"
id      = "guests"
roles   = ["server-management", "virtual-machine"]
address = ["192.168.70.2/24"]
`

const unitMAC = "00:16:3e:00:01:01"

// The shipped units under systemd, in their sandboxes: the host's networks, a guest by xl on a guarded shortcut, the daemon killed, hung, reloaded and
// stopped, taps by descriptor and by ring, and vif-loop for a QEMU's socket. (Their dependencies and texts are looked at in package systemd.)
func TestUnits(t *testing.T) {
	s := newSite(t, unitsSite, cabling{{"0 192.168.70.1/24"}})
	s.dir = "/etc/vifplug"
	require.NoError(t, os.MkdirAll(s.dir, 0o755))
	s.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	s.declare(unitsSite)
	m := s.startSystemd()

	m.run("systemctl", "start", "vifplugd.socket")
	assert.Equal(t, "inactive", m.property("vifplugd.service", "ActiveState"), "until somebody connects")
	s.run("vifctl", "status")
	m.becomes("vifplugd.service", "SubState", "running")
	m.becomes("vifplugd.service", "StatusText", "0 NICs plugged, 0 failed, 0 on their way")
	assert.Equal(t, "0", m.property("vifplugd.service", "NRestarts"))
	s.apply()

	g := s.create("units", "bridge=guests,script=vif-plug,mac="+unitMAC)
	g.expect("GUEST-PING-OK 192.168.70.1")
	s.isPort(g.vif(0), "guests")
	s.takes(g.vif(0), paths.Shortcut)
	m.becomes("vifplugd.service", "StatusText", "1 NIC plugged, 0 failed, 0 on their way")
	m.journals(g.vif(0))

	m.daemonDies(g)
	m.reloads(g)
	m.handsTapsOver(g)
	m.loops(g)
	g.destroy()
	m.stops()
	m.boots()
}

// journals: the record of a NIC that was plugged can be found by its fields.
func (m *manager) journals(vif string) {
	m.h.Helper()
	m.h.eventually("the journal has it", 20*time.Second, func() error {
		out, err := m.try("journalctl", "--output=json", "--unit=vifplugd.service", "VIF="+vif, "MESSAGE_ID="+systemd.MessageIDs["nic.plugged"])
		if err != nil || out == "" {
			return fmt.Errorf("no record: %w: %s", err, out)
		}
		var record map[string]any
		line, _, _ := strings.Cut(out, "\n")
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			return fmt.Errorf("%w: %s", err, line)
		}
		assert.Equal(m.h, "vifplugd", record["SYSLOG_IDENTIFIER"])
		assert.Equal(m.h, "guests", record["NETWORK"], line)
		return nil
	})
}

// daemonDies: killed, and stopped dead, it is back, and the guest's NIC was a port all the while.
func (m *manager) daemonDies(g *guest) {
	m.h.Helper()
	m.kill("vifplugd.service", "SIGKILL")
	m.becomes("vifplugd.service", "NRestarts", "1")
	m.becomes("vifplugd.service", "SubState", "running")
	m.h.plugged(g.vif(0), "guests")
	m.h.takes(g.vif(0), paths.Shortcut)

	assert.Equal(m.h, "1min", m.property("vifplugd.service", "WatchdogUSec"))
	dir := "/run/systemd/system/vifplugd.service.d"
	require.NoError(m.h, os.MkdirAll(dir, 0o755))
	require.NoError(m.h, os.WriteFile(dir+"/watchdog.conf", []byte("[Service]\nWatchdogSec=10s\n"), 0o644)) // a minute is too long for a test
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "vifplugd.service")
	m.kill("vifplugd.service", "SIGSTOP")
	m.h.eventually("the watchdog has ended it", time.Minute, func() error {
		if m.property("vifplugd.service", "NRestarts") == "0" { // counted from the restart by hand
			return errors.New("it has not been restarted")
		}
		return nil
	})
	m.becomes("vifplugd.service", "SubState", "running")
	require.NoError(m.h, os.RemoveAll(dir))
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "vifplugd.service")
	m.h.plugged(g.vif(0), "guests")
	m.h.takes(g.vif(0), paths.Shortcut)
	g.expect("GUEST-PING-OK 192.168.70.1")
}

// reloads: another path is taken when the configuration says so.
func (m *manager) reloads(g *guest) {
	m.h.Helper()
	for _, path := range []paths.Path{paths.Bridge, paths.Shortcut} {
		text := strings.Replace(unitsSite, `"shortcut"`, strconv.Quote(string(path)), 1)
		require.NoError(m.h, os.WriteFile("/etc/vifplug/vifplug.toml", []byte(text), 0o600))
		m.run("systemctl", "reload", "vifplugd.service")
		m.h.takes(g.vif(0), path)
	}
}

// handsTapsOver: the sandbox leaves the daemon what it takes to open /dev/net/tun for others, and AF_XDP's sockets.
func (m *manager) handsTapsOver(g *guest) {
	m.h.Helper()
	// A tap is plugged beside a NIC that QEMU emulates, which xl gives to HVM guests alone: they take a minute to boot here.
	require.NoError(m.h, m.h.store.Write(m.h.Context(), fmt.Sprintf("/local/domain/0/backend/vif/%d/0/type", g.id), "vif_ioemu"))
	tap := strings.TrimSpace(m.h.run("vifctl", "tap", "create", "units", "0"))
	m.h.tapOf(g.vif(0), tap)
	m.h.isPort(tap, "guests")
	m.h.run("vifctl", "tap", "delete", "units", "0")
	out := m.h.run("vifctl", "tap", "create", "units", "0", "--", "sh", "-c", "ls -l /proc/$$/fd; echo {}")
	assert.Contains(m.h, out, "/dev/net/tun")
	m.h.gone(tap)

	port := fmt.Sprintf("tap%d.0", g.id)
	out = m.h.run("vifctl", "tap", "create", "units", "0", "--af-xdp", "--", "sh", "-c", "ls -l /proc/$$/fd; echo {}")
	assert.Contains(m.h, out, "socket:")
	m.h.tapOf(g.vif(0), port)
	m.h.run("vifctl", "tap", "delete", "units", "0", "--af-xdp")
	m.h.gone(port)
}

// loops: the first QEMU to connect has vif-loop started, in its sandbox, and its frames reach the network.
func (m *manager) loops(g *guest) {
	m.h.Helper()
	m.run("systemctl", "start", "vif-loop@units.0.socket")
	service := "vif-loop@units.0.service"
	port := fmt.Sprintf("tap%d.0", g.id)
	for range 2 { // the second finds the first one's port
		qemu, err := net.Dial("unix", "/run/vifplug/loop/units.0.sock")
		require.NoError(m.h, err)
		m.h.tapOf(g.vif(0), port)
		m.h.isPort(port, "guests")
		asks(m.h, qemu)
		m.h.takes(port, paths.Socket)
		assert.NotEqual(m.h, "0", m.uid(service), "it has given root up")
		require.NoError(m.h, qemu.Close())
		m.becomes(service, "ActiveState", "inactive")
		assert.Equal(m.h, "active", m.property("vif-loop@units.0.socket", "ActiveState"), "for the next QEMU")
	}
	m.run("systemctl", "stop", "vif-loop@units.0.socket")
	m.h.run("vif-loop", "--guest", "units", "--nic", "0", "--remove")
	m.h.gone(port)
}

// uid is the user that a unit's main process runs as.
func (m *manager) uid(unit string) string {
	m.h.Helper()
	status := m.run("cat", "/proc/"+m.property(unit, "MainPID")+"/status")
	_, after, _ := strings.Cut(status, "\nUid:")
	fields := strings.Fields(after)
	require.NotEmpty(m.h, fields, status)
	return fields[0]
}

// asks sends ARP requests for the far machine by QEMU's stream until an answer comes.
func asks(h *host, qemu net.Conn) {
	h.Helper()
	mac, err := net.ParseMAC(unitMAC)
	require.NoError(h, err)
	frame := make([]byte, 4+60)
	binary.BigEndian.PutUint32(frame, 60)
	copy(frame[4:], "\xff\xff\xff\xff\xff\xff")
	copy(frame[10:], mac)
	copy(frame[16:], "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01")
	copy(frame[26:], mac)
	copy(frame[32:], net.IPv4(192, 168, 70, 66).To4())
	copy(frame[42:], net.IPv4(192, 168, 70, 1).To4())
	require.NoError(h, qemu.SetDeadline(time.Now().Add(time.Minute)))
	answered := make(chan error, 1)
	go runUntilAnswered(qemu, answered)
	for {
		_, err := qemu.Write(frame)
		require.NoError(h, err)
		select {
		case err := <-answered:
			require.NoError(h, err)
			return
		case <-time.After(time.Second): // the port may have been nobody's yet, or the network has lost it
		}
	}
}

// runUntilAnswered reads frames until an ARP reply comes.
func runUntilAnswered(qemu net.Conn, answered chan<- error) {
	for {
		length := make([]byte, 4)
		_, err := io.ReadFull(qemu, length)
		frame := make([]byte, binary.BigEndian.Uint32(length))
		if err == nil {
			_, err = io.ReadFull(qemu, frame)
		}
		if err != nil || len(frame) >= 22 && string(frame[12:14]) == "\x08\x06" && frame[21] == 2 {
			answered <- err
			return
		}
	}
}

// stops: it ends by itself, and well, and guests' networks stay.
func (m *manager) stops() {
	m.h.Helper()
	m.run("systemctl", "stop", "vifplugd.socket", "vifplugd.service")
	assert.Equal(m.h, "success", m.property("vifplugd.service", "Result"))
	assert.Equal(m.h, "0", m.property("vifplugd.service", "ExecMainStatus"))
	_, err := bridgetest.Index("guests")
	assert.NoError(m.h, err)
}

// boots: the networks come before vifplugd, from what was applied last.
func (m *manager) boots() {
	m.h.Helper()
	m.h.run("ip", "link", "del", "guests")
	m.run("systemctl", "restart", "vifplug-networks.service") // it was active already, for vifplugd
	assert.Equal(m.h, "success", m.property("vifplug-networks.service", "Result"))
	m.h.run("sh", "-c", "[ $(basename $(readlink /sys/class/net/eth0/master)) = guests ]")
	m.run("systemctl", "start", "vifplugd.service")
	m.becomes("vifplugd.service", "SubState", "running")
	m.h.run("vifctl", "diff")
	m.run("systemctl", "stop", "vifplugd.socket", "vifplugd.service", "vifplug-networks.service")
}
