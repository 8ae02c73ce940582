package firewall

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/test/netns"
)

// watch is a monitor of the test's namespace. A test that waits for what never comes is ended by the test binary's own time.
func watch(t *testing.T) *Monitor {
	t.Helper()
	tool(t, "nft")
	netns.New(t)
	m, err := OpenMonitor()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

// quiet says that nothing came that matters.
func quiet(t *testing.T, m *Monitor) {
	t.Helper()
	require.NoError(t, m.nl.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	require.ErrorIs(t, m.Receive(), os.ErrDeadlineExceeded)
	require.NoError(t, m.nl.SetReadDeadline(time.Time{}))
}

func TestMonitor(t *testing.T) {
	m := watch(t)
	for _, change := range []string{
		`add table bridge guard`,
		`add chain bridge guard forward { type filter hook forward priority 0; policy accept; }`,
		`add rule bridge guard forward ether type arp drop`,
		`flush chain bridge guard forward`,
		`delete table bridge guard`,
	} {
		run(t, change, "nft", "-f", "-")
		require.NoError(t, m.Receive(), change)
		for seen := false; !seen; { // what else belongs to it
			require.NoError(t, m.nl.SetReadDeadline(time.Now().Add(30*time.Millisecond)))
			seen = m.Receive() != nil
		}
		require.NoError(t, m.nl.SetReadDeadline(time.Time{}))
	}
}

func TestMonitorKeepsQuietAboutOurOwn(t *testing.T) {
	m := watch(t)
	run(t, `
		table bridge vifplug {
			set macs { type ether_addr; }
			chain forward { type filter hook forward priority 0; policy accept; ether saddr @macs drop; }
		}`, "nft", "-f", "-")
	quiet(t, m)
	run(t, "add element bridge vifplug macs { 02:00:00:00:00:01 }", "nft", "-f", "-")
	quiet(t, m)
	run(t, "delete table bridge vifplug", "nft", "-f", "-")
	quiet(t, m)
}

func TestMonitorKeepsQuietAboutElements(t *testing.T) {
	m := watch(t)
	run(t, "table ip other { set banned { type ipv4_addr; }; }", "nft", "-f", "-")
	require.NoError(t, m.Receive())
	run(t, "add element ip other banned { 192.0.2.1 }", "nft", "-f", "-")
	quiet(t, m)
}

// Events that were lost may have mattered.
func TestMonitorOverflows(t *testing.T) {
	m := watch(t)
	require.NoError(t, m.nl.SetReadBuffer(1))
	run(t, "table ip other { set banned { type ipv4_addr; }; }", "nft", "-f", "-")
	require.NoError(t, m.Receive())
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "add element ip other banned { 10.0.%d.%d }\n", i/250, i%250)
	}
	run(t, text.String(), "nft", "-f", "-")
	require.NoError(t, m.Receive(), "none of these is told, but one that is lost")
}

func TestMonitorEnds(t *testing.T) {
	netns.New(t)
	m, err := OpenMonitor()
	require.NoError(t, err)
	ended := make(chan error)
	go runReceive(m, ended)
	require.NoError(t, m.Close())
	require.ErrorContains(t, <-ended, "firewall: receive events: ")
}

// runReceive receives to the end.
func runReceive(m *Monitor, ended chan<- error) {
	for {
		if err := m.Receive(); err != nil {
			ended <- err
			return
		}
	}
}

func TestMatters(t *testing.T) {
	msg := func(kind int, name string) netlink.Message {
		b, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(name), 0)}})
		require.NoError(t, err)
		return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind)}, Data: append(make([]byte, nfgenmsg), b...)}
	}
	for _, kind := range []int{unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE} {
		assert.True(t, matters(msg(kind, "guard")))
		assert.True(t, matters(msg(kind, "vifplugged")))
		assert.False(t, matters(msg(kind, Own)))
		assert.True(t, matters(netlink.Message{Header: msg(kind, "").Header, Data: []byte{1}}), "what cannot be read may matter")
	}
	assert.False(t, matters(msg(unix.NFT_MSG_NEWGEN, "guard")))
	assert.False(t, matters(msg(unix.NFT_MSG_NEWSETELEM, "guard")))
}
