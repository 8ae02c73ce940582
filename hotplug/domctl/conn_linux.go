package domctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn asks the hypervisor. It may be used from any goroutine.
type Conn struct {
	mu      sync.Mutex // guards all following fields
	file    *os.File
	buf     []byte // memory that the hypervisor may read and write during the call; nil when closed
	version interfaceVersion
}

const (
	hypercallDomctl = 36         // __HYPERVISOR_domctl
	ioctlHypercall  = 0x00305000 // IOCTL_PRIVCMD_HYPERCALL: _IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall) = 48)
)

// Open opens the hypervisor's device, or says ErrNoXen.
func Open() (*Conn, error) {
	f, err := os.OpenFile("/dev/xen/privcmd", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoXen
	}
	if err != nil {
		return nil, fmt.Errorf("domctl: %w", err)
	}
	buf, err := hypercallBuffer()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Conn{file: f, buf: buf}, nil
}

// hypercallBuffer maps a page that stays put during a hypercall: the kernel's own where /dev/xen/hypercall offers it (since Linux 4.18), else
// a locked one.
func hypercallBuffer() ([]byte, error) {
	f, err := os.OpenFile("/dev/xen/hypercall", os.O_RDWR, 0)
	if err == nil {
		defer f.Close() //nolint:errcheck // the mapping stays
		b, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("domctl: map /dev/xen/hypercall: %w", err)
		}
		return b, nil
	}
	b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_LOCKED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("domctl: hypercall buffer: %w", err)
	}
	return b, nil
}

// Close closes the device. To close it twice does nothing.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		return nil
	}
	buf := c.buf
	c.buf = nil
	return errors.Join(unix.Munmap(buf), c.file.Close())
}

// Info asks for one domain. ErrNotFound says that there is none, [fs.ErrClosed] that the connection was closed.
func (c *Conn) Info(domid uint16) (Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		return Info{}, fmt.Errorf("domctl: %w", fs.ErrClosed)
	}
	return c.version.info(domid, c.ask)
}

// hypercall is struct privcmd_hypercall (linux: include/uapi/xen/privcmd.h).
type hypercall struct {
	op  uint64
	arg [5]uint64
}

func (c *Conn) ask(version uint32, domid uint16) (Info, error) {
	request(c.buf, version, domid)
	call := hypercall{op: hypercallDomctl}
	call.arg[0] = uint64(uintptr(unsafe.Pointer(&c.buf[0]))) // mapped memory: it does not move
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.file.Fd(), ioctlHypercall, uintptr(unsafe.Pointer(&call)))
	switch {
	case errno == unix.ESRCH:
		return Info{}, fmt.Errorf("%w: %d", ErrNotFound, domid)
	case errno != 0:
		return Info{}, fmt.Errorf("domctl: domain %d: %w", domid, errno)
	}
	return answer(c.buf, domid)
}
