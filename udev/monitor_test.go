package udev

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/test/netns"
)

func open(t *testing.T) *Monitor {
	t.Helper()
	m, err := OpenMonitor()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

// ofLoopback skips what the machine's other devices may send meanwhile.
func ofLoopback(t *testing.T, m *Monitor) Event {
	t.Helper()
	for {
		e, err := m.Receive()
		require.NoError(t, err)
		if e.Env["INTERFACE"] == "lo" {
			return e
		}
	}
}

func TestMonitorReceives(t *testing.T) {
	netns.New(t)
	m := open(t)
	trigger(t, "add 12345678-1234-1234-1234-123456789abc KEY=of")
	e := ofLoopback(t, m)
	assert.Equal(t, "add", e.Action)
	assert.Equal(t, "net", e.Subsystem)
	assert.Equal(t, "/devices/virtual/net/lo", e.DevPath)
	assert.Equal(t, "lo", e.SysName())
	assert.Equal(t, "of", e.Env["SYNTH_ARG_KEY"])
	assert.Zero(t, m.Drops())
}

// Each forger sends a message that Parse would take. None may be seen, the kernel's own that follows is.
func TestMonitorDropsForgeries(t *testing.T) {
	netns.New(t)
	m := open(t)
	port := portOf(t, m)
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	require.NoError(t, err)
	defer unix.Close(s)

	for i, to := range []unix.SockaddrNetlink{
		{Family: unix.AF_NETLINK, Pid: port},              // unicast to the monitor
		{Family: unix.AF_NETLINK, Groups: 1},              // multicast to the kernel's group; the kernel itself gets a copy
		{Family: unix.AF_NETLINK, Pid: port, Groups: 1},   // both
		{Family: unix.AF_NETLINK, Pid: port, Groups: 0x3}, // and systemd-udevd's
	} {
		require.NoError(t, unix.Sendto(s, []byte(online), 0, &to))
		trigger(t, "change")
		assert.Equal(t, "change", ofLoopback(t, m).Action)
		assert.GreaterOrEqual(t, m.Drops().Forged, uint64(i+1))
	}
}

// A program may have the kernel itself broadcast a uevent into a namespace; then the sender's port is 0, as for the kernel's own.
func TestMonitorDropsInjected(t *testing.T) {
	netns.New(t)
	m := open(t)
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	require.NoError(t, err)
	defer unix.Close(s)

	// The kernel appends SEQNUM, so the forger leaves it off.
	body := "online@/devices/vif-5-0\x00ACTION=online\x00DEVPATH=/devices/vif-5-0\x00SUBSYSTEM=xen-backend\x00"
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLMSG_MIN_TYPE)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(msg, make([]byte, 8)...)
	require.NoError(t, unix.Sendto(s, append(msg, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	reply := make([]byte, 4096)
	_, _, err = unix.Recvfrom(s, reply, 0)
	require.NoError(t, err)
	require.Zero(t, int32(binary.NativeEndian.Uint32(reply[unix.NLMSG_HDRLEN:])), "the kernel accepted the injection")

	trigger(t, "change")
	assert.Equal(t, "change", ofLoopback(t, m).Action)
	assert.Equal(t, Drops{Forged: 1}, m.Drops())
}

func portOf(t *testing.T, m *Monitor) uint32 {
	t.Helper()
	sa, err := m.conn.Getsockname()
	require.NoError(t, err)
	return sa.(*unix.SockaddrNetlink).Pid
}

func TestMonitorOverflow(t *testing.T) {
	netns.New(t)
	m := open(t)
	require.NoError(t, m.conn.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
	for i := range 100 {
		trigger(t, fmt.Sprintf("change 12345678-1234-1234-1234-123456789abc N=%d", i))
	}
	var err error
	got := 0
	for err == nil {
		if _, err = m.Receive(); err == nil {
			got++
		}
	}
	require.ErrorIs(t, err, ErrOverflow)
	require.Less(t, got, 100)

	// What had been queued before the gap is still there; then the monitor goes on.
	trigger(t, "move")
	for ofLoopback(t, m).Action != "move" {
		trigger(t, "move")
	}
}

func TestMonitorCloseUnblocks(t *testing.T) {
	netns.New(t)
	m, err := OpenMonitor()
	require.NoError(t, err)
	result := make(chan error)
	go runReceive(m, result)
	require.NoError(t, m.Close())
	require.ErrorIs(t, <-result, os.ErrClosed)
	_, err = m.Receive()
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, m.Close(), "a second Close does nothing")
}

func runReceive(m *Monitor, result chan<- error) {
	for {
		if _, err := m.Receive(); err != nil {
			result <- err
			return
		}
	}
}

func TestMonitorPassesOverInvalid(t *testing.T) {
	m := &Monitor{}
	_, ok := m.accept([]byte(online), unix.MSG_TRUNC)
	assert.False(t, ok)
	_, ok = m.accept([]byte("garbage"), 0)
	assert.False(t, ok)
	_, ok = m.accept([]byte(online), 0)
	assert.True(t, ok)
	assert.Equal(t, Drops{Invalid: 2}, m.Drops())
}

func TestFromKernel(t *testing.T) {
	kernel := &unix.SockaddrNetlink{Groups: 1}
	zero := unix.UnixCredentials(&unix.Ucred{})
	assert.True(t, fromKernel(kernel, zero))
	assert.False(t, fromKernel(kernel, nil), "no credentials")
	assert.False(t, fromKernel(kernel, unix.UnixCredentials(&unix.Ucred{Pid: 1})))
	assert.False(t, fromKernel(kernel, unix.UnixCredentials(&unix.Ucred{Uid: 1000})))
	assert.False(t, fromKernel(kernel, zero[:8]), "cut short")
	assert.False(t, fromKernel(kernel, unix.UnixRights(0)), "another kind")
	assert.False(t, fromKernel(&unix.SockaddrNetlink{Groups: 1, Pid: 7}, zero), "a program's port")
	assert.False(t, fromKernel(&unix.SockaddrNetlink{}, zero), "unicast")
	assert.False(t, fromKernel(&unix.SockaddrNetlink{Groups: 2}, zero), "udevd's group")
	assert.False(t, fromKernel(&unix.SockaddrUnix{}, zero))
	assert.False(t, fromKernel(nil, zero))
}
