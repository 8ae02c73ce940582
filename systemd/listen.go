package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Listeners returns the listening Unix sockets that systemd has passed to this process, by the FileDescriptorName= of their socket unit
// (LISTEN_FDNAMES). With names, others than these are refused. Without systemd the map is empty. It takes the sockets: LISTEN_PID, LISTEN_FDS
// and LISTEN_FDNAMES are unset, so that no child and no second call sees them.
//
// On an error all of them are closed. Closing a listener leaves the socket's file in place, for it is systemd's and outlives the daemon.
func Listeners(names ...string) (map[string]net.Listener, error) {
	got := map[string]net.Listener{}
	var errs []error
	for _, f := range activation.Files(true) {
		l, err := listener(f, names)
		if _, doubled := got[f.Name()]; err == nil && doubled {
			err = errors.Join(errors.New("name is there twice"), l.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("systemd: take socket %.80q: %w", f.Name(), err))
			continue
		}
		got[f.Name()] = l
	}
	if len(errs) == 0 {
		return got, nil
	}
	for _, l := range got {
		errs = append(errs, l.Close())
	}
	return nil, errors.Join(errs...)
}

// listener makes a listener of a descriptor, which it closes either way: the listener has one of its own.
func listener(f *os.File, names []string) (net.Listener, error) {
	defer f.Close()
	if len(names) > 0 && !slices.Contains(names, f.Name()) {
		return nil, fmt.Errorf("name is unknown: want FileDescriptorName= to be one of %q", names)
	}
	if err := checkSocket(f); err != nil {
		return nil, err
	}
	return net.FileListener(f)
}

// checkSocket says in words what net would say by EINVAL, or only at the first Accept.
func checkSocket(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var domain, typ, listening int
	var errDomain, errType, errListening error
	err = raw.Control(func(fd uintptr) {
		domain, errDomain = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		typ, errType = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		listening, errListening = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	})
	switch {
	case err != nil:
		return err
	case errDomain != nil:
		return fmt.Errorf("descriptor is no socket: %w", errDomain)
	case errType != nil || errListening != nil:
		return errors.Join(errType, errListening)
	case domain != unix.AF_UNIX:
		return errors.New("socket is not a Unix socket: want ListenStream= with a path")
	case typ != unix.SOCK_STREAM || listening == 0:
		return errors.New("socket is not a listening stream: want ListenStream= and Accept=no")
	}
	return nil
}
