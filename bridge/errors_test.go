package bridge

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestErrorKinds(t *testing.T) {
	sentinels := []error{ErrNotFound, ErrExists, ErrBusy, ErrInvalid, ErrUnsupported, ErrPermission, ErrOverflow}
	for no, kind := range map[syscall.Errno]error{
		syscall.ENODEV: ErrNotFound, syscall.ENOENT: ErrNotFound, syscall.ENXIO: ErrNotFound,
		syscall.EEXIST: ErrExists, syscall.EBUSY: ErrBusy, syscall.EINVAL: ErrInvalid, syscall.ERANGE: ErrInvalid,
		syscall.EADDRNOTAVAIL: ErrInvalid, syscall.EOPNOTSUPP: ErrUnsupported, syscall.EAFNOSUPPORT: ErrUnsupported,
		syscall.EPERM: ErrPermission, syscall.EACCES: ErrPermission, syscall.ENOMEM: nil,
	} {
		for _, cause := range []error{no, &netlink.OpError{Op: "receive", Err: no}, &netlink.OpError{Op: "receive", Err: fmt.Errorf("recvmsg: %w", no)}} {
			err := fail("change link", "3", cause)
			require.ErrorIs(t, err, no)
			for _, s := range sentinels {
				assert.Equal(t, s == kind, errors.Is(err, s), "%v is %v", err, s)
			}
		}
	}
}

func TestErrorText(t *testing.T) {
	assert.NoError(t, fail("change link", "3", nil))
	assert.EqualError(t, fail("change link", "3", &netlink.OpError{Op: "receive", Err: syscall.EINVAL, Message: "mtu greater than device maximum", Offset: 4}),
		"bridge: change link 3: mtu greater than device maximum (invalid argument)")
	assert.EqualError(t, fail("read link", "vif5.0", &netlink.OpError{Op: "receive", Err: syscall.ENODEV}), "bridge: read link vif5.0: no such device")
	assert.EqualError(t, fail("list", "links", io.ErrUnexpectedEOF), "bridge: list links: unexpected EOF")
	var e *Error
	require.ErrorAs(t, fmt.Errorf("hotplug: %w", fail("list", "links", io.EOF)), &e)
	assert.Equal(t, "list", e.Op)
	assert.Equal(t, "links", e.Object)
}
