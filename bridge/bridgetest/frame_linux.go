package bridgetest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// ErrNotArrived says that a frame was not seen where it was awaited.
var ErrNotArrived = errors.New("the frame did not arrive")

// frameType is an EtherType for local experiments (IEEE 802, 0x88b5).
const frameType = 0x88b5

// Frame sends one broadcast frame out of one device and waits for it at another, for 300 ms at most: what a bridge is for.
func Frame(from, to string) (time.Duration, error) {
	in, _, err := packetSocket(to)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(in) //nolint:errcheck // only read from
	out, addr, err := packetSocket(from)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(out) //nolint:errcheck // sent
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return 0, err
	}
	msg := make([]byte, 60)
	copy(msg, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 0, 0, 1})
	binary.BigEndian.PutUint16(msg[12:], frameType)
	copy(msg[14:], nonce)
	start := time.Now()
	for time.Since(start) < 300*time.Millisecond {
		if err := syscall.Sendto(out, msg, 0, addr); err != nil && !errors.Is(err, syscall.ENETDOWN) {
			return 0, fmt.Errorf("send a frame on %s: %w", from, err)
		}
		if arrived(in, nonce) {
			return time.Since(start), nil
		}
	}
	return 0, ErrNotArrived
}

func packetSocket(dev string) (int, *syscall.SockaddrLinklayer, error) {
	i, err := net.InterfaceByName(dev)
	if err != nil {
		return 0, nil, err
	}
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, frameType))
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, int(proto))
	if err != nil {
		return 0, nil, fmt.Errorf("packet socket: %w", err)
	}
	addr := &syscall.SockaddrLinklayer{Protocol: proto, Ifindex: i.Index}
	tv := syscall.NsecToTimeval(int64(20 * time.Millisecond))
	if err := errors.Join(syscall.Bind(fd, addr), syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)); err != nil {
		_ = syscall.Close(fd)
		return 0, nil, fmt.Errorf("packet socket on %s: %w", dev, err)
	}
	return fd, addr, nil
}

// arrived waits for a frame with the nonce for the socket's timeout; a new port may need a moment until it forwards.
func arrived(fd int, nonce []byte) bool {
	b := make([]byte, 2048)
	for {
		n, _, err := syscall.Recvfrom(fd, b, 0)
		if err != nil {
			return false
		}
		if bytes.Contains(b[:n], nonce) {
			return true
		}
	}
}
