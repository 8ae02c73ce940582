package xenstore

import (
	"errors"
	"fmt"

	"vifplug/xenstore/wire"
)

// ErrDisconnected says that the connection is or has gone down. Whether a request under way was carried out is unknown.
var ErrDisconnected = errors.New("not connected")

// ErrClosed says that the client has been closed.
var ErrClosed = errors.New("the client is closed")

// The store's errors, for errors.Is.
const (
	ENOENT = wire.ENOENT
	EACCES = wire.EACCES
	EINVAL = wire.EINVAL
	EEXIST = wire.EEXIST
	EAGAIN = wire.EAGAIN
	ENOMEM = wire.ENOMEM
	ENOSPC = wire.ENOSPC
	E2BIG  = wire.E2BIG
	EBUSY  = wire.EBUSY
	ENOSYS = wire.ENOSYS
)

// DomID is a domain's id.
type DomID = wire.DomID

// ParseDomID reads an ordinary domain's id: a plain decimal number.
func ParseDomID(s string) (DomID, error) { return wire.ParseDomID(s) }

// Error is a request that failed: what was asked, of which node, and why. errors.Is finds the store's own error in it.
type Error struct {
	Op, Path string
	Err      error
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("xenstore: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("xenstore: %s %s: %v", e.Op, e.Path, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
