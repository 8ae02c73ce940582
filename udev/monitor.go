package udev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// ErrOverflow says that the kernel has dropped events because they were not read in time. The monitor stays usable; the caller looks at
// everything again, since nobody knows what was lost.
var ErrOverflow = errors.New("events were lost")

const (
	kernelGroup = 1       // the kernel's own messages; systemd-udevd sends its own to group 2
	queueBytes  = 8 << 20 // what may wait unread, in bytes as the kernel counts them: some thousand events
)

// Drops counts messages that [Monitor.Receive] has passed over.
type Drops struct {
	Forged  uint64 // sent by a program, not by the kernel
	Invalid uint64 // sent by the kernel, but not understood by [Parse]
}

// Monitor receives uevents of the network namespace in which it was opened: all of the devices that belong to no namespace, where the
// namespace's owner is the initial user namespace, and those of its own network devices.
type Monitor struct {
	conn    *socket.Conn
	closed  atomic.Bool
	forged  atomic.Uint64
	invalid atomic.Uint64
	buf     [MaxMessage]byte // of Receive, as is the next: only one goroutine may call it
	oob     [64]byte
}

// OpenMonitor starts to listen, in the network namespace of the calling thread. It needs no privilege, but without CAP_NET_ADMIN the queue is
// as short as net.core.rmem_max says.
func OpenMonitor() (*Monitor, error) {
	conn, err := socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT, "uevent", nil)
	if err != nil {
		return nil, fmt.Errorf("udev: open monitor: %w", err)
	}
	m := &Monitor{conn: conn}
	if err := m.setup(); err != nil {
		return nil, errors.Join(fmt.Errorf("udev: set up monitor: %w", err), conn.Close())
	}
	return m, nil
}

func (m *Monitor) setup() error {
	// Credentials are asked for before the socket joins the group, so that no message comes without.
	if err := m.conn.SetsockoptInt(unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return err
	}
	if err := m.conn.SetReadBuffer(queueBytes); err != nil {
		return err
	}
	return m.conn.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (kernelGroup - 1)})
}

// Receive waits for the next uevent of the kernel. Forged and malformed messages are passed over and counted. errors.Is holds for
// [ErrOverflow], after which the next call goes on, and for [os.ErrClosed] once the monitor is closed. One goroutine at a time may call it.
func (m *Monitor) Receive() (Event, error) {
	for {
		n, oobn, flags, from, err := m.conn.Recvmsg(context.Background(), m.buf[:], m.oob[:], 0)
		switch {
		case m.closed.Load():
			return Event{}, fmt.Errorf("udev: receive: %w", os.ErrClosed)
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, fmt.Errorf("udev: receive: %w", ErrOverflow)
		case err != nil:
			return Event{}, fmt.Errorf("udev: receive: %w", err)
		case !fromKernel(from, m.oob[:oobn]):
			m.forged.Add(1)
			continue
		}
		if e, ok := m.accept(m.buf[:n], flags); ok {
			return e, nil
		}
	}
}

func (m *Monitor) accept(msg []byte, flags int) (Event, bool) {
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 {
		if e, err := Parse(msg); err == nil {
			return e, true
		}
	}
	m.invalid.Add(1)
	return Event{}, false
}

// fromKernel says that a message was sent by the kernel. The sender's port is 0 for the kernel alone, but it is 0 too for what a program with
// CAP_SYS_ADMIN over the network namespace has the kernel send on (linux: lib/kobject_uevent.c uevent_net_rcv_skb). Such a message still
// carries the credentials of its author, and no program that a pid namespace can see has the process id 0.
func fromKernel(from unix.Sockaddr, oob []byte) bool {
	sender, ok := from.(*unix.SockaddrNetlink)
	if !ok || sender.Pid != 0 || sender.Groups != 1<<(kernelGroup-1) {
		return false
	}
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(controls) != 1 {
		return false
	}
	cred, err := unix.ParseUnixCredentials(&controls[0])
	return err == nil && cred.Pid == 0 && cred.Uid == 0
}

// Drops tells what was passed over so far. Any goroutine may call it.
func (m *Monitor) Drops() Drops {
	return Drops{Forged: m.forged.Load(), Invalid: m.invalid.Load()}
}

// Close ends the monitor. A Receive under way returns.
func (m *Monitor) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	if err := m.conn.Close(); err != nil {
		return fmt.Errorf("udev: close monitor: %w", err)
	}
	return nil
}
