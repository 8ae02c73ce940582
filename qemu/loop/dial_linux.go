package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// The pauses between two tries to reach a QEMU whose socket is there but does not answer, in milliseconds. Where it is not there yet, nothing is tried
// until its directory changes.
const (
	firstPause = 10
	lastPause  = 2000
)

// dialer connects to the socket that QEMU makes, whenever there is one.
type dialer struct {
	path   string // as it is called when Run runs
	name   string // its last part
	socket int    // bound, for datagrams; -1: each connection is a stream of its own
	watch  int    // inotify of the directory
	log    *slog.Logger

	mu     sync.Mutex // guards events
	events [4096]byte
}

func openDialer(cfg Config, log *slog.Logger) (_ *dialer, err error) {
	d := &dialer{socket: -1, watch: -1, name: filepath.Base(cfg.Path), log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.path, err = within(cfg.Root, cfg.Path); err != nil {
		return nil, err
	}
	dir := filepath.Dir(cfg.Path)
	if d.watch, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err == nil {
		_, err = unix.InotifyAddWatch(d.watch, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB|unix.IN_ONLYDIR)
	}
	if err != nil {
		return nil, fmt.Errorf("loop: watch %s for QEMU's socket: %w. The directory must be there first", dir, err)
	}
	if cfg.Datagram != nil {
		d.socket, err = own(cfg.Datagram)
	}
	return d, err
}

// within says how a path is called beneath another root.
func within(root, path string) (string, error) {
	if root == "" {
		return path, nil
	}
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("loop: QEMU's socket %s does not lie under %s", path, root)
	}
	return "/" + rel, nil
}

// next connects. What is wrong is told when it changes.
func (d *dialer) next(wait waiter) (int, error) {
	last := ""
	for pause := firstPause; ; {
		d.again() // what has changed so far is seen now
		fd, err := d.connect()
		if err == nil {
			return fd, nil
		}
		ms := pause
		if errors.Is(err, unix.ENOENT) {
			ms = -1
		}
		if last != err.Error() {
			d.log.Info("waiting for QEMU", "err", err)
			last = err.Error()
		}
		changed, err := wait(d.watch, unix.POLLIN, ms)
		switch {
		case err != nil:
			return -1, err
		case changed:
			pause = firstPause
		default:
			pause = min(2*pause, lastPause)
		}
	}
}

// again takes what the watch tells, and says whether it is about the socket.
func (d *dialer) again() (about bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		n, err := unix.Read(d.watch, d.events[:])
		if err != nil || n <= 0 {
			return about
		}
		for b := d.events[:n]; len(b) >= unix.SizeofInotifyEvent; {
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if size > len(b) {
				break
			}
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00")
			about = about || name == d.name || binary.NativeEndian.Uint32(b[4:])&unix.IN_Q_OVERFLOW != 0
			b = b[size:]
		}
	}
}

func (d *dialer) connect() (int, error) {
	fd := d.socket
	if fd < 0 {
		var err error
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return -1, fmt.Errorf("loop: socket: %w", err)
		}
	}
	err := unix.Connect(fd, &unix.SockaddrUnix{Name: d.path})
	if err == nil {
		return fd, nil
	}
	if fd != d.socket {
		_ = unix.Close(fd)
	}
	return -1, fmt.Errorf("loop: connect to QEMU at %s: %w", d.path, err)
}

// end closes a stream. A datagram socket is to be connected anew.
func (d *dialer) end(conn int) error {
	if conn == d.socket {
		return nil
	}
	return os.NewSyscallError("close", unix.Close(conn))
}

func (*dialer) last() bool { return false }

func (d *dialer) close() error { return errors.Join(shut(&d.socket), shut(&d.watch)) }
