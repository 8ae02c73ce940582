package confine

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options say what is left.
type Options struct {
	// UID and GID are whom the process becomes.
	UID, GID int
	// Root becomes its root directory; "": an empty one that is gone already, so that nothing can be made in it either.
	Root string
	// Dial leaves it what connecting to Unix sockets beneath Root takes, whosever they are: socket, connect, and CAP_DAC_OVERRIDE, of which without any
	// call that takes a path there is no other use.
	Dial bool
}

// Drop confines the process, all its threads and those to come, for good. It has to be root's. After an error the process may be half confined, and
// should end.
func Drop(o Options) error {
	for _, step := range []struct {
		what string
		do   func(Options) error
	}{
		{"limit resources", limit},
		{"change the root directory", changeRoot},
		{"drop capabilities that could be regained", dropBounding},
		{"change the user", changeUser},
		{"drop capabilities", dropCapabilities},
		{"give up new privileges", func(Options) error { return onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0) }},
		{"filter system calls", func(o Options) error { return install(filter(o.Dial)) }},
	} {
		if err := step.do(o); err != nil {
			return fmt.Errorf("confine: %s: %w", step.what, err)
		}
	}
	return nil
}

// onAllThreads makes a call on every thread: each has its own credentials. It works in programs without cgo alone.
func onAllThreads(call, a, b, c uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(call, a, b, c, 0, 0, 0)
	switch errno {
	case 0:
		return nil
	case unix.ENOTSUP: // Go says so with cgo; no call that is made here answers with it
		return errCgo
	}
	return errno
}

var errCgo = errors.New("this program has been built with cgo, whose threads Go cannot confine. Build it with CGO_ENABLED=0, as make build does")

// maxFiles is how many descriptors there may be: more than a loop has, with room for one connection at a time.
const maxFiles = 64

func limit(Options) error {
	for resource, value := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_NOFILE: maxFiles, unix.RLIMIT_MSGQUEUE: 0} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
	}
	return nil
}

func changeRoot(o Options) error {
	dir := o.Root
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "vif-loop-"); err != nil {
			return err
		}
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if o.Root == "" {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

func dropBounding(Options) error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) { // a kernel that does not know it yet
			return err
		}
	}
	return onAllThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
}

func changeUser(o Options) error {
	if o.Dial {
		if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); err != nil {
			return err
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(o.GID, o.GID, o.GID); err != nil {
		return err
	}
	return syscall.Setresuid(o.UID, o.UID, o.UID)
}

// capHead and capSets are what every thread gives the kernel: no stack of a goroutine's, which could move meanwhile.
var (
	capHead = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	capSets [2]unix.CapUserData
)

func dropCapabilities(o Options) error {
	if o.Dial {
		capSets[0].Permitted = 1 << unix.CAP_DAC_OVERRIDE
		capSets[0].Effective = capSets[0].Permitted
	}
	return onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&capHead)), uintptr(unsafe.Pointer(&capSets)), 0)
}
