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

// End is where frames go in and come out.
type End interface {
	Send(frame []byte) error
	// Arrived waits a moment for a frame that has these bytes in it.
	Arrived(nonce []byte) bool
}

// Frame sends one broadcast frame out of one device and waits for it at another, for 300 ms at most: what a bridge is for.
func Frame(from, to string) (time.Duration, error) {
	in, err := OpenDevice(to)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := OpenDevice(from)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	return Between(out, in)
}

// Between is Frame for ends of any kind.
func Between(from, to End) (time.Duration, error) {
	return BetweenFrom(from, net.HardwareAddr{0, 0x16, 0x3e, 0, 0, 1}, to)
}

// BetweenFrom is Between with a source MAC address of the caller's.
func BetweenFrom(from End, source net.HardwareAddr, to End) (time.Duration, error) {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return 0, err
	}
	msg := make([]byte, 60)
	copy(msg, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(msg[6:12], source)
	binary.BigEndian.PutUint16(msg[12:], frameType)
	copy(msg[14:], nonce)
	start := time.Now()
	for time.Since(start) < 300*time.Millisecond {
		if err := from.Send(msg); err != nil {
			return 0, err
		}
		if to.Arrived(nonce) {
			return time.Since(start), nil
		}
	}
	return 0, ErrNotArrived
}

// Device is a device as an End.
type Device struct {
	name string
	fd   int
	addr *syscall.SockaddrLinklayer
}

// OpenDevice opens a device.
func OpenDevice(name string) (*Device, error) {
	fd, addr, err := packetSocket(name)
	return &Device{name, fd, addr}, err
}

// Close ends it.
func (d *Device) Close() { _ = syscall.Close(d.fd) }

// Send sends a frame out of the device. One that is down loses it.
func (d *Device) Send(frame []byte) error {
	if err := syscall.Sendto(d.fd, frame, 0, d.addr); err != nil && !errors.Is(err, syscall.ENETDOWN) {
		return fmt.Errorf("send a frame on %s: %w", d.name, err)
	}
	return nil
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
	if err := syscall.Bind(fd, addr); err != nil {
		_ = syscall.Close(fd)
		return 0, nil, fmt.Errorf("packet socket on %s: %w", dev, err)
	}
	return fd, addr, nil
}

// Arrived waits for a moment; a new port may need one until it forwards.
func (d *Device) Arrived(nonce []byte) bool {
	b := make([]byte, 2048)
	for Readable(d.fd, 20*time.Millisecond) {
		n, _, err := syscall.Recvfrom(d.fd, b, 0)
		if err != nil {
			return false
		}
		if bytes.Contains(b[:n], nonce) {
			return true
		}
	}
	return false
}

// BothWays is [Between] from a to b, and back.
func BothWays(a, b End) error {
	if _, err := Between(a, b); err != nil {
		return err
	}
	_, err := Between(b, a)
	return err
}
