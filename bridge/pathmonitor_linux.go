package bridge

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// PathChange is a hint that something has changed which the path of frames may depend on: read it anew. Stations are told with their data.
type PathChange struct {
	Links []int      // indexes of the links that changed, came or went, in order: flags and state as a port, MTU, master, filters of tc, qdiscs
	All   bool       // tc changed for links that are not named (a block that several share)
	FDB   []FDBEvent // in the order in which they came
}

// PathMonitor receives hints of changes to what [Conn.Link], [Conn.BridgePort], [Conn.Switch] and [Conn.Classifiers] read of one network
// namespace, and the events of what [Conn.FDB] lists.
//
// The kernel tells nobody of programs that come to a link by bpf_link, at tcx or at XDP: look at those now and then.
type PathMonitor struct {
	nl   *netlink.Conn
	room []byte
}

// atOnce bounds how many messages one Receive takes.
const atOnce = 1024

// OpenPathMonitor starts to receive hints of the calling thread's network namespace.
func OpenPathMonitor() (*PathMonitor, error) { return openPathMonitor(monitorBuffer) }

func openPathMonitor(buffer int) (*PathMonitor, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK | unix.RTMGRP_NEIGH | unix.RTMGRP_TC})
	if err != nil {
		return nil, fail("open", "path monitor", err)
	}
	if err := errors.Join(leaveNeighbours(nl), nl.SetReadBuffer(buffer)); err != nil {
		return nil, fail("open", "path monitor", errors.Join(err, nl.Close()))
	}
	return &PathMonitor{nl: nl, room: make([]byte, 64<<10)}, nil
}

// leaveNeighbours leaves the host's own neighbours (ARP) in the kernel: they come in the group of the stations, and often. One event is one
// message.
func leaveNeighbours(nl *netlink.Conn) error {
	const kind, family = 4, unix.SizeofNlMsghdr
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: kind, Size: 2},
		bpf.JumpIf{Val: uint32(swapped(unix.RTM_NEWNEIGH)), SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(swapped(unix.RTM_DELNEIGH)), SkipTrue: 2},
		bpf.LoadAbsolute{Off: family, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_BRIDGE, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 30},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	return nl.SetBPF(filter)
}

// Receive waits for changes and gives those that have come. ErrOverflow says that some were lost: read everything again, then go on receiving.
// Other errors come after Close. One goroutine at a time may receive.
func (m *PathMonitor) Receive() (PathChange, error) {
	raw, err := m.nl.SyscallConn()
	if err != nil {
		return PathChange{}, fail("receive", "path events", err)
	}
	var out PathChange
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		failed = m.drain(int(fd), &out)
		return failed != nil || out.any()
	})
	switch {
	case errors.Is(failed, unix.ENOBUFS):
		return PathChange{}, ErrOverflow
	case err != nil || failed != nil:
		return PathChange{}, fail("receive", "path events", errors.Join(err, failed))
	}
	slices.Sort(out.Links)
	out.Links = slices.Compact(out.Links)
	return out, nil
}

// drain reads what has come, without waiting for more.
func (m *PathMonitor) drain(fd int, out *PathChange) error {
	for range atOnce {
		n, err := unix.Read(fd, m.room)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("read", err)
		}
		out.add(m.room[:n])
	}
	return nil
}

func (p *PathChange) any() bool { return p.All || len(p.Links) > 0 || len(p.FDB) > 0 }

// add reads the messages of one datagram.
func (p *PathChange) add(b []byte) {
	const header = unix.SizeofNlMsghdr
	for len(b) >= header {
		n := int(binary.NativeEndian.Uint32(b))
		if n < header || n > len(b) {
			return
		}
		p.message(binary.NativeEndian.Uint16(b[4:]), b[header:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

func (p *PathChange) message(kind uint16, b []byte) {
	switch kind {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if e, ok := decodeFDB(b); ok {
			p.FDB = append(p.FDB, FDBEvent{FDBEntry: e, Deleted: kind == unix.RTM_DELNEIGH})
		}
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER,
		unix.RTM_NEWCHAIN, unix.RTM_DELCHAIN:
		if len(b) < 8 { // both fixed parts, ifinfomsg and tcmsg, have the index here
			return
		}
		switch index := int(int32(binary.NativeEndian.Uint32(b[4:]))); {
		case index == blockIndex:
			p.All = true
		case index > 0 && (len(p.Links) == 0 || p.Links[len(p.Links)-1] != index):
			p.Links = append(p.Links, index)
		}
	}
}

// Close ends the monitor and whoever waits in Receive.
func (m *PathMonitor) Close() error { return fail("close", "path monitor", m.nl.Close()) }
