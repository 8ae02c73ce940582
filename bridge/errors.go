package bridge

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
)

// What callers must tell apart, for errors.Is.
var (
	ErrNotFound    = errors.New("no such device")
	ErrExists      = errors.New("exists already")
	ErrBusy        = errors.New("busy")
	ErrInvalid     = errors.New("invalid argument")
	ErrUnsupported = errors.New("not supported by the device or the kernel")
	ErrPermission  = errors.New("not permitted: needs root (CAP_NET_ADMIN)")
	// ErrOverflow says that the kernel dropped events for want of room: list everything again. The monitor goes on.
	ErrOverflow = errors.New("bridge: link events were lost")
)

var kinds = map[syscall.Errno]error{
	syscall.ENODEV: ErrNotFound, syscall.ENOENT: ErrNotFound, syscall.ENXIO: ErrNotFound,
	syscall.EEXIST: ErrExists, syscall.EBUSY: ErrBusy, syscall.ENOTEMPTY: ErrBusy, syscall.EINVAL: ErrInvalid, syscall.ERANGE: ErrInvalid, syscall.EADDRNOTAVAIL: ErrInvalid,
	syscall.EOPNOTSUPP: ErrUnsupported, syscall.EAFNOSUPPORT: ErrUnsupported, syscall.EPERM: ErrPermission, syscall.EACCES: ErrPermission,
}

// Error is a request that the kernel refused: what was asked of which device, the kernel's own sentence where it gave one, and the error
// number. errors.Is finds both the errno and the Err... of this package.
type Error struct {
	Op, Object string
	Text       string // the kernel's extended acknowledgement
	Err        error
}

func (e *Error) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("bridge: %s %s: %s (%v)", e.Op, e.Object, e.Text, e.Err)
	}
	return fmt.Sprintf("bridge: %s %s: %v", e.Op, e.Object, e.Err)
}

// Unwrap gives the cause and its kind.
func (e *Error) Unwrap() []error {
	var no syscall.Errno
	if errors.As(e.Err, &no) && kinds[no] != nil {
		return []error{e.Err, kinds[no]}
	}
	return []error{e.Err}
}

// fail wraps a netlink error; nil stays nil.
func fail(op, object string, err error) error {
	if err == nil {
		return nil
	}
	out := &Error{Op: op, Object: object, Err: err}
	var ne *netlink.OpError
	if errors.As(err, &ne) {
		out.Err, out.Text = ne.Err, ne.Message
	}
	return out
}
