package bridge

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// paths is a monitor of the test's namespace. A test that waits for what never comes is ended by the test binary's own time.
func paths(t *testing.T, buffer int) *PathMonitor {
	t.Helper()
	m, err := openPathMonitor(buffer)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

// told receives until a change is as awaited.
func told(t *testing.T, m *PathMonitor, awaited func(PathChange) bool) {
	t.Helper()
	for {
		p, err := m.Receive()
		require.NoError(t, err)
		assert.True(t, p.any(), "never nothing")
		assert.True(t, slices.IsSorted(p.Links))
		assert.Len(t, slices.Compact(slices.Clone(p.Links)), len(p.Links), "each once")
		if awaited(p) {
			return
		}
	}
}

func about(index int) func(PathChange) bool {
	return func(p PathChange) bool { return slices.Contains(p.Links, index) }
}

// settled receives until nothing has come for a moment.
func settled(t *testing.T, m *PathMonitor) {
	t.Helper()
	defer func() { require.NoError(t, m.nl.SetReadDeadline(time.Time{})) }()
	for {
		require.NoError(t, m.nl.SetReadDeadline(time.Now().Add(30*time.Millisecond)))
		if _, err := m.Receive(); err != nil {
			var ne net.Error
			require.ErrorAs(t, err, &ne)
			require.True(t, ne.Timeout(), "%v", err)
			return
		}
	}
}

func TestPathMonitorTells(t *testing.T) {
	c, _ := isolated(t)
	br := bridgeOf(t, "xenbr0")
	v := port(t, c, "xenbr0", "vif5.0", "g5.0")
	m := paths(t, monitorBuffer)
	for _, change := range []struct {
		what  string
		index int
		do    func()
	}{
		{"a port's flag", v, func() { setPort(t, c, v, appendAttr(nil, unix.IFLA_BRPORT_ISOLATED, []byte{1})) }},
		{"the bridge's STP", br, func() { require.NoError(t, c.Configure("xenbr0", Settings{"stp_state": "1"})) }},
		{"and its end", br, func() { require.NoError(t, c.Configure("xenbr0", Settings{"stp_state": "0"})) }},
		{"an MTU", v, func() { require.NoError(t, bridgetest.SetMTU("vif5.0", 1400)) }},
		{"a qdisc", v, func() { tc(t, "qdisc add dev vif5.0 clsact") }},
		{"a filter", v, func() { tc(t, "filter add dev vif5.0 ingress prio 7 protocol all u32 match u32 0 0") }},
		{"a filter less", v, func() { tc(t, "filter del dev vif5.0 ingress") }},
		{"our classifier", v, func() { require.NoError(t, c.AttachClassifier(v, classifier(t, tcPass), ours)) }},
		{"a qdisc less", v, func() { tc(t, "qdisc del dev vif5.0 clsact") }},
		{"a queueing discipline", v, func() { tc(t, "qdisc add dev vif5.0 root tbf rate 100mbit burst 10kb latency 50ms") }},
		{"its carrier", v, func() { require.NoError(t, bridgetest.SetDown("g5.0")) }},
		{"another master", v, func() { require.NoError(t, bridgetest.SetMaster("vif5.0", "")) }},
		{"its end", v, func() { require.NoError(t, bridgetest.Delete("vif5.0")) }},
	} {
		settled(t, m)
		t.Log(change.what)
		change.do()
		told(t, m, about(change.index))
	}
}

func TestPathMonitorTellsStations(t *testing.T) {
	c, _ := isolated(t)
	br := bridgeOf(t, "xenbr0")
	a, b := port(t, c, "xenbr0", "vif5.0", "g5.0"), port(t, c, "xenbr0", "vif6.0", "g6.0")
	m := paths(t, monitorBuffer)
	is := func(port int, deleted bool) func(PathChange) bool {
		return func(p PathChange) bool {
			return slices.Contains(p.FDB, FDBEvent{FDBEntry: FDBEntry{MAC: station, Port: port, Bridge: br}, Deleted: deleted})
		}
	}
	speak(t, "g5.0", "g6.0")
	told(t, m, is(a, false))
	speak(t, "g6.0", "g5.0")
	told(t, m, is(b, false))
	_, err := c.execute(unix.RTM_DELNEIGH, 5, fdbRequest(b, station, 0, unix.NTF_MASTER))
	require.NoError(t, err)
	told(t, m, is(b, true))
}

// The host's own neighbours are no news for paths, and stay in the kernel.
func TestPathMonitorLeavesNeighbours(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "eth0", "wire0")
	require.NoError(t, bridgetest.SetUp("eth0"))
	m := paths(t, monitorBuffer)
	settled(t, m)
	req := make([]byte, ndmsg)
	req[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(req[4:], uint32(v))
	binary.NativeEndian.PutUint16(req[8:], unix.NUD_PERMANENT)
	req = appendAttr(appendAttr(req, unix.NDA_DST, []byte{10, 0, 0, 1}), unix.NDA_LLADDR, station[:])
	_, err := c.execute(unix.RTM_NEWNEIGH, 0x405, req)
	require.NoError(t, err)
	raw, err := m.nl.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		_, err := unix.Read(int(fd), m.room)
		assert.ErrorIs(t, err, unix.EAGAIN, "not even woken")
	}))
}

func TestPathMonitorOverflows(t *testing.T) {
	c, _ := isolated(t)
	m := paths(t, 1)
	v := veth(t, "eth0", "wire0")
	for i := range 300 {
		require.NoError(t, bridgetest.SetMTU("eth0", 2000+i))
	}
	for {
		if _, err := m.Receive(); err != nil {
			require.ErrorIs(t, err, ErrOverflow)
			break
		}
	}
	settled(t, m)
	require.NoError(t, c.Configure("eth0", Settings{KeyMTU: "1400"}))
	told(t, m, about(v))
}

func TestPathMonitorEnds(t *testing.T) {
	isolated(t)
	m, err := OpenPathMonitor()
	require.NoError(t, err)
	ended := make(chan error)
	go runPaths(m, ended)
	require.NoError(t, m.Close())
	require.Error(t, <-ended)
	_, err = m.Receive()
	require.ErrorContains(t, err, "bridge: receive path events: ")
}

// runPaths receives to the end.
func runPaths(m *PathMonitor, ended chan<- error) {
	for {
		if _, err := m.Receive(); err != nil {
			ended <- err
			return
		}
	}
}

func TestPathChangeAdd(t *testing.T) {
	one := func(kind uint16, body []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		return append(append(b, make([]byte, 10)...), body...)
	}
	block := tcRequest(0, atIngress, 1, 0)
	copy(block[4:8], []byte{0xff, 0xff, 0xff, 0xff})
	all := slices.Concat(
		one(unix.RTM_NEWLINK, linkRequest(7)), one(unix.RTM_DELTFILTER, tcRequest(9, atIngress, 1, 0)), one(unix.RTM_NEWTFILTER, block),
		one(unix.RTM_DELNEIGH, fdbReply(7, 3, station, 0, 0)), one(unix.RTM_NEWROUTE, make([]byte, 28)), one(unix.RTM_DELLINK, linkRequest(8)),
	)
	var p PathChange
	p.add(all)
	assert.Equal(t, PathChange{Links: []int{7, 9, 8}, All: true, FDB: []FDBEvent{{FDBEntry{MAC: station, Port: 7, Bridge: 3}, true}}}, p)
	for n := range all {
		var cut PathChange
		cut.add(all[:n])
		assert.LessOrEqual(t, len(cut.Links), 3)
	}
	p = PathChange{FDB: p.FDB[:0]}
	event := one(unix.RTM_NEWNEIGH, fdbReply(7, 3, station, 0, 0))
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		p.FDB = p.FDB[:0]
		p.add(event)
	}), "nothing but the slice")
}
