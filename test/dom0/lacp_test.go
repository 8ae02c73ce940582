//go:build xen

package dom0

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vifplug/hotplug"
)

const lacp = `
[[bond]]
name      = "bond0"
ports     = ["eth0", "eth1"]
mode      = "802.3ad"
lacp-rate = "fast"

[[network]]
name    = "lan"
on      = "bond0"
id      = "lan"
roles   = ["server-management", "virtual-machine"]
address = ["10.11.10.22/24"]
`

// LACP with a switch; the bond's second port appears late; then the first one's cable is pulled.
func TestLACPWithALatePort(t *testing.T) {
	s := newSite(t, lacp, cabling{{}})
	s.run("ip", "link", "del", "eth1")
	s.wire("sh", "-ec", `
		ip link del sw0
		ip link add sw0 type bond mode 802.3ad lacp_rate fast miimon 100
		ip link set p0 down
		ip link set p0 master sw0
		ip addr add 10.11.10.1/24 dev sw0
		ip link set sw0 up`)
	s.startDaemon("--config", s.dir)
	assert.Contains(t, s.mustVifctl(0, "apply", "--config", s.dir, "--confirm", "60s"), "port eth1 of bond bond0 does not exist: it joins when it appears")
	s.mustVifctl(0, "confirm")
	s.mustVifctl(0, "diff")
	s.ping("10.11.10.1")
	partner := strings.TrimSpace(s.wire("cat", "/sys/class/net/sw0/address"))
	for _, view := range []string{"devices", "logical"} {
		s.eventually("the view names the partner", 20*time.Second, func() error { return s.shows(view, "partner "+partner) })
	}

	ev := s.listen()
	s.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "p1", "netns", "wire")
	s.wire("ip", "link", "set", "p1", "master", "sw0")
	ev.expect(hotplug.NetworkRepaired, "eth1")
	s.eventually("both ports are in the aggregator", 30*time.Second, func() error {
		b, err := os.ReadFile("/sys/class/net/bond0/bonding/ad_num_ports")
		if err == nil && string(b) != "2\n" {
			err = fmt.Errorf("it has %s", b)
		}
		return err
	})
	assert.NoError(t, s.shows("devices", "of 2 ports, partner "+partner))
	s.mustVifctl(0, "diff")

	s.wire("ip", "link", "set", "p0", "down")
	s.eventually("bond0 does without eth0", 20*time.Second, func() error { return s.shows("devices", "of 1 port, partner "+partner) })
	s.ping("10.11.10.1")
	s.mustVifctl(0, "diff")
}

// shows says whether a view has a text, however it wraps its lines.
func (s *site) shows(view, text string) error {
	s.Helper()
	out := s.mustVifctl(0, "show", "--view", view)
	if !strings.Contains(strings.Join(strings.Fields(out), " "), text) {
		return errors.New("no " + text + " in:\n" + out)
	}
	return nil
}
