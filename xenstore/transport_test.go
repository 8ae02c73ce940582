package xenstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/xenstore/wire"
	"vifplug/xenstore/xenstoretest"
)

func TestSocketPath(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"/run/xenstored/socket": {},
		"/x/rundir/socket":      {"XENSTORED_RUNDIR": "/x/rundir"},
		"/x/path":               {"XENSTORED_RUNDIR": "/x/rundir", "XENSTORED_PATH": "/x/path"},
	} {
		assert.Equal(t, want, socketPath(func(k string) string { return env[k] }))
	}
}

func TestTargets(t *testing.T) {
	for _, target := range []string{"unix", "tcp:1.2.3.4", "device", "/run/xenstored/socket", "auto:x"} {
		_, err := Open(t.Context(), target, nil)
		assert.EqualError(t, err, fmt.Sprintf("xenstore: target %q: want auto, unix:PATH, dev or dev:PATH", target))
	}
}

// devicesAre has the machine have other devices than its own.
func devicesAre(t *testing.T, paths ...string) {
	old := devices
	t.Cleanup(func() { devices = old })
	devices = paths
}

func TestAutoTakesTheSocketFirst(t *testing.T) {
	target := xenstoretest.Start(t)
	_, tty := terminal(t)
	devicesAre(t, tty)
	t.Setenv("XENSTORED_PATH", strings.TrimPrefix(target, "unix:"))
	for _, auto := range []string{"auto", ""} {
		assert.Equal(t, target, connect(t, auto, nil).Transport())
	}
}

func TestAutoFallsBackToTheDevice(t *testing.T) {
	_, tty := terminal(t)
	dir := t.TempDir()
	t.Setenv("XENSTORED_PATH", filepath.Join(dir, "socket"))
	devicesAre(t, filepath.Join(dir, "newest"), tty)
	assert.Equal(t, "dev:"+tty, connect(t, "auto", nil).Transport())
	assert.Equal(t, "dev:"+tty, connect(t, "dev", nil).Transport())
	devicesAre(t, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	_, err := Open(t.Context(), "auto", nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, dir+"/socket")
	assert.ErrorContains(t, err, fmt.Sprintf("xenstore: no device %s/a or %s/b", dir, dir))
}

// A device that exists and cannot be opened is told, not passed over.
func TestDeviceThatCannotBeOpened(t *testing.T) {
	_, err := Open(t.Context(), "dev:"+t.TempDir(), nil)
	assert.ErrorIs(t, err, syscall.EISDIR)
}

// C xenstored listens with a backlog of one: a connect that comes too early is refused with EAGAIN and tried again.
func TestConnectWaitsForTheBacklog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	require.NoError(t, unix.Listen(fd, 0))
	first, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer func() { _ = first.Close() }()
	_, err = net.Dial("unix", path)
	require.ErrorIs(t, err, syscall.EAGAIN, "the backlog is full")

	const wait = 50 * time.Millisecond
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	_, err = dialSocket(ctx, path)
	assert.Error(t, err)
	assert.GreaterOrEqual(t, time.Since(start), wait, "it gave up only when its context did")

	waits := beside(func() (*transport, error) { return dialSocket(t.Context(), path) })
	accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	defer func() { _ = unix.Close(accepted) }()
	got := receive(t, waits)
	require.NoError(t, got.err)
	assert.NoError(t, got.value.Close())
}

// messages checks that each write is one whole message, as the device wants it.
type messages struct {
	io.ReadWriteCloser
	t *testing.T
}

func (m messages) Write(b []byte) (int, error) {
	h, err := wire.ParseHeader(b)
	if assert.NoError(m.t, err) {
		assert.Len(m.t, b, wire.HeaderSize+int(h.Len), "one message, and all of it")
		assert.LessOrEqual(m.t, len(b), 4096, "what the device's buffer holds")
	}
	return m.ReadWriteCloser.Write(b)
}

func TestDeviceGetsOneRequestAtATime(t *testing.T) {
	w := newFakes(t)
	w.change = func(tr *transport) {
		tr.ReadWriteCloser, tr.single, tr.limit = messages{tr.ReadWriteCloser, t}, true, devicePayload
	}
	c, f := w.open(nil)
	call := beside(func() ([]Result, error) {
		return c.Pipeline(t.Context(), ReadOp("/a"), WriteOp("/b", strings.Repeat("x", devicePayload-3)), ReadOp("/c"))
	})
	for range 3 {
		r := f.next()
		require.NoError(t, f.conn.SetReadDeadline(time.Now().Add(30*time.Millisecond)))
		_, err := f.in.ReadByte()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "another request before the reply to this one")
		f.reply(r, "v")
	}
	require.NoError(t, receive(t, call).err)
	assert.ErrorIs(t, c.Write(t.Context(), "/b", strings.Repeat("x", devicePayload-2)), E2BIG)
	assert.ErrorIs(t, c.ResetWatches(t.Context()), wire.EPERM, "they are the kernel's too")
	f.silent(c)
}

// terminal is a pair of which the far end can be opened by its path, without a line discipline's meddling: the nearest to the device that a
// test can have.
func terminal(t *testing.T) (near *os.File, path string) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = near.Close() })
	fd := int(near.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	raw, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	require.NoError(t, err)
	raw.Iflag, raw.Oflag, raw.Lflag = 0, 0, 0
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	require.NoError(t, unix.IoctlSetTermios(fd, unix.TCSETS, raw))
	require.NoError(t, unix.SetNonblock(fd, true))
	return os.NewFile(uintptr(must(t)(unix.Dup(fd))), "ptmx"), fmt.Sprintf("/dev/pts/%d", n)
}

func must(t *testing.T) func(int, error) int {
	return func(n int, err error) int {
		t.Helper()
		require.NoError(t, err)
		return n
	}
}

// Through the device the first event may come before the OK, and an UNWATCH of what is not watched is OK
// (linux: drivers/xen/xenbus/xenbus_dev_frontend.c).
func TestDevice(t *testing.T) {
	near, path := terminal(t)
	defer func() { _ = near.Close() }()
	c := connect(t, "dev:"+path, &Options{NoReconnect: true})
	assert.Equal(t, "dev:"+path, c.Transport())
	dev := &fake{t: t, conn: fileConn{near}, in: bufio.NewReader(near)}

	call := beside(func() (*Watch, error) { return c.Watch(t.Context(), "/w", WatchOptions{}) })
	r := dev.expect(wire.Watch, "/w\x00v1\x00")
	dev.event("/w", "v1")
	dev.reply(r, "OK\x00")
	w := receive(t, call)
	require.NoError(t, w.err)
	assert.Equal(t, []Event{{Path: "/w"}}, take(t, w.value))
	for range 2 {
		closing := beside(nothing(func() error { return w.value.Close(t.Context()) }))
		dev.reply(dev.expect(wire.Unwatch, "/w\x00v1\x00"), "OK\x00")
		require.NoError(t, receive(t, closing).err)
	}
	value := strings.Repeat("\x00\r\n\x03\x04\xff", 600)
	reading := beside(read(c, t.Context(), "/a"))
	dev.reply(dev.expect(wire.Read, "/a\x00"), value)
	assert.Equal(t, outcome[string]{value: value}, receive(t, reading))
	waits := beside(read(c, t.Context(), "/b"))
	dev.expect(wire.Read, "/b\x00")
	require.NoError(t, c.Close(), "although a read of the device waits")
	assert.ErrorIs(t, receive(t, waits).err, ErrClosed)
}

// fileConn is a file as a connection: what the fake uses of one.
type fileConn struct{ *os.File }

func (fileConn) LocalAddr() net.Addr  { return nil }
func (fileConn) RemoteAddr() net.Addr { return nil }

func TestSocketTriesNotToWait(t *testing.T) {
	assert.Nil(t, writeNow(&net.TCPConn{}), "a connection that is none")
	near, far := net.Pipe()
	defer func() { require.NoError(t, errors.Join(near.Close(), far.Close())) }()
	assert.Nil(t, writeNow(near), "nothing is known of it")
}
