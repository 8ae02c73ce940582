package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// packetDevice is a device by AF_PACKET: frames come through a ring that the kernel fills (TPACKET_V2), and go out many by a call.
type packetDevice struct {
	index   int
	rx, tx  int // sockets of their own, so that the directions do not meet at one lock
	ring    []byte
	slot    int // bytes of a slot
	slots   int
	next    int    // slot to look at
	big     []byte // for frames that fit no slot
	c       *Counters
	iov     [sendBatch]unix.Iovec
	message [sendBatch]mmsghdr
}

// mmsghdr is one message of sendmmsg (linux: include/linux/socket.h).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

const (
	ringBlock = 64 << 10
	ringSize  = 2 << 20 // bytes: of frames that wait for the guest there are no more
	// slotHead is what stands in a slot before the frame (linux: net/packet/af_packet.c tpacket_rcv: TPACKET2_HDRLEN and 16 bytes, aligned; less the
	// Ethernet header, which is put before the aligned place).
	slotHead = 80
	// bigBuffer is what frames that fit no slot may take up in the kernel, in bytes.
	bigBuffer = 1 << 20
)

// slotFor is the size of a slot for frames of a device of this MTU. Greater frames are taken too, but by a call each.
func slotFor(mtu int) int {
	size := 2048
	for size < ringBlock && size-slotHead < mtu+tagSize {
		size *= 2
	}
	return size
}

// openPacket opens the device with an index in the network namespace of the calling thread.
func openPacket(index, mtu int, c *Counters) (_ *packetDevice, err error) {
	d := &packetDevice{index: index, rx: -1, tx: -1, c: c, slot: slotFor(mtu), big: make([]byte, MaxFrame)}
	d.slots = ringSize / d.slot
	defer func() {
		if err != nil {
			err = fmt.Errorf("loop: AF_PACKET on device %d: %w", index, errors.Join(err, d.close()))
		}
	}()
	if d.tx, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, fmt.Errorf("socket: %w. It needs CAP_NET_RAW", err)
	}
	// Nothing waits behind a veth that a queueing discipline would have to order.
	if err := unix.SetsockoptInt(d.tx, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return nil, fmt.Errorf("PACKET_QDISC_BYPASS: %w", err)
	}
	if err := unix.Bind(d.tx, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	if err := d.openRing(index); err != nil {
		return nil, err
	}
	for i := range d.message {
		d.message[i].hdr.Iov = &d.iov[i]
		d.message[i].hdr.SetIovlen(1)
	}
	return d, nil
}

func (d *packetDevice) openRing(index int) (err error) {
	if d.rx, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	for _, o := range []struct {
		name         string
		level, which int
		value        int
	}{
		{"PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2},
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1}, // what we send ourselves
		{"SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bigBuffer},
		{"PACKET_COPY_THRESH", unix.SOL_PACKET, unix.PACKET_COPY_THRESH, d.slot}, // what fits no slot is queued beside
	} {
		if err := unix.SetsockoptInt(d.rx, o.level, o.which, o.value); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
	}
	req := unix.TpacketReq{Block_size: ringBlock, Block_nr: ringSize / ringBlock, Frame_size: uint32(d.slot), Frame_nr: uint32(d.slots)}
	if err := unix.SetsockoptTpacketReq(d.rx, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("PACKET_RX_RING: %w", err)
	}
	if d.ring, err = unix.Mmap(d.rx, 0, ringSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("map the ring: %w", err)
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	if err := unix.Bind(d.rx, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil { // only now do frames come
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func (d *packetDevice) readable() int { return d.rx }

func (d *packetDevice) writable() int { return d.tx }

func (d *packetDevice) head() (*unix.Tpacket2Hdr, []byte) {
	at := d.next * d.slot // slots divide blocks, so that they lie without gaps
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&d.ring[at])), d.ring[at : at+d.slot : at+d.slot]
}

func (d *packetDevice) ready() bool {
	h, _ := d.head()
	return atomic.LoadUint32(&h.Status)&unix.TP_STATUS_USER != 0
}

func (d *packetDevice) fill(b *Burst) {
	for {
		h, slot := d.head()
		status := atomic.LoadUint32(&h.Status)
		if status&unix.TP_STATUS_USER == 0 || !b.Fits(min(int(h.Len), MaxFrame)+tagSize) {
			return
		}
		d.take(b, h, slot, status)
		atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
		if d.next++; d.next == d.slots {
			d.next = 0
		}
	}
}

// take moves one frame out of its slot.
func (d *packetDevice) take(b *Burst, h *unix.Tpacket2Hdr, slot []byte, status uint32) {
	frame := slot[h.Mac : int(h.Mac)+int(h.Snaplen)]
	if status&unix.TP_STATUS_COPY != 0 {
		n, errno := recv(d.rx, d.big)
		frame = d.big[:max(n, 0)]
		if errno != 0 {
			frame = nil
		}
	}
	tag := tagOf(h, status)
	switch {
	case len(frame) < int(h.Len) || len(frame)+tagSize > MaxFrame:
		d.c.ToGuest.drop(Long)
	case status&unix.TP_STATUS_CSUMNOTREADY != 0:
		d.c.ToGuest.drop(Unfinished)
	default:
		b.Add(frame, tag)
	}
}

// tagOf is the VLAN tag that the kernel has taken off a frame, as it stood there; 0: none.
func tagOf(h *unix.Tpacket2Hdr, status uint32) uint32 {
	if status&unix.TP_STATUS_VLAN_VALID == 0 {
		return 0
	}
	tpid := uint32(unix.ETH_P_8021Q)
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = uint32(h.Vlan_tpid)
	}
	return tpid<<16 | uint32(h.Vlan_tci)
}

func (d *packetDevice) send(frames [][]byte) (int, error) {
	n := min(len(frames), sendBatch)
	for i, f := range frames[:n] {
		d.iov[i].Base = unsafe.SliceData(f)
		d.iov[i].SetLen(len(f))
	}
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(d.tx), uintptr(unsafe.Pointer(&d.message[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(sent), nil
	case unix.EAGAIN:
		return 0, errFull
	case unix.EINTR:
		return 0, nil
	case unix.ENXIO, unix.ENODEV:
		return 0, errGone
	case unix.ENETDOWN:
		return 0, Down
	case unix.EMSGSIZE:
		return 0, Long
	case unix.EINVAL:
		return 0, Short
	}
	return 0, Refused
}

func (d *packetDevice) troubled() int { return d.rx }

func (*packetDevice) flush() error { return nil }

func (d *packetDevice) trouble() (bool, error) { return packetTrouble(d.rx, d.index) }

// packetTrouble takes a packet socket's error, which a device that was set down leaves; bound to it the socket works again when that is up. It says
// whether that is so.
func packetTrouble(fd, index int) (up bool, err error) {
	_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	req, err := unix.NewIfreq("?")
	if err != nil {
		return false, err
	}
	req.SetUint32(uint32(index))
	err = unix.IoctlIfreq(fd, unix.SIOCGIFNAME, req)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req)
	}
	switch err {
	case nil:
		return req.Uint16()&unix.IFF_UP != 0, nil
	case unix.ENODEV:
		return false, errGone
	}
	return false, fmt.Errorf("loop: look at device %d: %w", index, err)
}

// count takes the kernel's counter of frames that found the ring full, which reading resets.
func (d *packetDevice) count(why Reason) {
	if s, err := unix.GetsockoptTpacketStats(d.rx, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		d.c.ToGuest.Drops[why].Add(uint64(s.Drops))
	}
}

func (d *packetDevice) close() error {
	var errs []error
	if d.ring != nil {
		errs = append(errs, unix.Munmap(d.ring))
	}
	for _, fd := range []int{d.rx, d.tx} {
		if fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
		}
	}
	d.ring, d.rx, d.tx = nil, -1, -1
	return errors.Join(errs...)
}
