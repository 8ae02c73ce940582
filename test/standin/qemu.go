package standin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// QEMU plays what `-netdev tap,ifname=NAME,script=no` does: it makes a tap, or opens one that is there, and sends and receives the frames of an
// emulated NIC through it.
type QEMU struct {
	file *os.File
	// Tap is the tap's name, cut to 15 bytes as QEMU does without a word (qemu: net/tap-linux.c tap_open).
	Tap string
}

// StartQEMU opens a tap. It works in the network namespace of the calling thread.
func StartQEMU(name string) (*QEMU, error) {
	name = name[:min(len(name), unix.IFNAMSIZ-1)]
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("standin: /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("standin: tap %s: %w", name, err)
	}
	return QEMUOf(fd, name), nil
}

// QEMUOf is QEMU with a tap that was handed to it (-netdev tap,fd=N).
func QEMUOf(fd int, name string) *QEMU {
	return &QEMU{file: os.NewFile(uintptr(fd), "tap "+name), Tap: name}
}

// Close is QEMU's end: a tap that nobody has made to last goes with it.
func (q *QEMU) Close() { _ = q.file.Close() }

// Send has the guest send a frame. A tap that is down loses it.
func (q *QEMU) Send(frame []byte) error {
	if _, err := q.file.Write(frame); err != nil && !errors.Is(err, unix.EIO) {
		return err
	}
	return nil
}

// Arrived says whether the guest gets a frame with these bytes in it within a moment.
func (q *QEMU) Arrived(nonce []byte) bool {
	if err := q.file.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return false
	}
	b := make([]byte, 65536)
	for {
		n, err := q.file.Read(b)
		if err != nil {
			return false
		}
		if bytes.Contains(b[:n], nonce) {
			return true
		}
	}
}
