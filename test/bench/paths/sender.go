package main

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender floods a device from the far side by a packet socket, many frames by one call, through the device's ordinary way out.
type sender struct {
	fd       int
	messages []message
	vectors  []unix.Iovec
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	sent   uint32
	_      uint32
}

const sendBatch = 64

// newSender opens one in the calling thread's network namespace. With several frames they go in turns.
func newSender(index int, frames [][]byte) (*sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	s := &sender{fd: fd, messages: make([]message, sendBatch), vectors: make([]unix.Iovec, sendBatch)}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind a packet socket: %w", err), s.close())
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20); err != nil {
		return nil, errors.Join(fmt.Errorf("enlarge a packet socket: %w", err), s.close())
	}
	for i := range sendBatch {
		f := frames[i%len(frames)]
		s.vectors[i].Base = unsafe.SliceData(f)
		s.vectors[i].SetLen(len(f))
		s.messages[i].header.Iov = &s.vectors[i]
		s.messages[i].header.SetIovlen(1)
	}
	return s, nil
}

// send sends a batch, and says how many were taken.
func (s *sender) send(max int) (int, error) {
	n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.messages[0])), uintptr(min(max, sendBatch)), unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
		return int(n), nil
	case unix.EINTR, unix.EAGAIN, unix.ENOBUFS:
		return 0, nil
	}
	return 0, fmt.Errorf("send from the far side: %w", e)
}

func (s *sender) close() error { return unix.Close(s.fd) }
