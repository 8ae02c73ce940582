package xenstored_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/xenstored"
)

func TestListenMakesASocketForRootAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := xenstored.Listen(path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, l.Close()) }()
	fi, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.ModeSocket|0o600, fi.Mode())
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file, served, missing := filepath.Join(dir, "file"), filepath.Join(dir, "served"), filepath.Join(dir, "no", "dir")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	l, err := xenstored.Listen(served)
	require.NoError(t, err)
	defer func() { assert.NoError(t, l.Close()) }()

	_, err = xenstored.Listen(served)
	assert.ErrorContains(t, err, "a store is served there already. Say another path")
	_, err = xenstored.Listen(file)
	assert.ErrorContains(t, err, "is no socket. Say another path")
	assert.FileExists(t, file)
	_, err = xenstored.Listen(missing)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// A store whose queue of connections is full is alive: its socket must not be taken away.
func TestListenRefusesABusySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { assert.NoError(t, syscall.Close(fd)) }()
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	require.NoError(t, syscall.Listen(fd, 0))
	for range 100 {
		c, err := net.Dial("unix", path)
		if err != nil {
			require.ErrorIs(t, err, syscall.EAGAIN)
			break
		}
		defer func() { _ = c.Close() }()
	}
	_, err = xenstored.Listen(path)
	assert.ErrorContains(t, err, "a store is served there already")
	assert.FileExists(t, path)
}

func TestListenReplacesASocketThatNobodyServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	old.SetUnlinkOnClose(false)
	require.NoError(t, old.Close())
	require.FileExists(t, path)
	l, err := xenstored.Listen(path)
	require.NoError(t, err)
	assert.NoError(t, l.Close())
}

func TestServeAfterCloseIsOver(t *testing.T) {
	s := xenstored.New(nil)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "again")
	l, err := xenstored.Listen(filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	assert.NoError(t, s.Serve(l))
	here, there := net.Pipe()
	s.ServeConn(there, 1)
	_, err = here.Read(make([]byte, 1))
	assert.Error(t, err)
	assert.NoError(t, here.Close())
}
