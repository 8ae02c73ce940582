package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vifplug/hotplug"
	"vifplug/hotplug/control"
)

func newEvents(s *shared) *cobra.Command {
	var follow bool
	var since uint64
	c := &cobra.Command{
		Use:     "events",
		Short:   "What happened to guests, their NICs and the host's networks",
		Long:    "events prints the events that vifplugd still has, and with --follow those that come, until interrupted or until vifplugd stops (exit 4). With --json each is a line of JSON.",
		Example: "  vifctl events\n  vifctl events --follow --json | jq 'select(.kind == \"nic.failed\")'",
		Args:    between(0, 0, "events [--follow] [--since SEQ]"),
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			var printed error
			err := s.client().Events(c.Context(), since, follow, func(e hotplug.Event) bool {
				printed = s.printEvent(out, e)
				return printed == nil
			})
			switch {
			case c.Context().Err() != nil:
				return nil // interrupted: that is how following ends
			case err == nil && printed == nil && follow:
				return fmt.Errorf("%w any more: it has ended the stream", control.ErrNotReachable)
			}
			return errors.Join(err, printed)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "wait for new events")
	c.Flags().Uint64Var(&since, "since", 0, "only events after this number")
	return c
}

func (s *shared) printEvent(out io.Writer, e hotplug.Event) error {
	if s.json {
		return json.NewEncoder(out).Encode(e)
	}
	_, err := fmt.Fprintln(out, eventLine(e))
	return err
}

// eventLine is one event for people.
func eventLine(e hotplug.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-16s", e.Time.Local().Format("15:04:05.000"), e.Kind)
	if e.Kind == hotplug.Overrun {
		fmt.Fprintf(&b, " %d events are missing here: this reader was too slow", e.Lost)
		return b.String()
	}
	if isNetworks(e.Kind) {
		b.WriteString(networksText(e))
		return b.String()
	}
	if e.VIF != "" {
		fmt.Fprintf(&b, " %s", e.VIF)
		if e.Netdev != "" && e.Netdev != e.VIF {
			fmt.Fprintf(&b, " (%s)", e.Netdev)
		}
	}
	fmt.Fprintf(&b, " domain %d", e.Domain.ID)
	if e.Domain.Name != "" {
		fmt.Fprintf(&b, " %s", e.Domain.Name)
	}
	if e.VIF == "" && e.Domain.UUID != "" {
		fmt.Fprintf(&b, " %s", e.Domain.UUID)
	}
	if e.Bridge != "" {
		fmt.Fprintf(&b, " bridge %s", e.Bridge)
	}
	if e.Reason != nil {
		fmt.Fprintf(&b, ": %s", e.Reason.Error())
	} else if e.Detail != "" {
		fmt.Fprintf(&b, ": %s", e.Detail)
	}
	return b.String()
}

// isNetworks says that an event is about the host's networks, not about a guest.
func isNetworks(k hotplug.Kind) bool {
	return strings.HasPrefix(string(k), "network.") || strings.HasPrefix(string(k), "apply.")
}

// networksText is whose and what: " network guests: 4B: the bridge is missing". A device that the sentence names is not told twice.
func networksText(e hotplug.Event) string {
	text := ""
	if e.Network != "" {
		text = " network " + e.Network
	}
	if e.Netdev != "" && !strings.Contains(e.Detail, e.Netdev) {
		text += " " + e.Netdev
	}
	if text == "" {
		return " " + e.Detail
	}
	return text + ": " + e.Detail
}
