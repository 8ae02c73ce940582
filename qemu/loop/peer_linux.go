package loop

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// peer is how QEMU comes: again and again, or once.
type peer interface {
	// next waits for a connection by wait, of which errors are its own.
	next(wait waiter) (conn int, err error)
	// again takes what has come at the descriptor of that name, and says whether the connection is to be made anew.
	again() bool
	// end closes a connection.
	end(conn int) error
	// last says that there will be no other.
	last() bool
	close() error
}

// waiter is [Loop.wait].
type waiter func(fd int, events int16, ms int) (ready bool, err error)

func openPeer(cfg Config, log *slog.Logger) (peer, error) {
	switch {
	case cfg.Listener != nil:
		fd, err := own(cfg.Listener)
		return &listener{fd}, err
	case cfg.Conn != nil:
		fd, err := own(cfg.Conn)
		return &connected{fd}, err
	case cfg.Path != "":
		d, err := openDialer(cfg, log)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	return nil, errors.New("loop: no socket of QEMU's is given")
}

// own gives a descriptor of a file's that is the loop's and that does not wait.
func own(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("loop: %s: %w", f.Name(), err)
	}
	var failed error
	err = raw.Control(func(theirs uintptr) {
		if fd, failed = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0); failed == nil {
			failed = unix.SetNonblock(fd, true)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return -1, fmt.Errorf("loop: %s: %w", f.Name(), err)
	}
	return fd, nil
}

// listener has QEMU connect to it. The next one waits until the last has gone.
type listener struct{ fd int }

func (p *listener) next(wait waiter) (int, error) {
	for {
		if _, err := wait(p.fd, unix.POLLIN, -1); err != nil {
			return -1, err
		}
		conn, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(p.fd), 0, 0, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0, 0)
		switch errno {
		case 0:
			return int(conn), nil
		case unix.EAGAIN, unix.EINTR, unix.ECONNABORTED:
		default:
			return -1, fmt.Errorf("loop: accept QEMU's connection: %w", errno)
		}
	}
}

func (*listener) end(conn int) error { return unix.Close(conn) }

func (*listener) again() bool { return false }

func (*listener) last() bool { return false }

func (p *listener) close() error { return shut(&p.fd) }

// connected is a stream on which QEMU is already.
type connected struct{ fd int }

func (p *connected) next(waiter) (int, error) { return p.fd, nil }

func (p *connected) end(int) error { return shut(&p.fd) }

func (*connected) again() bool { return false }

func (*connected) last() bool { return true }

func (p *connected) close() error { return shut(&p.fd) }

// shut closes a descriptor once.
func shut(fd *int) error {
	if *fd < 0 {
		return nil
	}
	err := unix.Close(*fd)
	*fd = -1
	return err
}
