package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Socket receives the frames of one device. Closing it ends a Receive.
type Socket struct {
	file *os.File
	raw  syscallConn
	room []byte
	oob  []byte
	came atomic.Uint64
	lost uint64
}

type syscallConn interface {
	Read(func(fd uintptr) bool) error
}

// socketRoom is how many bytes of frames may wait to be taken down.
const socketRoom = 8 << 20

// Open listens to a device of the calling thread's network namespace. It needs CAP_NET_RAW.
func Open(d Device, snap int) (*Socket, error) {
	fail := func(err error) error { return fmt.Errorf("capture: listen to %s: %w", d.Name, err) }
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // of no protocol: nothing comes before it is bound
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w. It takes root, or CAP_NET_RAW", err)
		}
		return nil, fail(err)
	}
	for _, o := range []struct{ level, option, value int }{
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketRoom},
		{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil && o.option != unix.SO_RCVBUFFORCE { // that one needs CAP_NET_ADMIN
			return nil, fail(errors.Join(err, unix.Close(fd)))
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ALL), Ifindex: d.Index}); err != nil {
		return nil, fail(errors.Join(err, unix.Close(fd)))
	}
	file := os.NewFile(uintptr(fd), d.Name)
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fail(errors.Join(err, file.Close()))
	}
	return &Socket{file: file, raw: raw, room: make([]byte, max(snap, leastRead)+tagLen), oob: make([]byte, 256)}, nil
}

// leastRead is how much of a frame is read at least, however little of it is to be written: a filter must see its headers.
const leastRead = 256

const tagLen = 4

func swapped(v uint16) uint16 { return v<<8 | v>>8 }

// Receive waits for a frame. Its Data is good until the next call. The error after the device has gone is ErrGone, after Close os.ErrClosed.
func (s *Socket) Receive() (f Frame, err error) {
	var n, oobn int
	var from unix.Sockaddr
	gone := false
	waited := s.raw.Read(func(fd uintptr) bool {
		for { // until there is nothing: the poller tells of news alone, so frames that wait behind an error would wait for ever
			n, oobn, _, from, err = unix.Recvmsg(int(fd), s.room[tagLen:], s.oob, unix.MSG_TRUNC)
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENETDOWN): // it is down, which it may have been from the start, or gone; the kernel says it once
				if gone = isGone(int(fd)); gone {
					return true
				}
			default:
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	switch {
	case waited != nil:
		return f, os.ErrClosed // the poller says it in its own words
	case gone || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO):
		return f, ErrGone
	case err != nil:
		return f, fmt.Errorf("capture: receive: %w", err)
	}
	s.came.Add(1)
	f.Length, f.Data = n, s.room[tagLen:tagLen+min(n, len(s.room)-tagLen)]
	if l, ok := from.(*unix.SockaddrLinklayer); ok {
		f.To = l.Pkttype == unix.PACKET_OUTGOING
	}
	f.Time = time.Now()
	s.control(&f, s.oob[:oobn])
	return f, nil
}

// ErrGone says that a device is gone.
var ErrGone = errors.New("capture: the device is gone")

// isGone says whether the device of a socket has gone: the kernel takes it off the socket then (linux: net/packet/af_packet.c packet_notifier).
func isGone(fd int) bool {
	a, err := unix.Getsockname(fd)
	l, ok := a.(*unix.SockaddrLinklayer)
	return err != nil || !ok || l.Ifindex < 0
}

// control takes the frame's time, and its VLAN tag, which the kernel keeps beside the frame (linux: net/packet/af_packet.c packet_recvmsg).
func (s *Socket) control(f *Frame, oob []byte) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16:
			f.Time = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20:
			s.tag(f, m.Data)
		}
	}
}

// tag puts a tag back where it was on the wire. struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid.
func (s *Socket) tag(f *Frame, aux []byte) {
	if binary.NativeEndian.Uint32(aux)&unix.TP_STATUS_VLAN_VALID == 0 || len(f.Data) < 12 {
		return
	}
	kind := uint16(typeVLAN)
	if binary.NativeEndian.Uint32(aux)&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		kind = binary.NativeEndian.Uint16(aux[18:])
	}
	f.Data = s.room[:tagLen+len(f.Data)]
	copy(f.Data, f.Data[tagLen:tagLen+12])
	binary.BigEndian.PutUint16(f.Data[12:], kind)
	binary.BigEndian.PutUint16(f.Data[14:], binary.NativeEndian.Uint16(aux[16:]))
	f.Length += tagLen
}

// Counts are how many frames came since the start, and how many of them were lost since nobody took them in time. It is asked before Close.
func (s *Socket) Counts() (came, lost uint64) {
	_ = s.raw.Read(func(fd uintptr) bool {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			s.lost += uint64(st.Drops) // the kernel begins anew with each question
		}
		return true
	})
	return s.came.Load() + s.lost, s.lost
}

// Close ends it.
func (s *Socket) Close() error {
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("capture: close: %w", err)
	}
	return nil
}
