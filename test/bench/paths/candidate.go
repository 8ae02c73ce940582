package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vifplug/qemu/loop"
	"vifplug/qemu/xsk"
)

// candidate is one path, or a yardstick.
type candidate struct {
	name, words string
	netfilter   bool // the host's bridges call iptables
	pair        bool // the port is one end of a pair, else a tap
	floor       bool // nothing arrives
	loop        bool // a process of its own forwards
	// takes says whether it takes part with such a set-up, and open opens it in a thread in the host's namespace.
	takes func(setup) bool
	open  func(w *world) error
}

// The yardsticks' names.
const (
	yardBridge  = "bridge"
	yardBridge0 = "bridge0"
	yardFloor   = "floor"
	yardBare    = "redirect"
)

func always(setup) bool    { return true }
func frames(s setup) bool  { return !s.vnet }
func single(s setup) bool  { return s.guests == 1 }
func nothing(*world) error { return nil }

func candidates() []*candidate {
	list := []*candidate{
		{name: yardBridge, words: "kernel bridge, with br_netfilter", netfilter: true, takes: always, open: nothing},
		{name: yardBridge0, words: "kernel bridge, bridge-nf-call-* = 0", takes: always, open: nothing},
		{name: yardFloor, words: "dropped where it comes in, by tcx", floor: true, takes: always, open: openFloor},
		{name: yardBare, words: "tcx program that redirects and knows nothing", netfilter: true, takes: single, open: openRedirect},
	}
	list = append(list, shortcuts()...)
	for _, k := range []struct {
		name, words string
		kind        loop.Kind
	}{{"socket/packet", "stream, loop, AF_PACKET", loop.AFPacket}, {"socket/xdp", "stream, loop, AF_XDP", loop.AFXDP}} {
		list = append(list, &candidate{
			name: k.name, words: k.words + behindWords, pair: true, loop: true, takes: few,
			open: func(w *world) error { return errors.Join(openLoops(w, k.kind), behind(w)) },
		})
	}
	for _, n := range []int{1, 4, 32} {
		list = append(list, &candidate{
			name: fmt.Sprintf("af-xdp/%d", n), words: fmt.Sprintf("AF_XDP, a kick for %d frames", n) + behindWords, pair: true, takes: frames,
			open: func(w *world) error { return errors.Join(openRings(w, n), behind(w)) },
		})
	}
	return list
}

// few is for what takes a process for each guest.
func few(s setup) bool { return !s.vnet && s.guests <= 2 }

func openFloor(w *world) error {
	indices := []int{w.uplink}
	for _, g := range w.guests {
		indices = append(indices, g.index)
	}
	for _, i := range indices {
		l, err := attach(i, drop())
		if err != nil {
			return err
		}
		w.later(l.Close)
	}
	return nil
}

func openRedirect(w *world) error {
	for from, to := range map[int]int{w.uplink: w.guests[0].index, w.guests[0].index: w.uplink} {
		l, err := attach(from, redirect(to))
		if err != nil {
			return err
		}
		w.later(l.Close)
	}
	return nil
}

func openLoops(w *world, k loop.Kind) error {
	for _, g := range w.guests {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		d := newStreamDevice(fds[0])
		g.device = d
		w.later(d.close)
		g.loop, err = startLoop(g.hidden, k, fds[1])
		if err = errors.Join(err, unix.Close(fds[1])); err != nil {
			return err
		}
		w.later(g.loop.close)
	}
	return nil
}

// ringSize is QEMU's (qemu: net/af-xdp.c XSK_RING_PROD__DEFAULT_NUM_DESCS).
const ringSize = 2048

func openRings(w *world, every int) error {
	for _, g := range w.guests {
		s, err := xsk.Open(xsk.Options{Index: g.hidden, RingSize: ringSize})
		if err != nil {
			return err
		}
		g.device = &ringDevice{socket: s, every: every}
		w.later(s.Close)
		a, err := xsk.Attach(g.hidden, 1, xsk.Native)
		if err != nil {
			return err
		}
		w.later(a.Close)
		if err := a.AddSocket(0, s); err != nil {
			return err
		}
	}
	return nil
}

// setOffload says what the guest behind a tap takes: whole frames, or what is left to hardware.
func setOffload(fd int, vnet bool) error {
	what := 0
	if vnet {
		what = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetHeader); err != nil {
			return fmt.Errorf("set the tap's header: %w", err)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, what); err != nil {
		return fmt.Errorf("set the tap's offloads: %w", err)
	}
	return nil
}

// drops is how many frames some counter says were dropped, in all of a world.
func (w *world) drops() (n uint64, err error) {
	err = w.host.Do(func() error {
		_, dropped, err := links()
		for name := range dropped {
			if name == uplinkName || name == bridgeName {
				n += dropped[name]
			}
		}
		for _, g := range w.guests {
			n += dropped[g.port]
		}
		return err
	})
	for _, g := range w.guests {
		if g.loop != nil && err == nil {
			var r loopReport
			r, err = g.loop.report()
			n += r.Dropped
		}
		if d, ok := g.device.(*ringDevice); ok && err == nil {
			var s xsk.Stats
			s, err = d.socket.Stats()
			n += s.RxDropped + s.RxRingFull
		}
	}
	return n, err
}

// received is how many frames came in at a device of the host, dropped there or not.
func (w *world) received(names ...string) (n uint64, err error) {
	err = w.host.Do(func() error {
		received, _, err := links()
		for _, name := range names {
			n += received[name]
		}
		return err
	})
	return n, err
}

// forwarders are the loops' processes.
func (w *world) forwarders() (pids []int) {
	for _, g := range w.guests {
		if g.loop != nil {
			pids = append(pids, g.loop.pid)
		}
	}
	return pids
}

// loopsOn has the loops use these CPUs, until undo.
func (w *world) loopsOn(cpus ...int) (undo func(), err error) {
	two, err := theCPUs()
	if err != nil {
		return nil, err
	}
	for _, pid := range w.forwarders() {
		if err := pinProcess(pid, cpus...); err != nil {
			return nil, err
		}
	}
	return func() {
		for _, pid := range w.forwarders() {
			_ = pinProcess(pid, two[1])
		}
	}, nil
}
