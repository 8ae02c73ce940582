package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vifplug/hotplug"
	"vifplug/hotplug/control"
)

func newStatus(s *shared) *cobra.Command {
	return &cobra.Command{
		Use:     "status [DOMAIN|VIF]",
		Short:   "Where every guest NIC stands",
		Long:    "status shows each NIC's state, netdev, bridge, MAC, MTU, since when, and its last error. DOMAIN is a guest's name or id, VIF a device.",
		Example: "  vifctl status\n  vifctl status web01\n  vifctl status vif23.0 --json",
		Args:    between(0, 1, "status [DOMAIN|VIF]"),
		RunE: func(c *cobra.Command, args []string) error {
			return runStatus(c.Context(), s, strings.Join(args, ""), c.OutOrStdout())
		},
	}
}

func runStatus(ctx context.Context, s *shared, what string, out io.Writer) error {
	st, err := s.client().Status(ctx)
	if err != nil {
		return err
	}
	if what != "" {
		if st.NICs = matching(st.NICs, what); len(st.NICs) == 0 {
			return fmt.Errorf("no NIC and no guest with a NIC is called %q. See vifctl status", what)
		}
	}
	if s.json {
		return printJSON(out, st)
	}
	printStatus(out, st, time.Now())
	return nil
}

// matching keeps the NICs of one guest (by name or id) or the one NIC.
func matching(all []hotplug.NICStatus, what string) []hotplug.NICStatus {
	var out []hotplug.NICStatus
	for _, n := range all {
		if n.VIF == what || n.Link != nil && n.Link.Name == what || n.Tap != nil && n.Tap.Name == what || n.Domain.Name == what || strconv.Itoa(int(n.Domain.ID)) == what {
			out = append(out, n)
		}
	}
	return out
}

// printStatus writes the table that fits 80 columns where the names do; what is wrong stands below its NIC in full sentences.
func printStatus(out io.Writer, st control.Status, now time.Time) {
	if !st.Daemon.Online {
		fmt.Fprintln(out, "xenstore does not answer: what follows is how things were; NICs stay as they are until it is back")
	}
	if len(st.NICs) == 0 {
		fmt.Fprintf(out, "no guest NICs (xenstore at %s)\n", st.Daemon.Store)
		return
	}
	t := table{{"VIF", "GUEST", "STATE", "NETDEV", "BRIDGE", "MAC", "MTU", "PATH", "SINCE"}}
	var below [][]string
	for _, n := range st.NICs {
		t, below = append(t, statusRow(n, now)), append(below, append(remarks(n.Reason, n.Notes), pathRemark(n.Path)...))
		if n.Tap != nil {
			t, below = append(t, tapRow(n, now)), append(below, append(remarks(n.Tap.Reason, n.Tap.Notes), pathRemark(n.Tap.Path)...))
		}
	}
	lines := t.lines()
	fmt.Fprintln(out, lines[0])
	for i, line := range lines[1:] {
		fmt.Fprintln(out, line)
		for _, text := range below[i] {
			fmt.Fprintf(out, "    %s\n", text)
		}
	}
	for _, a := range advised(st.NICs) {
		fmt.Fprintf(out, "advice: %s\n", a)
	}
}

// remarks are the lines below a row.
func remarks(r *hotplug.Reason, notes []string) (out []string) {
	if r != nil {
		out = append(out, r.Error())
	}
	for _, note := range notes {
		out = append(out, "note: "+note)
	}
	return out
}

// tapRow is the row of a NIC's tap, which stands below the NIC's own.
func tapRow(n hotplug.NICStatus, now time.Time) []string {
	t := n.Tap
	row := []string{"", "its tap", paint(t.State), t.Name, "-", "-", "-", pathText(t.Path), age(now.Sub(t.Since))}
	if t.MTU != 0 {
		row[6] = strconv.Itoa(t.MTU)
	}
	if t.Bridge != "" {
		row[4] = placeText(n, t.Bridge)
	}
	return row
}

func statusRow(n hotplug.NICStatus, now time.Time) []string {
	row := []string{n.VIF, guestText(n.Domain), paint(n.State), "-", "-", "-", "-", pathText(n.Path), age(now.Sub(n.Since))}
	if n.Backend != nil && n.Backend.MAC != "" {
		row[5] = n.Backend.MAC
	}
	if l := n.Link; l != nil {
		row[3], row[6] = l.Name, strconv.Itoa(l.MTU)
		if l.Bridge != "" {
			row[4] = placeText(n, l.Bridge)
		}
	}
	return row
}

func guestText(d hotplug.Domain) string {
	if d.Name == "" {
		return strconv.Itoa(int(d.ID))
	}
	return d.Name
}

// paint colours a state on a terminal.
func paint(s hotplug.State) string {
	text := s.String()
	if !colour() {
		return text
	}
	switch s {
	case hotplug.Plugged:
		return "\x1b[32m" + text + "\x1b[0m"
	case hotplug.Failed:
		return "\x1b[31m" + text + "\x1b[0m"
	}
	return "\x1b[33m" + text + "\x1b[0m"
}

func colour() bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	fi, err := os.Stdout.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

// age is a time that has passed, to the unit that matters.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table is rows of cells, the first the heading.
type table [][]string

// lines aligns the columns.
func (t table) lines() []string {
	width := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			width[i] = max(width[i], visible(cell))
		}
	}
	out := make([]string, len(t))
	for r, row := range t {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-visible(cell)+2))
			}
		}
		out[r] = strings.TrimRight(b.String(), " ")
	}
	return out
}

// visible counts the characters that a terminal shows: colours have none.
func visible(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape && r == 'm':
			escape = false
		case !escape:
			n++
		}
	}
	return n
}
