package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"vifplug/hotplug"
)

func newExplain(s *shared) *cobra.Command {
	return &cobra.Command{
		Use:   "explain VIF",
		Short: "What was observed and decided about a NIC, each step and its time",
		Long: "explain tells how a NIC came to be as it is: what vifplugd saw, what it decided, each step with its time, why it failed, and what to do.\n" +
			"VIF is the kernel's name (vif23.0) or the device's present one.",
		Example: "  vifctl explain vif23.0\n  vifctl explain vif23.0 --json",
		Args:    between(1, 1, "explain VIF"),
		RunE: func(c *cobra.Command, args []string) error {
			x, err := s.client().NIC(c.Context(), args[0])
			if err != nil {
				return err
			}
			if s.json {
				return printJSON(c.OutOrStdout(), x)
			}
			printExplanation(c.OutOrStdout(), x, time.Now())
			return nil
		},
	}
}

func printExplanation(out io.Writer, x hotplug.Explanation, now time.Time) {
	fmt.Fprintf(out, "%s: eth%d of guest %s (%d), %s since %s (%s)\n", x.VIF, x.Device, guestText(x.Domain), x.Domain.ID, paint(x.State),
		x.Since.Local().Format(time.DateTime), age(now.Sub(x.Since)))
	if r := x.Reason; r != nil {
		fmt.Fprintf(out, "  why: %s\n  do:  %s\n", r.Cause, r.Remedy)
	}
	for _, n := range x.Notes {
		fmt.Fprintf(out, "  note: %s\n", n)
	}
	if b := x.Backend; b != nil {
		fmt.Fprintf(out, "  backend: state %d %s, online %v, bridge %s%s, guest MAC %s, script %s, hotplug-status %q\n",
			b.State, b.StateName, b.Online, dash(b.Bridge), networkText(x.NICStatus), dash(b.MAC), dash(b.Script), b.HotplugStatus)
	}
	if l := x.Link; l != nil {
		fmt.Fprintf(out, "  netdev:  %s (index %d), up %v, MTU %d, on %s\n", l.Name, l.Index, l.Up, l.MTU, dash(l.Bridge))
	}
	explainPath(out, x.Path)
	for _, r := range x.Runs {
		printRun(out, r)
	}
	printTap(out, x, now)
}

// printTap tells the same of the NIC's tap.
func printTap(out io.Writer, x hotplug.Explanation, now time.Time) {
	t := x.Tap
	if t == nil {
		return
	}
	fmt.Fprintf(out, "\n%s: QEMU's tap for %s, %s since %s (%s)\n", t.Name, x.VIF, paint(t.State), t.Since.Local().Format(time.DateTime), age(now.Sub(t.Since)))
	if r := t.Reason; r != nil {
		fmt.Fprintf(out, "  why: %s\n  do:  %s\n", r.Cause, r.Remedy)
	}
	for _, n := range t.Notes {
		fmt.Fprintf(out, "  note: %s\n", n)
	}
	if t.Index != 0 {
		fmt.Fprintf(out, "  netdev:  %s (index %d), up %v, MTU %d, on %s\n", t.Name, t.Index, t.Up, t.MTU, dash(t.Bridge))
	}
	explainPath(out, t.Path)
	for _, r := range x.TapRuns {
		printRun(out, r)
	}
}

// networkText is the declared network that the node's bridge is, where that says it otherwise, and the VLAN that the NIC wants there.
func networkText(n hotplug.NICStatus) string {
	text := ""
	if n.Network != "" && n.Network != n.Backend.Bridge {
		text = fmt.Sprintf(" (network %s)", n.Network)
	}
	if n.Backend.VLAN != 0 {
		text += fmt.Sprintf(", VLAN %d", n.Backend.VLAN)
	}
	return text
}

func printRun(out io.Writer, r hotplug.Run) {
	fmt.Fprintf(out, "\n%s\n  saw      %s (%v)\n  decided  %v\n", r.Time.Local().Format("15:04:05.000000"), r.Observed, r.Observe.Round(time.Microsecond), r.Decided)
	for _, s := range r.Steps {
		fmt.Fprintf(out, "  did      %s (%v)\n", s.Text, s.Took.Round(time.Microsecond))
		if s.Error != "" {
			fmt.Fprintf(out, "  failed   %s\n", s.Error)
		}
	}
	if r.Reason != nil {
		fmt.Fprintf(out, "  because  %s\n  do       %s\n", r.Reason.Cause, r.Reason.Remedy)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
