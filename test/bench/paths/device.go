package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"vifplug/qemu/xsk"
)

// device is the device model's end of a path: what one of QEMU's -netdev does with the frames of one NIC, without the NIC. Nothing waits but send,
// where the path has back-pressure. One thread sends and receives, as QEMU's main loop does.
type device interface {
	// send hands over one frame.
	send(frame []byte) error
	// flush hands over what send has kept to be handed over together.
	flush() error
	// receive takes some of the frames that have come, or none.
	receive(each func(frame []byte)) (int, error)
	// fd is readable when there is something to receive.
	fd() int
	close() error
}

// bufferSize is QEMU's for one frame or one read (qemu: include/net/net.h NET_BUFSIZE).
const bufferSize = 4096 + 65536

// tapDevice writes each frame by one call and reads each by one (qemu: net/tap.c tap_write_packet, tap_send).
type tapDevice struct {
	file *os.File
	n    int
	buf  []byte
}

func newTapDevice(queue *os.File) *tapDevice {
	return &tapDevice{file: queue, n: int(queue.Fd()), buf: make([]byte, bufferSize)}
}

func (d *tapDevice) send(frame []byte) error {
	for {
		_, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(d.n), uintptr(unsafe.Pointer(unsafe.SliceData(frame))), uintptr(len(frame)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := await(d.n, unix.POLLOUT); err != nil {
				return err
			}
		default:
			return fmt.Errorf("write to the tap: %w", e)
		}
	}
}

// tapBurst is how many frames QEMU takes before it looks elsewhere (qemu: net/tap.c tap_send).
const tapBurst = 50

func (d *tapDevice) receive(each func([]byte)) (int, error) {
	for i := range tapBurst {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(d.n), uintptr(unsafe.Pointer(unsafe.SliceData(d.buf))), uintptr(len(d.buf)))
		switch e {
		case 0:
			each(d.buf[:n])
		case unix.EAGAIN, unix.EINTR:
			return i, nil
		default:
			return i, fmt.Errorf("read from the tap: %w", e)
		}
	}
	return tapBurst, nil
}

func (d *tapDevice) flush() error { return nil }
func (d *tapDevice) fd() int      { return d.n }
func (d *tapDevice) close() error { return d.file.Close() }

// streamDevice writes each frame, behind its length, by one call, and reads as much as there is and fits (qemu: net/stream.c net_stream_receive,
// net_stream_send).
type streamDevice struct {
	n      int
	length [4]byte
	vector [2]unix.Iovec
	buf    []byte
	state  framing
}

func newStreamDevice(fd int) *streamDevice {
	d := &streamDevice{n: fd, buf: make([]byte, bufferSize)}
	d.state.frame = make([]byte, bufferSize)
	return d
}

func (d *streamDevice) send(frame []byte) error {
	binary.BigEndian.PutUint32(d.length[:], uint32(len(frame)))
	for gone := 0; gone < 4+len(frame); {
		if err := d.write(frame, &gone); err != nil {
			return err
		}
	}
	return nil
}

// write writes what is left of a frame, of which some bytes have gone.
func (d *streamDevice) write(frame []byte, gone *int) error {
	first := 0
	d.vector[0].Base, d.vector[1].Base = unsafe.SliceData(d.length[:]), unsafe.SliceData(frame)
	d.vector[0].SetLen(4)
	d.vector[1].SetLen(len(frame))
	switch {
	case *gone >= 4:
		first = 1
		d.vector[1].Base = unsafe.SliceData(frame[*gone-4:])
		d.vector[1].SetLen(len(frame) + 4 - *gone)
	case *gone > 0:
		d.vector[0].Base = unsafe.SliceData(d.length[*gone:])
		d.vector[0].SetLen(4 - *gone)
	}
	n, _, e := unix.RawSyscall(unix.SYS_WRITEV, uintptr(d.n), uintptr(unsafe.Pointer(&d.vector[first])), uintptr(2-first))
	switch e {
	case 0:
		*gone += int(n)
	case unix.EINTR:
	case unix.EAGAIN:
		return await(d.n, unix.POLLOUT)
	default:
		return fmt.Errorf("write to the stream: %w", e)
	}
	return nil
}

func (d *streamDevice) receive(each func([]byte)) (int, error) {
	n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(d.n), uintptr(unsafe.Pointer(unsafe.SliceData(d.buf))), uintptr(len(d.buf)))
	switch {
	case e == unix.EAGAIN || e == unix.EINTR:
		return 0, nil
	case e != 0:
		return 0, fmt.Errorf("read from the stream: %w", e)
	case n == 0:
		return 0, errors.New("the loop has closed the stream")
	}
	frames, err := d.state.take(d.buf[:n], each)
	if frames == 0 && err == nil {
		frames = 1 // something came, so that nobody sleeps over the rest of it
	}
	return frames, err
}

func (d *streamDevice) flush() error { return nil }
func (d *streamDevice) fd() int      { return d.n }
func (d *streamDevice) close() error { return unix.Close(d.n) }

// framing puts frames together from what a stream brings, and copies each as QEMU does (qemu: net/net.c net_fill_rstate).
type framing struct {
	length [4]byte
	have   int // of length and frame together
	frame  []byte
}

func (s *framing) take(b []byte, each func([]byte)) (frames int, err error) {
	for len(b) > 0 {
		if s.have < 4 {
			n := copy(s.length[s.have:], b)
			s.have, b = s.have+n, b[n:]
			if s.have < 4 {
				break
			}
		}
		size := int(binary.BigEndian.Uint32(s.length[:]))
		if size > len(s.frame) {
			return frames, fmt.Errorf("the stream announces a frame of %d bytes", size)
		}
		n := copy(s.frame[s.have-4:size], b)
		s.have, b = s.have+n, b[n:]
		if s.have == 4+size {
			each(s.frame[:size])
			s.have = 0
			frames++
		}
	}
	return frames, nil
}

// ringDevice copies each frame into a ring and calls the kernel for every few of them (qemu: net/af-xdp.c af_xdp_receive, af_xdp_send, where that is
// as often as the main loop comes round: once for what the guest has queued).
type ringDevice struct {
	socket *xsk.Socket
	every  int
	since  int // the last call
	size   [1]int
}

func (d *ringDevice) send(frame []byte) error {
	d.socket.Complete() // before every frame, so that the memory that was used last, and is in the cache, is used next
	for {
		if room := d.socket.Reserve(1); len(room) > 0 {
			d.size[0] = copy(room[0], frame)
			break
		}
		if err := d.flush(); err != nil {
			return err
		}
		if err := await(d.fd(), unix.POLLOUT); err != nil {
			return err
		}
	}
	if err := d.socket.Submit(d.size[:]); err != nil {
		return err
	}
	if d.since++; d.since >= d.every {
		return d.flush()
	}
	return nil
}

func (d *ringDevice) flush() error {
	d.since = 0
	return d.socket.Kick()
}

const ringBurst = 64 // qemu: net/af-xdp.c AF_XDP_BATCH_SIZE

func (d *ringDevice) receive(each func([]byte)) (int, error) {
	frames := d.socket.Receive(ringBurst)
	for _, f := range frames {
		each(f.Bytes())
	}
	n := len(frames)
	d.socket.Release(n)
	return n, nil
}

func (d *ringDevice) fd() int      { return d.socket.FD() }
func (d *ringDevice) close() error { return d.socket.Close() }

// await sleeps until a descriptor is ready, a second at most.
func await(fd int, events int16) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(fds, 1000)
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("poll: %w", err)
	case n == 0:
		return errors.New("the path takes no more for a second")
	}
	return nil
}

// sleep sleeps until one of the descriptors is readable, some milliseconds at most.
func sleep(ms int, fds ...unix.PollFd) error {
	if _, err := unix.Poll(fds, ms); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}

func pollIn(fd int) unix.PollFd { return unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} }

// duplicate has a descriptor as a file of its own.
func duplicate(fd int) (*os.File, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), "duplicate"), nil
}
