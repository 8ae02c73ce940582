package xenstore

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"

	"vifplug/xenstore/wire"
)

// Directory lists a node's children, in parts where they do not fit one message.
func (c *Client) Directory(ctx context.Context, path string) ([]string, error) {
	return c.current().directory(ctx, 0, path)
}

func (c *conn) directory(ctx context.Context, tx uint32, path string) ([]string, error) {
	r, err := c.one(ctx, tx, DirectoryOp(path))
	if !errors.Is(err, wire.E2BIG) {
		return r.List, err
	}
	const attempts = 10 // a directory that changes all the time gives up in the end
	for range attempts {
		list, changed, err := c.directoryParts(ctx, tx, path)
		if err != nil || !changed {
			return list, err
		}
	}
	return nil, &Error{Op: wire.DirectoryPart.String(), Path: path, Err: wire.EAGAIN}
}

// directoryParts reads a long directory piece by piece. Each piece begins with the node's generation: another one means that it changed.
func (c *conn) directoryParts(ctx context.Context, tx uint32, path string) (list []string, changed bool, err error) {
	var all []byte
	generation := ""
	for len(all) < maxReply {
		o := pathOp(wire.DirectoryPart, path, strconv.Itoa(len(all)), "\x00")
		r, err := c.one(ctx, tx, o)
		if err != nil {
			return nil, false, err
		}
		gen, part, ok := strings.Cut(r.Value, "\x00")
		if !ok || part == "" {
			return nil, false, o.fail(wire.ErrShort)
		}
		if generation == "" {
			generation = gen
		} else if gen != generation {
			return nil, true, nil
		}
		all = append(all, part...)
		if part == "\x00" || bytes.HasSuffix(all, []byte{0, 0}) {
			list, err := wire.SplitStrings(all[:len(all)-1])
			return list, false, err
		}
	}
	return nil, false, &Error{Op: wire.DirectoryPart.String(), Path: path, Err: wire.E2BIG}
}
