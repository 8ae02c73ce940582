// Command vifctl is the operator's command: what every guest NIC is doing, why, and what happens to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
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
	var config *configError
	var differs *differsError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "vifctl: %v\nSee vifctl --help.\n", err)
		return exitUsage
	case errors.As(err, &differs):
		return exitDiffers
	}
	fmt.Fprintf(os.Stderr, "vifctl: %s\n", strings.TrimPrefix(err.Error(), "host: "))
	switch {
	case errors.As(err, &config):
		return exitUsage
	case errors.Is(err, control.ErrNotReachable):
		return exitUnreachable
	}
	return exitFailed
}

// configError is a configuration that makes no sense.
type configError struct{ error }

func (c *configError) Unwrap() error { return c.error }

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
		Use:   "vifctl",
		Short: "See and steer the networks of a Xen host and the NICs of its guests",
		Long: "vifctl asks vifplugd about the NICs of Xen guests: where each stands, what happened to it, and why; and it shows and changes the host's networks.\n\n" +
			"Exit status: 0 fine, 1 failed, 2 wrong usage or configuration, 3 the host is not as declared (plan, diff), 4 vifplugd not reachable.",
		SilenceErrors: true, SilenceUsage: true,
		Example: "  vifctl status\n  vifctl explain vif23.0",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("there is no command %q", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&s.socket, "socket", socket, "vifplugd's control socket (also $VIFPLUG_SOCKET)")
	root.PersistentFlags().Lookup("socket").DefValue = defaultSocket // in help and man page, wherever they are made
	root.PersistentFlags().BoolVar(&s.json, "json", false, "print JSON, for programs")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newStatus(s), newEvents(s), newExplain(s), newResync(s), newAttach(s), newDetach(s), newMove(s), newPath(s), newCapture(s), newTop(s), newTap(s), newShow(s), newPlan(s), newApply(s), newConfirm(s), newRollback(s), newDiff(s), newImport(), newXenstored(), newCheck(), newMan())
	return root
}

// between wants from low to high arguments, called as usage says.
func between(low, high int, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < low || len(args) > high {
			return &usageError{fmt.Errorf("want: vifctl %s", usage)}
		}
		return nil
	}
}
