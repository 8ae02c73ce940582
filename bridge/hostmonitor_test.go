package bridge

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// watched is a monitor of the test's namespace. A test that waits for what never comes is ended by the test binary's own time.
func watched(t *testing.T, buffer int) *HostMonitor {
	t.Helper()
	m, err := openHostMonitor(buffer)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

// hinted receives until a hint is as awaited.
func hinted(t *testing.T, m *HostMonitor, awaited func(HostChange) bool) HostChange {
	t.Helper()
	for {
		h, err := m.Receive()
		require.NoError(t, err)
		if awaited(h) {
			return h
		}
	}
}

func TestHostMonitorTells(t *testing.T) {
	c, _ := isolated(t)
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)) // link-local addresses would come in between
	m := watched(t, monitorBuffer)
	v := veth(t, "eth0", "wire0")
	h := hinted(t, m, func(h HostChange) bool { return h.Links })
	assert.Contains(t, h.Devices, v)
	assert.Equal(t, []Name{"eth0", "wire0"}, h.Names, "both ends, in one hint")
	assert.Len(t, h.Devices, 2)

	require.NoError(t, bridgetest.SetUp("eth0"))
	require.NoError(t, bridgetest.SetUp("wire0"))
	hinted(t, m, func(h HostChange) bool { return h.Links })
	require.NoError(t, c.AddAddress("eth0", Address{Prefix: prefix("10.0.0.1/24")}))
	h = hinted(t, m, func(h HostChange) bool { return h.Addresses && len(h.Names) == 0 })
	assert.Contains(t, h.Devices, v)
	r := Route{To: prefix("0.0.0.0/0"), Via: addr("10.0.0.254"), Device: "eth0", Table: 254, Type: 1}
	require.NoError(t, c.AddRoute(r))
	hinted(t, m, func(h HostChange) bool { return h.Routes && !h.Addresses })
	require.NoError(t, c.DeleteRoute(r))
	hinted(t, m, func(h HostChange) bool { return h.Routes })
	require.NoError(t, c.Delete("eth0"))
	h = hinted(t, m, func(h HostChange) bool { return h.Links })
	assert.Contains(t, h.Names, Name("eth0"))
}

// A thousand events are a few hints.
func TestHostMonitorCoalesces(t *testing.T) {
	c, _ := isolated(t)
	m := watched(t, monitorBuffer)
	veth(t, "eth0", "wire0")
	const times = 500
	for i := range times {
		require.NoError(t, c.Configure("eth0", Settings{KeyMTU: strconv.Itoa(2000 + i)}))
	}
	require.NoError(t, c.Create(Device{Name: "last", Kind: "bridge"}))
	hints := 0
	hinted(t, m, func(h HostChange) bool {
		hints++
		return slices.Contains(h.Names, "last")
	})
	assert.Less(t, hints, times/10)
}

// A host that is never quiet is told of all the same.
func TestHostMonitorDoesNotWaitForEver(t *testing.T) {
	isolated(t)
	m := watched(t, monitorBuffer)
	m.quiet = time.Hour
	veth(t, "eth0", "wire0")
	assert.NotEmpty(t, hinted(t, m, func(h HostChange) bool { return h.Links }).Names)
}

func TestHostMonitorOverflows(t *testing.T) {
	c, _ := isolated(t)
	m := watched(t, 1)
	veth(t, "eth0", "wire0")
	for i := range 300 {
		require.NoError(t, c.Configure("eth0", Settings{KeyMTU: strconv.Itoa(2000 + i)}))
	}
	for {
		if _, err := m.Receive(); err != nil {
			require.ErrorIs(t, err, ErrOverflow)
			break
		}
	}
	require.NoError(t, m.nl.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	for err := error(nil); err == nil; {
		_, err = m.nl.Receive() // what the little room had
	}
	require.NoError(t, c.Create(Device{Name: "after", Kind: "bridge"}))
	hinted(t, m, func(h HostChange) bool { return assert.ObjectsAreEqual([]Name{"after"}, h.Names) })
}

func TestHostMonitorEnds(t *testing.T) {
	isolated(t)
	m, err := OpenHostMonitor()
	require.NoError(t, err)
	done := make(chan error)
	go runHint(m, done)
	require.NoError(t, m.Close())
	assert.ErrorContains(t, <-done, "bridge: receive host events: ")
}

func runHint(m *HostMonitor, done chan<- error) {
	_, err := m.Receive()
	done <- err
}

func TestGathered(t *testing.T) {
	g := gathered{devices: map[int]bool{}, names: map[Name]bool{}}
	for _, m := range []netlink.Message{
		{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: []byte{1}},
		{Header: netlink.Header{Type: unix.RTM_NEWADDR}, Data: []byte{1}},
		{Header: netlink.Header{Type: unix.RTM_NEWROUTE}, Data: []byte{1}},
		{Header: netlink.Header{Type: unix.RTM_NEWROUTE}, Data: Route{To: prefix("10.0.0.0/24"), Table: 254, Protocol: 2}.encode(3)}, // the kernel's
		{Header: netlink.Header{Type: unix.RTM_NEWNEIGH}, Data: make([]byte, 64)},
	} {
		g.add(m)
	}
	assert.False(t, g.any())
	g.add(netlink.Message{Header: netlink.Header{Type: unix.RTM_DELROUTE}, Data: Route{To: prefix("10.0.0.0/24"), Table: 254, Protocol: 3}.encode(3)})
	g.add(netlink.Message{Header: netlink.Header{Type: unix.RTM_DELADDR}, Data: Address{Prefix: prefix("10.0.0.1/24")}.encodeKey(9)})
	g.add(named(0, 4, "eth0"))
	assert.Equal(t, HostChange{Links: true, Addresses: true, Routes: true, Devices: []int{4, 9}, Names: []Name{"eth0"}}, g.hint())
}
