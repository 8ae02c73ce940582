package xenstore

import (
	"bytes"
	"fmt"
	"strconv"

	"vifplug/xenstore/wire"
)

// Op is one request of a [Client.Pipeline].
type Op struct {
	kind    wire.Type
	path    string
	payload []byte
	err     error // found before sending
}

// Result is the reply to one Op.
type Result struct {
	Value string   // READ's value; T or F of IS_DOMAIN_INTRODUCED
	List  []string // DIRECTORY's names
	Err   error    // an *Error
}

func pathOp(kind wire.Type, path string, rest ...string) Op {
	o := Op{kind: kind, path: path, err: wire.CheckPath(path)}
	n := len(path) + 1
	for _, r := range rest {
		n += len(r)
	}
	o.payload = append(make([]byte, 0, n), path...)
	o.payload = append(o.payload, 0)
	for _, r := range rest {
		o.payload = append(o.payload, r...)
	}
	return o
}

// ReadOp reads a node's value.
func ReadOp(path string) Op { return pathOp(wire.Read, path) }

// WriteOp writes a node's value, which may be any bytes. Missing parents are created.
func WriteOp(path, value string) Op { return pathOp(wire.Write, path, value) }

// MkdirOp makes a node where there is none.
func MkdirOp(path string) Op { return pathOp(wire.Mkdir, path) }

// RemoveOp removes a node and everything below it.
func RemoveOp(path string) Op { return pathOp(wire.Rm, path) }

// SetPermsOp replaces a node's permissions. The first entry names the owner.
func SetPermsOp(path string, perms []wire.Perm) Op { return permsOp(path, perms) }

// DirectoryOp lists a node's children. A list of more than one message is E2BIG here; [Client.Directory] copes.
func DirectoryOp(path string) Op { return pathOp(wire.Directory, path) }

// IntroducedOp asks whether a domain is introduced: Value is T or F.
func IntroducedOp(id DomID) Op { return domOp(wire.IsDomainIntroduced, id) }

func domOp(kind wire.Type, id DomID, more ...string) Op {
	num := strconv.Itoa(int(id))
	o := Op{kind: kind, path: num, payload: append([]byte(num), 0)}
	for _, m := range more {
		o.payload = append(append(o.payload, m...), 0)
	}
	return o
}

func stringsOp(kind wire.Type, path string, parts ...string) Op {
	o := Op{kind: kind, path: path}
	for _, p := range parts {
		o.payload = append(append(o.payload, p...), 0)
	}
	return o
}

func permsOp(path string, perms []wire.Perm) Op {
	o := pathOp(wire.SetPerms, path)
	if len(perms) == 0 && o.err == nil {
		o.err = fmt.Errorf("no permissions given: %w", wire.EINVAL)
	}
	for _, p := range perms {
		if _, err := wire.ParsePerm(p.String()); err != nil && o.err == nil {
			o.err = fmt.Errorf("%w: %w", err, wire.EINVAL)
		}
		o.payload = append(append(o.payload, p.String()...), 0)
	}
	return o
}

// check finds what must not be sent: a request over the limit makes C xenstored drop the connection with all its watches.
func (o Op) check(limit int) error {
	switch {
	case o.err != nil:
		return o.fail(o.err)
	case len(o.payload) > limit:
		return o.fail(fmt.Errorf("%d bytes, at most %d fit a message: %w", len(o.payload), limit, wire.E2BIG))
	}
	return nil
}

func (o Op) fail(err error) error { return &Error{Op: o.kind.String(), Path: o.path, Err: err} }

// decode turns a reply into a result.
func (o Op) decode(h wire.Header, payload []byte) Result {
	switch {
	case h.Type == wire.Error:
		return Result{Err: o.fail(wire.Errno(bytes.TrimRight(payload, "\x00")))}
	case h.Type != o.kind:
		return Result{Err: o.fail(fmt.Errorf("the store answered %v", h.Type))}
	}
	switch o.kind {
	case wire.Read:
		return Result{Value: string(payload)}
	case wire.Directory, wire.GetPerms:
		list, err := wire.SplitStrings(payload)
		if err != nil {
			return Result{Err: o.fail(err)}
		}
		return Result{List: list}
	case wire.DirectoryPart:
		return Result{Value: string(payload)}
	}
	return Result{Value: string(bytes.TrimRight(payload, "\x00"))}
}
