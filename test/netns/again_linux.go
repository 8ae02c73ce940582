package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// inside says to a program that it is the one in the namespace.
const inside = "VIFPLUG_NETNS_INSIDE"

// ErrRoot says that a program needs root for its namespace.
var ErrRoot = errors.New("a network namespace needs root: run it with sudo")

// grace is how long a program may take to end once it was told to.
const grace = 5 * time.Second

// Inside says whether this program runs in a namespace of its own, by [Again].
func Inside() bool { return os.Getenv(inside) != "" }

// Outside is the environment for a program that is to enter a namespace of its own.
func Outside() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, inside+"=") })
}

// Again runs this program again, with the same arguments, in a network namespace of its own, and waits for it. When ctx ends, that program is
// told so by SIGTERM. Its failure is an *exec.ExitError, and it has said why.
func Again(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return ErrRoot
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	c := exec.CommandContext(ctx, self, os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = grace
	return c.Run()
}

// Enter is [Again] for a program that has nothing else to do: it ends with ctx, SIGINT or SIGTERM, says under the program's name what nobody has said, and
// returns the exit status.
func Enter(ctx context.Context, name string) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var failed *exec.ExitError
	switch err := Again(ctx); {
	case err == nil:
		return 0
	case !errors.As(err, &failed) || !failed.Exited(): // a signal says nothing itself
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	return 1
}
