package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"vifplug/qemu/xsk"
)

// xdpDevice is a device by AF_XDP: frames go and come through rings, without a call for each.
type xdpDevice struct {
	index   int
	socket  *xsk.Socket
	program *xsk.Attachment
	watch   int // a packet socket that hears of the device's end, of which an AF_XDP socket does not
	c       *Counters
	lengths [sendBatch]int

	mu      sync.Mutex // guards counted
	counted uint64     // drops that were added to c already
}

// xdpRing is how many frames wait in each direction.
const xdpRing = 1024

// openXDP opens the device with an index in the network namespace of the calling thread. The program is the driver's own kind alone: the other is not
// shown what a shortcut has redirected to the visible end (linux: net/core/dev.c netif_receive_generic_xdp).
func openXDP(index, mtu int, c *Counters) (_ *xdpDevice, err error) {
	d := &xdpDevice{index: index, watch: -1, c: c}
	defer func() {
		if err != nil {
			err = fmt.Errorf("loop: AF_XDP on device %d: %w", index, errors.Join(err, d.close()))
		}
	}()
	o := xsk.Options{Index: index, RingSize: xdpRing, FrameSize: 2048}
	if need := mtu + minFrame + tagSize; need > o.FrameSize-256 {
		o.FrameSize, o.RingSize = 4096, xdpRing/2
	}
	if d.watch, err = watchDevice(index); err != nil {
		return nil, err
	}
	if d.socket, err = xsk.Open(o); err != nil {
		return nil, err
	}
	if need := mtu + minFrame + tagSize; need > d.socket.MaxReceive() {
		return nil, fmt.Errorf("an MTU of %d is too large for it", mtu)
	}
	if d.program, err = xsk.Attach(index, 1, xsk.Native); err != nil {
		return nil, err
	}
	return d, d.program.AddSocket(0, d.socket)
}

// watchDevice makes a packet socket of which nothing is wanted but its error.
func watchDevice(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w. It needs CAP_NET_RAW", err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	if err == nil {
		loopback := binary.NativeEndian.Uint16([]byte{unix.ETH_P_LOOPBACK >> 8, unix.ETH_P_LOOPBACK & 0xff})
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: loopback, Ifindex: index}) // any that is rare: without one there is no error either
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("watch it: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (d *xdpDevice) ready() bool { return len(d.socket.Receive(1)) > 0 }

func (d *xdpDevice) fill(b *Burst) {
	n := 0
	for _, f := range d.socket.Receive(xdpRing) {
		if !b.Fits(len(f.Bytes())) {
			break
		}
		if len(f.Bytes()) > 0 { // else a broken entry
			b.Add(f.Bytes(), 0)
		}
		n++
	}
	d.socket.Release(n)
}

func (d *xdpDevice) readable() int { return d.socket.FD() }

func (d *xdpDevice) writable() int { return d.socket.FD() }

func (d *xdpDevice) troubled() int { return d.watch }

func (d *xdpDevice) send(frames [][]byte) (int, error) {
	if len(frames[0]) > d.socket.MaxSend() {
		return 0, Long
	}
	buffers := d.socket.Reserve(min(len(frames), sendBatch))
	if len(buffers) == 0 {
		if err := d.flush(); err != nil {
			return 0, err
		}
		if buffers = d.socket.Reserve(min(len(frames), sendBatch)); len(buffers) == 0 {
			return 0, errFull
		}
	}
	n := 0
	for n < len(buffers) && len(frames[n]) <= d.socket.MaxSend() {
		d.lengths[n] = copy(buffers[n], frames[n])
		n++
	}
	if err := d.socket.Submit(d.lengths[:n]); err != nil {
		return 0, err
	}
	return n, nil
}

// flush has the kernel send what the ring has.
func (d *xdpDevice) flush() error {
	switch err := d.socket.Kick(); {
	case errors.Is(err, unix.ENETDOWN):
		return Down
	case errors.Is(err, unix.ENXIO):
		return errGone
	case err != nil:
		return err
	case d.socket.Pending() > 0:
		return errFull
	}
	return nil
}

func (d *xdpDevice) trouble() (bool, error) { return packetTrouble(d.watch, d.index) }

func (d *xdpDevice) count(why Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.socket.Stats()
	if err != nil {
		return
	}
	all := s.RxDropped + s.RxRingFull
	d.c.ToGuest.Drops[why].Add(all - d.counted)
	d.counted = all
}

func (d *xdpDevice) close() error {
	var errs []error
	if d.program != nil {
		errs = append(errs, d.program.Close())
	}
	if d.socket != nil {
		errs = append(errs, d.socket.Close())
	}
	return errors.Join(append(errs, shut(&d.watch))...)
}
