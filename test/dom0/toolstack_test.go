//go:build xen

package dom0

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
)

// tree is what the store has of a guest's NIC, with permissions, without what netback and the guest add.
func (g *guest) tree(dev int) string {
	g.h.Helper()
	var out []string
	for _, dir := range []string{"/libxl/%d/device/vif/%d", "/local/domain/0/backend/vif/%d/%d", "/local/domain/%d/device/vif/%d"} {
		for line := range strings.Lines(g.h.run("xenstore-ls", "-fp", fmt.Sprintf(dir, g.id, dev))) {
			if !added.MatchString(line) {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(out, "\n")
}

// added are the nodes that are not the toolstack's.
var added = regexp.MustCompile(`/(feature-|multi-queue-|[rt]x-ring|event-channel|request-|xdp-|ctrl-)|/state = |/hotplug-status = "connected"|hotplug-error`)

// What vifctl attach writes is what xl network-attach writes, to the last permission; and each takes away what the other has attached.
func TestAttachIsLikeXl(t *testing.T) {
	h := newHost(t)
	h.bridge("br0", net0)
	h.startDaemon()
	g := h.create("like", "bridge=br0,script=vif-plug")
	g.expect("GUEST-PING-OK")
	const mac = "00:16:3e:01:02:03"
	h.run("xl", "network-attach", "like", "bridge=br0", "mac="+mac, "rate=10Mb/s@20ms", "mtu=1400", "ip=10.0.0.5 10.0.0.6", "script=vif-plug")
	h.plugged(g.vif(1), "br0")
	xls := g.tree(1)
	h.run("vifctl", "detach", g.vif(1))
	h.gone(g.vif(1))
	left := h.run("xl", "network-list", "like")
	assert.NotContains(t, left, mac)

	out := h.run("vifctl", "attach", "like", "--network", "br0", "--mac", mac, "--rate", "10Mb/s@20ms", "--mtu", "1400", "--ip", "10.0.0.5,10.0.0.6")
	assert.Contains(t, out, g.vif(1)+": eth1 of guest like")
	h.isPort(g.vif(1), "br0")
	sorted := func(s string) []string { return strings.Split(s, "\n") }
	assert.ElementsMatch(t, sorted(xls), sorted(g.tree(1)))
	assert.Contains(t, h.run("xl", "network-list", "like"), mac)
	assert.Contains(t, h.run("xl", "list", "-l", "like"), `"name": "like"`, "xl still reads the guest's configuration")
	h.run("xl", "network-detach", "like", "1")
	h.gone(g.vif(1))

	h.run("xl", "network-attach", "like", "bridge=br0", "script=vif-plug")
	h.plugged(g.vif(1), "br0")
	h.run("vifctl", "detach", "like", "1")
	h.gone(g.vif(1))
	g.destroy()
}

// An operator attaches a NIC to a running guest, moves it to another network while the guest uses it, and detaches it.
func TestAttachMoveDetach(t *testing.T) {
	h := newHost(t)
	h.bridge("br0", net0)
	h.bridge("br1", "")
	h.startDaemon()
	ev := h.listen()
	g := h.create("moves", "bridge=br0,script=vif-plug")
	g.expect("GUEST-PING-OK")
	vif := g.vif(0)

	h.run("vifctl", "move", vif, "--network", "br1")
	h.isPort(vif, "br1")
	assert.Contains(t, ev.expect(hotplug.NICChanged, vif).Detail, "move from br0 to br1")
	h.run("ip", "addr", "del", net0, "dev", "br0")
	h.run("ip", "addr", "add", net0, "dev", "br1")
	g.expect("GUEST-PING-OK") // one that was under way may still have been br0's
	g.expect("GUEST-PING-OK")
	g.expect("GUEST-PING-OK")

	out := h.run("vifctl", "attach", "moves", "--network", "br1")
	assert.Contains(t, out, "plugged on br1")
	h.eventually("the guest has connected eth1", 30*time.Second, func() error {
		state, err := h.store.Read(t.Context(), fmt.Sprintf("/local/domain/0/backend/vif/%d/1/state", g.id))
		if err == nil && state != "4" {
			err = fmt.Errorf("netback is in state %s", state)
		}
		return err
	})
	h.run("vifctl", "detach", g.vif(1))
	h.gone(g.vif(1))
	h.run("xl", "network-attach", "moves", "bridge=br0", "script=vif-plug")
	h.plugged(g.vif(1), "br0")

	h.run("vifctl", "move", vif, "--network", "br0")
	h.isPort(vif, "br0")
	h.run("ip", "addr", "del", net0, "dev", "br1")
	h.run("ip", "addr", "add", net0, "dev", "br0")
	for range 3 {
		g.expect("GUEST-PING-OK")
	}
	refused, err := h.try("vifctl", "move", vif, "--network", "br7")
	require.Error(t, err)
	assert.Contains(t, refused, `no network and no bridge is called "br7". Did you mean br0?`)
	h.isPort(vif, "br0")
	h.run("xl", "destroy", "moves")
	h.gone(vif)
}

// A guest is rebooted: libxl makes the new domain from its own record, which has the NICs of its configuration and of xl network-attach, not those
// of vifctl attach; those come too where xl is given the new configuration. Nor
// does it know where vifctl has moved one.
func TestReboot(t *testing.T) {
	h := newHost(t)
	h.bridge("br0", net0)
	h.bridge("br1", "")
	h.startDaemon()
	g := h.create("again", "bridge=br0,script=vif-plug")
	g.expect("GUEST-PING-OK")
	const ours, xls = "00:16:3e:00:00:21", "00:16:3e:00:00:22"
	attached := h.run("vifctl", "attach", "again", "--network", "br0", "--mac", ours)
	assert.Contains(t, attached, g.vif(1))
	h.run("xl", "network-attach", "again", "bridge=br0", "mac="+xls, "script=vif-plug")
	h.run("vifctl", "move", g.vif(0), "--network", "br1")
	h.isPort(g.vif(0), "br1")
	g.reboot()
	h.plugged(g.vif(0), "br0")
	h.plugged(g.vif(2), "br0")
	list := h.run("xl", "network-list", "again")
	assert.Contains(t, list, xls)
	assert.NotContains(t, list, ours)

	g.expect("GUEST-PING-OK 192.168.70.1")
	h.run("xl", "config-update", "again", h.config("again", "", "bridge=br0,script=vif-plug", "bridge=br0,script=vif-plug,mac="+ours))
	g.reboot()
	h.plugged(g.vif(1), "br0")
	assert.Contains(t, h.run("xl", "network-list", "again"), ours)
	g.destroy()
}
