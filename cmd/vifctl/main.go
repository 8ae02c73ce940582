// Command vifctl is the operator's command: what every guest NIC is doing, why, and what happens to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"vifplug/hotplug/control"
)

// The exit codes of every vifplug command (docs/reference.md).
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs one command line and gives its exit code.
func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "vifctl: %v\nSee vifctl --help.\n", err)
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "vifctl: %v\n", err)
	if errors.Is(err, control.ErrNotReachable) {
		return exitUnreachable
	}
	return exitFailed
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (u *usageError) Unwrap() error { return u.error }

const defaultSocket = "/run/vifplug/control.sock"

// shared are the flags that every command takes.
type shared struct {
	socket string
	json   bool
}

func (s *shared) client() *control.Client { return control.NewClient(s.socket) }

func newRoot() *cobra.Command {
	s := &shared{}
	socket := os.Getenv("VIFPLUG_SOCKET")
	if socket == "" {
		socket = defaultSocket
	}
	root := &cobra.Command{
		Use:           "vifctl",
		Short:         "See and steer the NICs of Xen guests",
		Long:          "vifctl asks vifplugd about the NICs of Xen guests: where each stands, what happened to it, and why.",
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error { return wrapUsage(cobra.NoArgs(nil, args)) },
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&s.socket, "socket", socket, "vifplugd's control socket (also $VIFPLUG_SOCKET)")
	root.PersistentFlags().BoolVar(&s.json, "json", false, "print JSON, for programs")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newStatus(s), newEvents(s), newExplain(s), newResync(s), newXenstored(), newCheck(), newMan())
	return root
}

func wrapUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// exact wants n arguments, called as usage says.
func between(low, high int, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < low || len(args) > high {
			return &usageError{fmt.Errorf("want: vifctl %s", usage)}
		}
		return nil
	}
}
