package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Space is a network namespace, with the sysfs that belongs to it. It goes with the last thread, socket and process in it, and its links with
// it.
type Space struct{ net, mnt *os.File }

// New makes a namespace and moves the calling goroutine into it, which must be the test's own. Without root the test is skipped, or fails in
// CI (VIFPLUG_CI=1), where root must be.
func New(t testing.TB) *Space {
	t.Helper()
	return made(t, unshare)
}

// Beside makes a namespace and leaves the calling goroutine where it is.
func Beside(t testing.TB) *Space {
	t.Helper()
	return made(t, func() (s *Space, err error) {
		done := make(chan struct{})
		go runUnshare(&s, &err, done)
		<-done
		return s, err
	})
}

func runUnshare(s **Space, err *error, done chan<- struct{}) {
	defer close(done)
	*s, *err = unshare()
}

func made(t testing.TB, unshare func() (*Space, error)) *Space {
	t.Helper()
	if os.Geteuid() != 0 {
		withoutRoot(t)
	}
	s, err := unshare()
	if err != nil {
		t.Fatalf("netns: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.net.Close(), s.mnt.Close()); err != nil {
			t.Errorf("netns: %v", err)
		}
	})
	return s
}

// Need skips a test whose program is not in a namespace by [Again], for want of root, or fails it in CI.
func Need(t testing.TB) {
	t.Helper()
	if !Inside() {
		withoutRoot(t)
	}
}

func withoutRoot(t testing.TB) {
	t.Helper()
	if os.Getenv("VIFPLUG_CI") == "1" {
		t.Fatal("netns: a network namespace needs root, which CI must give")
	}
	t.Skip("needs root: it works in a network namespace")
}

// unshare never unlocks the thread: it dies with the goroutine, so nobody else's work ever runs in the namespace.
func unshare() (*Space, error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return nil, fmt.Errorf("mount sysfs: %w", err)
	}
	net, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	mnt, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, errors.Join(err, net.Close())
	}
	return &Space{net: net, mnt: mnt}, nil
}

// Enter moves the calling goroutine into the namespace, for good: it must end there.
func (s *Space) Enter() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // else the kernel refuses the mount namespace
		return fmt.Errorf("netns: enter: %w", err)
	}
	if err := unix.Setns(int(s.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("netns: enter: %w", err)
	}
	if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("netns: enter: %w", err)
	}
	return nil
}
