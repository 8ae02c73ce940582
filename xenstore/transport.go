package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"vifplug/xenstore/wire"
)

// transport is one connection to a store.
type transport struct {
	io.ReadWriteCloser
	name  string // "unix:PATH" or "dev:PATH"
	limit int    // payload bytes that fit a request
	// single: each message needs a write of its own, and no other before its reply. The device takes one message a write and drops what follows
	// it; and it queues a pointer to its one buffer for the kernel's own thread to send, so that the next write changes what is still to be sent
	// (linux: drivers/xen/xenbus/xenbus_dev_frontend.c xenbus_file_write, xenbus_xs.c xenbus_dev_request_and_reply). Requests that ran into
	// each other made C xenstored 4.17 lose dom0's ring.
	single bool
	// try writes what goes out without waiting, and says how much that was; nil where that cannot be known.
	try func([]byte) int
}

// devicePayload is what fits a request through the device: its buffer has 4096 bytes with the header.
const devicePayload = wire.PayloadMax - wire.HeaderSize

// devices are where Linux has the store's device, newest name first.
var devices = []string{"/dev/xen/xenbus", "/proc/xen/xenbus"}

// dial connects to a target: "auto", "unix:PATH", "dev" or "dev:PATH". Auto tries the socket, then the device, as libxenstore does
// (xen: tools/libs/store/xs.c xs_open).
func dial(ctx context.Context, target string) (*transport, error) {
	switch path, isUnix := strings.CutPrefix(target, "unix:"); {
	case isUnix:
		return dialSocket(ctx, path)
	case target == "dev":
		return openDevice(devices...)
	case strings.HasPrefix(target, "dev:"):
		return openDevice(strings.TrimPrefix(target, "dev:"))
	case target != "auto" && target != "":
		return nil, fmt.Errorf("xenstore: target %q: want auto, unix:PATH, dev or dev:PATH", target)
	}
	t, err := dialSocket(ctx, socketPath(os.Getenv))
	if err == nil {
		return t, nil
	}
	t, err2 := openDevice(devices...)
	if err2 == nil {
		return t, nil
	}
	return nil, errors.Join(err, err2)
}

// socketPath is where the store's socket is by the environment (xen: tools/libs/store/xs.c xs_daemon_socket).
func socketPath(getenv func(string) string) string {
	if p := getenv("XENSTORED_PATH"); p != "" {
		return p
	}
	if d := getenv("XENSTORED_RUNDIR"); d != "" {
		return d + "/socket"
	}
	return "/run/xenstored/socket"
}

// dialSocket connects to a socket. C xenstored listens with a backlog of one, so a connect may be refused with EAGAIN for a moment.
func dialSocket(ctx context.Context, path string) (*transport, error) {
	var d net.Dialer
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return &transport{ReadWriteCloser: c, name: "unix:" + path, limit: wire.PayloadMax, try: writeNow(c)}, nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, fmt.Errorf("xenstore: connect: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("xenstore: connect: %w", err)
		case <-time.After(wait):
		}
	}
}

// writeNow makes the try of a socket. It leaves errors to who writes and waits.
func writeNow(c net.Conn) func([]byte) int {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func(b []byte) (n int) {
		_ = raw.Write(func(fd uintptr) bool {
			n, _ = syscall.Write(int(fd), b)
			return true
		})
		return max(n, 0)
	}
}

// openDevice opens the first device that exists. The runtime's poller serves it: the driver supports poll and non-blocking reads, and a
// write takes the whole message.
func openDevice(paths ...string) (*transport, error) {
	for _, p := range paths {
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("xenstore: %w", err)
		}
		return &transport{ReadWriteCloser: f, name: "dev:" + p, limit: devicePayload, single: true}, nil
	}
	return nil, fmt.Errorf("xenstore: no device %s: %w", strings.Join(paths, " or "), fs.ErrNotExist)
}
