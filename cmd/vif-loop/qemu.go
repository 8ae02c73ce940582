package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"vifplug/qemu/loop"
	"vifplug/systemd"
)

// qemuSocket is where QEMU is to be found.
type qemuSocket struct {
	what   string
	config loop.Config
}

// openQEMU opens the socket that the command line or systemd gives.
func openQEMU(o *options) (*qemuSocket, error) {
	passed, err := systemd.Listeners()
	if err != nil {
		return nil, err
	}
	switch {
	case len(passed) > 1 || len(passed) == 1 && (o.listen != "" || o.connect != ""):
		closeListeners(passed)
		return nil, errors.New("systemd passes a socket: there is no use for another. Leave --listen and --connect out")
	case len(passed) == 1:
		o.once = true
		for _, l := range passed {
			return listening(l, true)
		}
	case o.connect != "":
		return o.connecting()
	case o.listen != "":
		l, err := listen(o.listen)
		if err != nil {
			return nil, err
		}
		return listening(l, o.once)
	}
	return nil, errors.New("where is QEMU? Say --listen or --connect, or start it by a socket of systemd's")
}

func closeListeners(all map[string]net.Listener) {
	for _, l := range all {
		_ = l.Close()
	}
}

// listening takes a listener over.
func listening(l net.Listener, once bool) (*qemuSocket, error) {
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("the socket is no Unix stream"), l.Close())
	}
	u.SetUnlinkOnClose(false)
	f, err := u.File()
	if err = errors.Join(err, u.Close()); err != nil {
		return nil, err
	}
	return &qemuSocket{what: "connects to " + l.Addr().String(), config: loop.Config{Listener: f, Once: once}}, nil
}

// listen makes the socket, for root alone until somebody gives it to QEMU's user. One that nobody listens at any more is replaced.
func listen(path string) (net.Listener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if c, err := net.Dial("unix", path); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			err = c.Close()
		}
		return nil, errors.Join(fmt.Errorf("somebody listens at %s already", path), err)
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// connecting prepares to connect: the directory of QEMU's socket is all of the file system that will be left.
func (o *options) connecting() (*qemuSocket, error) {
	path, err := filepath.Abs(o.connect)
	if err != nil {
		return nil, err
	}
	if path, err = realDirectory(path); err != nil {
		return nil, err
	}
	q := &qemuSocket{what: "listens at " + path, config: loop.Config{Path: path, Root: filepath.Dir(path), Once: o.once}}
	if o.datagram != "" {
		if q.config.Datagram, err = bindDatagram(o.datagram); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// realDirectory has a path lead through no symbolic link but perhaps its last part.
func realDirectory(path string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("the directory of QEMU's socket: %w. It must be there first", err)
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

// bindDatagram makes the socket to which a peer sends datagrams, in place of one that was left behind.
func bindDatagram(path string) (*os.File, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	f, err := c.File()
	return f, errors.Join(err, c.Close()) // only a listener's file goes when it is closed
}

// close closes what the loop has its own of.
func (q *qemuSocket) close() {
	for _, f := range []**os.File{&q.config.Listener, &q.config.Datagram} {
		if *f != nil {
			_ = (*f).Close()
			*f = nil
		}
	}
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}
