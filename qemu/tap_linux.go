package qemu

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are what a tap is to be like.
type Options struct {
	// Name is the device's, at most 15 bytes.
	Name string
	// Owner is the user who may open the tap without being privileged: whom QEMU runs as. 0 is root.
	Owner int
	// Queues is how many descriptors share the device's work, 1 to 256; 0 is 1. QEMU must open one of several so too (queues=N).
	Queues int
	// VNetHdr has each frame begin with a header of virtio's, by which checksums and segmentation are left to the other side.
	VNetHdr bool
	// Persistent has the device last until [DeleteTap]. Else it goes with the last descriptor.
	Persistent bool
}

// Tap is a tap, with its queues open.
type Tap struct {
	Name   string
	Queues []*os.File // frames without a packet-information header, as QEMU takes them
}

// Close closes the queues. A tap that is not persistent, and whose queues nobody else has, goes.
func (t *Tap) Close() error {
	var errs []error
	for _, q := range t.Queues {
		errs = append(errs, q.Close())
	}
	t.Queues = nil
	return errors.Join(errs...)
}

// maxQueues is the kernel's limit (linux: drivers/net/tun.c MAX_TAP_QUEUES).
const maxQueues = 256

func (o Options) check() error {
	switch {
	case o.Name == "" || len(o.Name) >= unix.IFNAMSIZ || o.Name == "." || o.Name == ".." || strings.ContainsAny(o.Name, "/%: \t\n\x00"):
		return fmt.Errorf("qemu: create tap %q: this is no name of a device: want 1 to %d bytes, without / %% : and blanks", o.Name, unix.IFNAMSIZ-1)
	case o.Queues < 0 || o.Queues > maxQueues:
		return fmt.Errorf("qemu: create tap %s: %d queues: want 1 to %d", o.Name, o.Queues, maxQueues)
	case o.Owner < 0:
		return fmt.Errorf("qemu: create tap %s: owner %d: want a user's number", o.Name, o.Owner)
	}
	return nil
}

func (o Options) flags() uint16 {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if o.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	if o.VNetHdr {
		flags |= unix.IFF_VNET_HDR
	}
	return flags
}

// CreateTap makes a tap in the network namespace of the calling thread. A device of this name that exists is left alone, and is an error. The caller
// closes the tap.
func CreateTap(o Options) (*Tap, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	t := &Tap{Name: o.Name}
	exclusive := uint16(unix.IFF_TUN_EXCL)
	for range max(o.Queues, 1) {
		q, err := attach(o.Name, o.flags()|exclusive)
		if err != nil {
			_ = t.Close()
			if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINVAL) && exists(o.Name) {
				return nil, fmt.Errorf("qemu: create tap %s: there is a device of this name: %w. Delete it, or let QEMU open it", o.Name, unix.EEXIST)
			}
			return nil, fmt.Errorf("qemu: create tap %s: %w", o.Name, err)
		}
		t.Queues = append(t.Queues, q)
		exclusive = 0 // the others join
	}
	err := set(t.Queues[0], unix.TUNSETOWNER, "owner", o.Owner)
	if err == nil && o.Persistent {
		err = set(t.Queues[0], unix.TUNSETPERSIST, "persistence", 1)
	}
	if err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("qemu: create tap %s: %w", o.Name, err)
	}
	return t, nil
}

// DeleteTap removes a persistent tap. One that QEMU uses is left alone; one of several queues goes when QEMU has closed its own.
func DeleteTap(name string) error {
	if err := (Options{Name: name}).check(); err != nil {
		return err
	}
	if !exists(name) { // the kernel would make it
		return fmt.Errorf("qemu: delete tap %s: %w: there is none", name, os.ErrNotExist)
	}
	q, err := attach(name, Options{}.flags())
	if errors.Is(err, unix.EINVAL) {
		q, err = attach(name, Options{Queues: 2}.flags())
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("qemu: delete tap %s: a process uses it: %w. End QEMU first", name, err)
	case err != nil:
		return fmt.Errorf("qemu: delete tap %s: is it a tap? %w", name, err)
	}
	err = set(q, unix.TUNSETPERSIST, "persistence", 0)
	return errors.Join(err, q.Close())
}

// attach opens a queue of a tap, which the kernel makes where there is none.
func attach(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w. Load the module tun", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tap "+name), nil
}

func set(q *os.File, request uint, what string, value int) error {
	raw, err := q.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.IoctlSetInt(int(fd), request, value) }); err != nil {
		return err
	}
	if set != nil {
		return fmt.Errorf("set its %s: %w", what, set)
	}
	return nil
}

func exists(name string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	ifr, err := unix.NewIfreq(name)
	return err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) == nil
}
