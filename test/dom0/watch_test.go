//go:build xen

package dom0

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
)

// Watch mode: the NIC's script only exits 0, the daemon plugs. And it keeps the port: taken off, set down, its bridge deleted and made again.
func TestWatchMode(t *testing.T) {
	h := newHost(t)
	h.bridge("br0", net0)
	h.startDaemon()
	ev := h.listen()
	g := h.create("watch", "bridge=br0,script=no-op")
	h.plugged(g.vif(0), "br0")
	g.expect("GUEST-PING-OK")

	h.run("ip", "link", "set", g.vif(0), "nomaster")
	ev.expect(hotplug.NICBack, g.vif(0))
	h.isPort(g.vif(0), "br0")
	h.run("ip", "link", "set", g.vif(0), "down")
	ev.expect(hotplug.NICBack, g.vif(0))
	h.isPort(g.vif(0), "br0")
	h.run("ip", "link", "del", "br0")
	ev.expect(hotplug.NICLost, g.vif(0))
	h.run("ip", "link", "add", "br0", "type", "bridge")
	ev.expect(hotplug.NICBack, g.vif(0))
	h.run("ip", "addr", "add", net0, "dev", "br0")
	h.run("ip", "link", "set", "br0", "up")
	g.expect("GUEST-PING-OK")
	g.destroy()
}

// Through /dev/xen/xenbus, as in a driver domain or beside a stub domain's store.
func TestThroughTheDevice(t *testing.T) {
	h := newHost(t)
	h.bridge("br0", net0)
	h.startDaemon("--xenstore", "dev")
	st, err := h.control().Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "dev:/dev/xen/xenbus", st.Daemon.Store)
	g := h.create("dev", "bridge=br0,script=no-op")
	h.plugged(g.vif(0), "br0")
	g.expect("GUEST-PING-OK")
	g.destroy()
}

// netback is unbound and bound again: another device under the same node, which nobody but vifplug plugs again.
func TestDriverRebind(t *testing.T) {
	h := newHost(t)
	h.bridge("br0", net0)
	h.startDaemon()
	ev := h.listen()
	g := h.create("rebind", "bridge=br0,script=vif-plug")
	g.expect("GUEST-PING-OK")
	dev := fmt.Sprintf("vif-%d-0", g.id)
	require.NoError(t, os.WriteFile("/sys/bus/xen-backend/drivers/vif/unbind", []byte(dev), 0o200))
	ev.expect(hotplug.NICLost, g.vif(0))
	h.eventually("vifplugd waits for the device", 20*time.Second, func() error { // before, it may have put right what netback took away first
		x, err := h.control().NIC(t.Context(), g.vif(0))
		if err == nil && x.State == hotplug.Plugged {
			err = errors.New("it has it still")
		}
		return err
	})
	require.NoError(t, os.WriteFile("/sys/bus/xen-backend/drivers/vif/bind", []byte(dev), 0o200))
	ev.expect(hotplug.NICBack, g.vif(0))
	h.plugged(g.vif(0), "br0")
	assert.Equal(t, "connected", h.hotplugStatus(g.id, 0))
	g.destroy()
}

// Domain events: created, renamed, shut down, crashed, destroyed, with the hypervisor's word for why.
func TestDomainEvents(t *testing.T) {
	h := newHost(t)
	h.startDaemon()
	ev := h.listen()
	cfg := h.config("ev", "ping=none")
	b, err := os.ReadFile(cfg)
	require.NoError(t, err)
	text := string(b) + "on_poweroff = \"preserve\"\non_crash = \"preserve\"\n"
	require.NoError(t, os.WriteFile(cfg, []byte(text), 0o600))
	h.Cleanup(func() { _, _ = h.try("xl", "destroy", "ev2"); _, _ = h.try("xl", "destroy", "ev") })
	h.run("xl", "create", "-q", cfg)
	created := ev.expect(hotplug.DomainCreated, "ev")
	assert.NotZero(t, created.Domain.ID)
	assert.Len(t, created.Domain.UUID, 36)
	h.run("xl", "rename", "ev", "ev2")
	ev.expect(hotplug.DomainRenamed, "ev2")
	g := &guest{h: h, name: "ev2"}
	g.expect("GUEST-NET-READY")
	h.run("xl", "shutdown", "ev2")
	down := ev.expect(hotplug.DomainShutdown, "ev2")
	assert.Equal(t, "poweroff", down.Detail)
	h.run("xl", "destroy", "ev2")
	ev.expect(hotplug.DomainDestroyed, "ev2")

	require.NoError(t, os.WriteFile(cfg, []byte(strings.ReplaceAll(text, "ping=none", "ping=none crashafter=1")), 0o600))
	h.run("xl", "create", "-q", cfg)
	crashed := ev.expect(hotplug.DomainCrashed, "ev")
	assert.Equal(t, "crash", crashed.Detail)
	h.run("xl", "destroy", "ev")
	ev.expect(hotplug.DomainDestroyed, "ev")
}

// The real systemd-udevd with the shipped rules, the NIC's script a no-op, and no daemon: the rule runs vif-plug, which plugs the NIC.
func TestUdevRule(t *testing.T) {
	h := newHost(t)
	h.bridge("br0", net0)
	rules, err := os.ReadFile("/usr/local/bin/70-vifplug.rules") // where xenvm puts what is shipped
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll("/run/udev/rules.d", 0o755))
	require.NoError(t, os.WriteFile("/run/udev/rules.d/70-vifplug.rules", rules, 0o600))
	udevd := exec.Command("/lib/systemd/systemd-udevd")
	udevd.Stderr = os.Stderr
	require.NoError(t, udevd.Start())
	h.Cleanup(func() { _ = udevd.Process.Kill(); _ = udevd.Wait() })
	h.eventually("udevd answers", 20*time.Second, func() error {
		out, err := h.try("udevadm", "control", "--ping")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	g := h.create("udev", "bridge=br0,script=no-op")
	h.eventually("the rule has plugged the NIC", 30*time.Second, func() error {
		if s := h.hotplugStatus(g.id, 0); s != "connected" {
			return fmt.Errorf("hotplug-status is %q", s)
		}
		return nil
	})
	h.isPort(g.vif(0), "br0")
	g.expect("GUEST-PING-OK")
	g.destroy()
}
