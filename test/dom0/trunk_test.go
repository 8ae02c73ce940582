//go:build xen

package dom0

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
	"vifplug/hotplug/paths"
)

const trunk = `
[[network]]
name    = "management"
on      = "eth0"
roles   = ["server-management"]
address = ["10.11.10.22/24"]

[[network]]
name           = "trunk"
on             = "eth2"
roles          = ["virtual-machine"]
id             = "trunk"
vlan-filtering = true
`

// One bridge with the VLANs of a port: a NIC in VLAN 13, one in VLAN 14, one in none.
func TestOneBridgeForManyVLANs(t *testing.T) {
	s := newSite(t, trunk, cabling{{"0 10.11.10.1/24"}, {"0 192.168.70.1/24", "13 192.168.71.1/24", "14 192.168.72.1/24"}})
	s.startDaemon("--config", s.dir)
	ev := s.listen()
	s.apply()
	g := s.create("tagged", "bridge=trunk,script=vif-plug")
	s.plugged(g.vif(0), "trunk")
	g.expect("GUEST-PING-OK 192.168.70.1")
	out, err := s.try("xl", "network-attach", "tagged", "bridge=trunk", "vlan=13", "script=vif-plug")
	require.Error(t, err, "xl 4.17 knows no vlan=")
	assert.Contains(t, out, "vlan=13")
	out, err = s.try("xl", "create", "-n", s.config("without", "", "bridge=trunk,vlan=13"))
	require.NoError(t, err)
	assert.Contains(t, out, "unrecognized argument `vlan=13'")
	assert.Contains(t, out, `"bridge": "trunk"`, "it makes the NIC without")
	for i, vlan := range []string{"13", "14"} {
		assert.Contains(t, s.mustVifctl(0, "attach", "tagged", "--network", "trunk", "--vlan", vlan), "VLAN "+vlan)
		g.expect(fmt.Sprintf("GUEST eth%d", i+1))
	}
	places := []string{"1 PVID Egress Untagged", "13 PVID Egress Untagged", "14 PVID Egress Untagged"}
	s.inVLANs(g, places...)
	s.eachReaches(g)
	s.shortcutCarries(g)
	t.Run("tags on the wire", func(t *testing.T) { s.tagsOnTheWire(t, g) })
	t.Run("no way from one VLAN to another", func(t *testing.T) { s.movesBetweenVLANs(t, g) })
	s.inVLANs(g, places...)
	t.Run("the daemon is killed", func(t *testing.T) {
		s.killDaemon()
		s.run("bridge", "vlan", "add", "dev", g.vif(1), "vid", "14")
		s.startDaemon("--config", s.dir)
		s.inVLANs(g, places...)
		s.eachReaches(g)
	})
	t.Run("the bridge is deleted", func(t *testing.T) {
		uplink := s.vlans("eth2")
		assert.Contains(t, uplink, "2-4094")
		ev = s.listen()
		s.run("ip", "link", "del", "trunk")
		ev.expect(hotplug.NetworkRepaired, "trunk")
		for dev := range places {
			s.plugged(g.vif(dev), "trunk")
		}
		s.inVLANs(g, places...)
		assert.Equal(t, uplink, s.vlans("eth2"))
		s.eachReaches(g)
		s.mustVifctl(0, "diff")
	})
	g.destroy()
}

// vlans is what iproute2's bridge(8) says of the VLANs of a port.
func (s *site) vlans(port string) string {
	s.Helper()
	out := s.run("bridge", "-compressvlans", "vlan", "show", "dev", port)
	_, list, _ := strings.Cut(out, port)
	return strings.Join(strings.Fields(list), " ")
}

// inVLANs waits until each NIC is in its VLAN alone.
func (s *site) inVLANs(g *guest, places ...string) {
	s.Helper()
	for dev, place := range places {
		s.eventually(g.vif(dev)+" is in its VLAN", 20*time.Second, func() error {
			if now := s.vlans(g.vif(dev)); now != place {
				return fmt.Errorf("%s has VLANs %q, not %q", g.vif(dev), now, place)
			}
			return nil
		})
	}
}

// eachReaches has the guest ping by each of its NICs.
func (s *site) eachReaches(g *guest) {
	s.Helper()
	for _, peer := range []string{"192.168.70.1", "192.168.71.1", "192.168.72.1"} {
		g.reaches(peer)
	}
}

// shortcutCarries: each NIC's frames go round the bridge, which the program does by giving them the tag that they have on the trunk.
func (s *site) shortcutCarries(g *guest) {
	s.Helper()
	for dev, peer := range []string{"192.168.70.1", "192.168.71.1", "192.168.72.1"} {
		s.takes(g.vif(dev), paths.Shortcut)
		s.eventually("frames of "+g.vif(dev)+" are redirected", 20*time.Second, func() error {
			g.reaches(peer)
			x, err := s.control().NIC(s.Context(), g.vif(dev))
			if err == nil && x.Path.Redirected == 0 {
				err = fmt.Errorf("path %+v", x.Path)
			}
			return err
		})
	}
}

// reaches has the guest ping until an answer comes.
func (g *guest) reaches(peer string) {
	g.h.Helper()
	for range 10 {
		g.say("ping " + peer)
		if strings.Contains(g.expect("GUEST-PING-OK "+peer, "GUEST-PING-LOST "+peer), "OK") {
			return
		}
	}
	require.Failf(g.h, "ping", "the guest does not reach %s", peer)
}

func (s *site) tagsOnTheWire(t *testing.T, g *guest) {
	for i, vlan := range []string{"13", "14"} {
		peer, own := fmt.Sprintf("192.168.7%d.1", i+1), fmt.Sprintf("192.168.7%d.1%d", i+1, i+1)
		dump := exec.CommandContext(t.Context(), "ip", "netns", "exec", "wire", "tcpdump", "-Z", "root", "-l", "-n", "-e", "-c", "2", "-i", "p2", "ether", "host", s.mac(g, i+1), "and", "vlan")
		out, err := dump.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, dump.Start())
		s.eventually("the wire reaches "+own, 20*time.Second, func() error {
			_, err := s.try("ip", "netns", "exec", "wire", "ping", "-c", "1", "-W", "1", own)
			return err
		})
		g.reaches(peer)
		text := make([]byte, 4096)
		n, err := out.Read(text)
		require.NoError(t, err)
		assert.Contains(t, string(text[:n]), "vlan "+vlan)
		_ = dump.Process.Kill()
		_ = dump.Wait()
	}
}

func (s *site) mac(g *guest, dev int) string {
	s.Helper()
	mac, err := s.store.Read(s.Context(), fmt.Sprintf("/local/domain/0/backend/vif/%d/%d/mac", g.id, dev))
	require.NoError(s, err)
	return mac
}

// movesBetweenVLANs moves the NIC of VLAN 13 to VLAN 14 and back. Frames to its very address, in VLAN 14, reach it only there.
func (s *site) movesBetweenVLANs(t *testing.T, g *guest) {
	const own = "192.168.71.11"
	s.wire("ip", "neigh", "replace", own, "lladdr", s.mac(g, 1), "dev", "sw1.14")
	arrives := func() bool {
		_, err := s.try("ip", "netns", "exec", "wire", "ping", "-c", "1", "-W", "1", "-I", "sw1.14", own)
		var exit *exec.ExitError
		require.True(t, err == nil || errors.As(err, &exit), "%v", err)
		return err == nil
	}
	assert.False(t, arrives(), "a frame of VLAN 14 to the NIC in VLAN 13")
	assert.Contains(t, s.mustVifctl(0, "move", g.vif(1), "--network", "trunk", "--vlan", "14"), "VLAN 14")
	s.inVLANs(g, "1 PVID Egress Untagged", "14 PVID Egress Untagged")
	s.eventually("it is reached in VLAN 14", 20*time.Second, func() error {
		if !arrives() {
			return errors.New("no answer")
		}
		return nil
	})
	s.mustVifctl(0, "move", g.vif(1), "--network", "trunk")
	s.inVLANs(g, "1 PVID Egress Untagged", "1 PVID Egress Untagged")
	assert.False(t, arrives(), "a frame of VLAN 14 to the NIC in none")
	s.mustVifctl(0, "move", g.vif(1), "--network", "trunk", "--vlan", "13")
}
