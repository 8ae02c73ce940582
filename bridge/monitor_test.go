package bridge

import (
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

// monitored gives a monitor of the test's namespace that fails, rather than waits for ever, when what is awaited does not come.
func monitored(t *testing.T, buffer int) *Monitor {
	t.Helper()
	m, err := openMonitor(buffer)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	require.NoError(t, m.nl.SetReadDeadline(time.Now().Add(20*time.Second)))
	return m
}

// until receives up to the event that is awaited and gives all of them.
func until(t *testing.T, m *Monitor, awaited func(LinkEvent) bool) (all []LinkEvent) {
	t.Helper()
	for {
		events, err := m.Receive()
		require.NoError(t, err)
		for _, e := range events {
			all = append(all, e)
			if awaited(e) {
				return all
			}
		}
	}
}

func TestMonitorTells(t *testing.T) {
	c, _ := isolated(t)
	m := monitored(t, monitorBuffer)
	br, v := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0")
	seen := func(want func(Link) bool) LinkEvent {
		t.Helper()
		all := until(t, m, func(e LinkEvent) bool { return e.Link.Index == v && !e.Deleted && want(e.Link) })
		return all[len(all)-1]
	}
	e := seen(func(Link) bool { return true })
	assert.Equal(t, Name("vif5.0"), e.Link.Name)
	assert.Equal(t, "veth", e.Link.Kind)
	assert.Equal(t, sys(t, "vif5.0", "address"), e.Link.MAC.String())

	for _, tc := range []struct {
		change Change
		shows  func(Link) bool
	}{
		{Change{MTU: 9000}, func(l Link) bool { return l.MTU == 9000 }},
		{Change{MAC: &vifMAC}, func(l Link) bool { return l.MAC == vifMAC }},
		{Change{Master: &br}, func(l Link) bool { return l.Master == br && l.IsPort }},
		{Change{Up: ptr(true)}, func(l Link) bool { return l.Up }},
		{Change{Alias: ptr("vifplug:x")}, func(l Link) bool { return l.Alias == "vifplug:x" }}, // of a device that is down the kernel says nothing
		{Change{Up: ptr(false)}, func(l Link) bool { return !l.Up }},
		{Change{Master: ptr(0)}, func(l Link) bool { return l.Master == 0 && !l.IsPort }},
		{Change{Name: "web01"}, func(l Link) bool { return l.Name == "web01" }},
	} {
		require.NoError(t, c.Set(v, tc.change))
		seen(tc.shows)
	}
	require.NoError(t, bridgetest.Delete("web01"))
	all := until(t, m, func(e LinkEvent) bool { return e.Deleted && e.Link.Index == v })
	assert.Equal(t, Name("web01"), all[len(all)-1].Link.Name)
	_, err := c.Link(v)
	require.ErrorIs(t, err, ErrNotFound, "it is not announced before it is so")
}

// When a port leaves, the kernel says "deleted" in the bridge's family. The device is still there, so nobody may hear of it.
func TestMonitorKeepsBridgeFamilyToItself(t *testing.T) {
	c, _ := isolated(t)
	br, v := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0")
	require.NoError(t, c.Set(v, Change{Master: &br}))
	raw, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	require.NoError(t, err)
	defer raw.Close()
	require.NoError(t, raw.SetReadDeadline(time.Now().Add(20*time.Second)))
	m := monitored(t, monitorBuffer)

	require.NoError(t, c.Set(v, Change{Master: ptr(0)}))
	require.NoError(t, c.Set(v, Change{MTU: 1234}))
	for _, e := range until(t, m, func(e LinkEvent) bool { return e.Link.MTU == 1234 }) {
		assert.False(t, e.Deleted, "%+v", e)
	}
	told := false
	for !told {
		msgs, err := raw.Receive()
		require.NoError(t, err, "the kernel does say it")
		for _, msg := range msgs {
			told = told || msg.Header.Type == unix.RTM_DELLINK && msg.Data[0] == unix.AF_BRIDGE
		}
	}
}

func TestMonitorOverflow(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	m := monitored(t, 1) // the kernel makes it the least there is
	const events = 100
	for i := range events {
		require.NoError(t, c.Set(v, Change{MTU: 1000 + i}))
	}
	var err error
	got := 0
	for err == nil {
		var some []LinkEvent
		some, err = m.Receive()
		got += len(some)
	}
	require.ErrorIs(t, err, ErrOverflow)
	require.Less(t, got, events)

	// What had been queued before the gap is still there; then it goes on.
	for mtu := 5000; ; mtu++ {
		require.NoError(t, c.Set(v, Change{MTU: mtu}))
		some, err := m.Receive()
		require.NoError(t, err)
		if some[len(some)-1].Link.MTU >= 5000 {
			break
		}
	}
}

// A monitor that is opened as the daemon's has room for a thousand guests that start at once, of which nobody reads yet.
func TestMonitorHasRoom(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	m := monitored(t, monitorBuffer)
	const events = 3000
	for i := range events {
		require.NoError(t, c.Set(v, Change{MTU: 1000 + i}))
	}
	all := until(t, m, func(e LinkEvent) bool { return e.Link.MTU == 1000+events-1 })
	assert.GreaterOrEqual(t, len(all), events, "none is lost")
}

func TestMonitorCloseEndsReceive(t *testing.T) {
	netns.New(t)
	m, err := OpenMonitor()
	require.NoError(t, err)
	result := make(chan error)
	go runReceive(m, result)
	require.NoError(t, m.Close())
	require.ErrorContains(t, <-result, "bridge: receive link events: ")
	_, err = m.Receive()
	require.ErrorContains(t, err, "bridge: receive link events: ")
	assert.NotErrorIs(t, err, ErrOverflow)
}

func runReceive(m *Monitor, result chan<- error) {
	for {
		if _, err := m.Receive(); err != nil {
			result <- err
			return
		}
	}
}

// What is no link message, or none that can be read, is passed over; the others beside it count.
func TestLinkEventsPassOver(t *testing.T) {
	short := netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: make([]byte, ifinfo-1)}
	family := named(0, 4, "port")
	family.Data[0] = unix.AF_BRIDGE
	gone := named(0, 3, "vif5.0")
	gone.Header.Type = unix.RTM_DELLINK
	got := linkEvents([]netlink.Message{short, {Header: netlink.Header{Type: unix.RTM_NEWADDR}, Data: make([]byte, 16)}, family, named(0, 3, "vif5.0"), gone})
	require.Len(t, got, 2)
	assert.Equal(t, []Name{"vif5.0", "vif5.0"}, []Name{got[0].Link.Name, got[1].Link.Name})
	assert.Equal(t, []bool{false, true}, []bool{got[0].Deleted, got[1].Deleted})
	assert.Empty(t, linkEvents(nil))
}
