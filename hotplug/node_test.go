package hotplug

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func values(kv ...string) map[string]string {
	m := map[string]string{"frontend-id": "5", "state": "2", "online": "1", "bridge": "xenbr0", "type": "vif"}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func TestParseNode(t *testing.T) {
	n, err := parseNode(Key{Front: 5, Device: 0}, values("mac", "00:16:3E:01:02:03", "mtu", "9000", "vifname", "web0", "script", "/etc/xen/scripts/vif-plug",
		"hotplug-status", "connected", "hotplug-error", "old", "vlan", "13"), nil)
	require.NoError(t, err)
	assert.Equal(t, &Node{
		State: StateInitWait, Online: true, Bridge: "xenbr0", VIFName: "web0", MAC: "00:16:3e:01:02:03", MTU: 9000, Type: "vif",
		Script: "/etc/xen/scripts/vif-plug", Status: "connected", Error: "old", VLAN: 13,
	}, n)
	n, err = parseNode(Key{Front: 5, Device: 0}, map[string]string{"frontend-id": "5"}, nil)
	require.NoError(t, err)
	assert.Equal(t, &Node{Online: true}, n, "missing nodes are no problem: the toolstack may still be writing")
}

// Rows 6, 7 and 20 of section 9: values that would be misread by the kernel, a shell or a reader are refused, and the node is named.
func TestParseNodeProblems(t *testing.T) {
	for _, c := range []struct{ node, value string }{
		{"vifname", "a/b"},
		{"vifname", "a b"},
		{"vifname", "."},
		{"vifname", ".."},
		{"vifname", "eth%d"},
		{"vifname", "sixteen-bytes-xx"},
		{"vifname", "x\ny"},
		{"vifname", "x\x00y"},
		{"bridge", "xenbr0;reboot"},
		{"bridge", "$(reboot)"},
		{"bridge", "br0:10:20"},
		{"bridge", "xenbr0\n"},
		{"bridge", "sixteen-bytes-xx"},
		{"bridge", "Production LAN"},
		{"vlan", "0"},
		{"vlan", "4095"},
		{"vlan", "10p/20"},
		{"vlan", "013"},
		{"vlan", " 13"},
		{"mtu", "0"},
		{"mtu", "67"},
		{"mtu", "65518"},
		{"mtu", "1500 "},
		{"mtu", "-1"},
		{"mtu", "0x5dc"},
		{"mac", "00:16:3e:01:02"},
		{"mac", "00:16:3e:01:02:zz"},
		{"mac", "00:16:3e:01:02:03:04:05"},
		{"state", "9"},
		{"state", "x"},
		{"state", "02"},
		{"frontend-id", "6"},
		{"frontend-id", "-5"},
		{"frontend-id", ""},
	} {
		_, err := parseNode(Key{Front: 5, Device: 0}, values(c.node, c.value), Networks{{Name: "other", ID: "4B"}})
		var p *Problem
		if assert.ErrorAs(t, err, &p, "%s = %q", c.node, c.value) {
			assert.Equal(t, c.node, p.Node)
			assert.Contains(t, err.Error(), "backend node "+c.node)
			assert.NotContains(t, err.Error(), "\n", "an error is one line")
		}
	}
}

// Row 7: with an emulated NIC the tap's name, with -emu behind, must fit as well.
func TestParseNodeLeavesRoomForTheTap(t *testing.T) {
	_, err := parseNode(Key{Front: 5, Device: 0}, values("vifname", "elevenbytes", "type", "vif_ioemu"), nil)
	require.NoError(t, err)
	_, err = parseNode(Key{Front: 5, Device: 0}, values("vifname", "twelve-bytes", "type", "vif_ioemu"), nil)
	require.Error(t, err)
	_, err = parseNode(Key{Front: 5, Device: 0}, values("vifname", "twelve-bytes"), nil)
	require.NoError(t, err)
}

func TestScripts(t *testing.T) {
	leave := DefaultPolicy().LeaveScripts
	for script, left := range map[string]bool{
		"/etc/xen/scripts/vif-plug": false, "/etc/xen/scripts/vif-bridge": false, "/bin/true": false, "": false,
		"/etc/xen/scripts/vif-route": true, "/etc/xen/scripts/vif-route-qubes": true, "/etc/xen/scripts/vif-nat": true,
		"/etc/xen/scripts/vif-openvswitch": true, "/etc/xen/scripts/../scripts/vif-nat": true,
	} {
		assert.Equal(t, left, (&Node{Script: script}).leftTo(leave), script)
	}
}

func TestPrintable(t *testing.T) {
	assert.Equal(t, "plain", printable("plain", 10))
	assert.Equal(t, "a?b?c", printable("a\nb\x1bc", 10))
	assert.Equal(t, "a?", printable("a\xff", 10))
	assert.Equal(t, "aaaaa...", printable(strings.Repeat("a", 100), 5))
	assert.Equal(t, "ä...", printable("äöü", 3), "never half a character")
}

func FuzzParseNode(f *testing.F) {
	f.Add("5", "2", "1", "xenbr0", "web0", "00:16:3e:01:02:03", "1500", "vif")
	f.Add("5", "9", "x", "$(x)", "%d", "zz", "-1", "vif_ioemu")
	f.Fuzz(func(t *testing.T, front, state, online, br, vifname, mac, mtu, kind string) {
		n, err := parseNode(Key{Front: 5, Device: 0}, map[string]string{
			"frontend-id": front, "state": state, "online": online, "bridge": br, "vifname": vifname, "mac": mac, "mtu": mtu, "type": kind,
		}, nil)
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || strings.ContainsAny(err.Error(), "\n\x1b\x00") || len(err.Error()) > 600 {
				t.Errorf("%q is no error to show", err)
			}
			return
		}
		if n.State > StateReconfigured || n.MTU != 0 && (n.MTU < minMTU || n.MTU > maxMTU) || len(n.VIFName) > maxName || strings.ContainsAny(string(n.VIFName)+n.Bridge, "/ %\n") {
			t.Errorf("accepted %+v", n)
		}
	})
}
