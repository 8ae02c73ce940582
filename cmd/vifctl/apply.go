package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vifplug/bridge/host"
	"vifplug/bridge/network"
	"vifplug/hotplug/control"
)

// applying are apply's own flags.
type applying struct {
	declaration
	confirm   time.Duration
	noConfirm bool
	force     bool
}

func newApply(s *shared) *cobra.Command {
	a := &applying{declaration: declaration{shared: s}}
	c := &cobra.Command{
		Use:   "apply [FILE...]",
		Short: "Make the host's networks as declared",
		Long: "apply does the steps that plan shows, in order, and reads the host back. When anything fails it undoes what it did. With --confirm, which is the\n" +
			"default when a step touches what carries server-management, everything is undone unless vifctl confirm comes in time, also when vifplugd or this\n" +
			"terminal dies meanwhile. vifplugd does the work where it runs, and keeps the host so from then on.",
		Example: "  vifctl apply\n  vifctl apply --confirm 2m",
		RunE: func(c *cobra.Command, args []string) error {
			switch confirm := c.Flags().Changed("confirm"); {
			case confirm && a.noConfirm:
				return &usageError{errors.New("--confirm and --no-confirm: say one of them")}
			case confirm && a.confirm <= 0:
				return &usageError{errors.New("--confirm: want a time such as 60s, or --no-confirm")}
			}
			return a.run(c.Context(), args, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	a.flags(c)
	c.Flags().DurationVar(&a.confirm, "confirm", 0, "undo everything unless vifctl confirm comes in this time (60s where server-management is touched)")
	c.Flags().BoolVar(&a.noConfirm, "no-confirm", false, "want no confirmation, whatever is touched")
	c.Flags().BoolVar(&a.force, "force", false, "even if it cuts off server-management, or moves that role to another network")
	return c
}

func (a *applying) run(ctx context.Context, files []string, out, errs io.Writer) error {
	spec, err := a.declared(files)
	if err != nil {
		return err
	}
	progress := func(r host.StepResult) {
		if !a.json {
			printStep(out, r)
		}
	}
	req := control.ApplyRequest{Spec: spec, Force: a.force}
	switch {
	case a.noConfirm:
		req.Confirm = "never"
	case a.confirm > 0:
		req.Confirm = a.confirm.String()
	}
	if !a.answers(ctx) {
		return a.alone(spec, out, errs, progress)
	}
	res, err := a.client().Apply(ctx, req, progress)
	return a.finish(out, res, err)
}

func printStep(out io.Writer, r host.StepResult) {
	fmt.Fprintf(out, "%*d/%d  %s\n", len(fmt.Sprint(r.Of)), r.Index+1, r.Of, r.Step)
	if r.Error != "" {
		fmt.Fprintf(out, "     failed: %s\n", r.Error)
	}
}

// applyJSON is what apply tells programs. Its lists are never null.
type applyJSON struct {
	host.Result
	Error string `json:"error,omitempty"`
}

func resultOf(res host.Result, err error) applyJSON {
	res.Steps, res.Notes, res.Warnings = listed(res.Steps), listed(res.Notes), listed(res.Warnings)
	out := applyJSON{Result: res}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

// count is a number of things in words.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// spell writes a time as one says it to --confirm: 60s, 2m, 1m30s.
func spell(d time.Duration) string {
	switch {
	case d == time.Minute:
		return "60s"
	case d >= time.Minute && d%time.Minute == 0:
		return strings.TrimSuffix(d.String(), "0s")
	}
	return d.String()
}

// finish tells how it ended.
func (a *applying) finish(out io.Writer, res host.Result, err error) error {
	if a.json {
		return errors.Join(err, printJSON(out, resultOf(res, err)))
	}
	for _, w := range res.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	for _, n := range res.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	switch {
	case err != nil:
		return err
	case res.Confirm > 0:
		fmt.Fprintf(out, "done in %s. Everything is undone in %s unless you say: vifctl confirm\n", count(len(res.Steps), "step"), spell(res.Confirm))
	case len(res.Steps) == 0:
		fmt.Fprintln(out, "nothing had to change")
	default:
		fmt.Fprintf(out, "done in %s\n", count(len(res.Steps), "step"))
	}
	return nil
}

// alone applies where no vifplugd answers. Then it is this process that waits for the confirmation, and it does not end with its terminal.
func (a *applying) alone(spec network.Spec, out, errs io.Writer, progress func(host.StepResult)) error {
	m, done, err := a.manager()
	if err != nil {
		return err
	}
	defer done()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE) // of a terminal, or of what reads the output
	if err := m.Recover(ctx); err != nil {
		return err
	}
	opt := host.ApplyOptions{Confirm: a.confirm, Force: a.force, Progress: progress}
	if a.noConfirm {
		opt.Confirm = host.Never
	}
	res, err := m.Apply(ctx, spec, opt)
	if err = a.finish(out, res, err); err != nil || res.Confirm == 0 {
		return err
	}
	fmt.Fprintln(errs, "vifctl: vifplugd does not answer, so this command waits for the decision: confirm in another terminal, or interrupt this one to undo everything")
	if err := waitDecided(ctx, m, res.ID); err != nil {
		return err
	}
	if !a.json {
		fmt.Fprintln(out, "confirmed: the declaration holds")
	}
	return nil
}

// waitDecided waits until what was applied is confirmed, or says that it was undone. An interrupt undoes it.
func waitDecided(ctx context.Context, m *host.Manager, id string) error {
	const look = 200 * time.Millisecond // the confirmation comes from another process, by the state files
	for {
		switch p, waits := m.Pending(); {
		case m.Holds(id):
			return nil
		case !waits || p.ID != id:
			return errors.New("nobody confirmed it, so it is undone: the host is as before")
		}
		select {
		case <-ctx.Done():
			return errors.Join(m.Rollback(context.WithoutCancel(ctx), "it was interrupted"), errors.New("interrupted, so it is undone: the host is as before"))
		case <-time.After(look):
		}
	}
}
