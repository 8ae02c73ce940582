package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vifplug/bridge"
	"vifplug/bridge/host"
	"vifplug/bridge/network"
	"vifplug/bridge/network/view"
)

// showing are show's own flags.
type showing struct {
	declaration
	view, output string
}

var outputs = []string{"text", "json", "dot", "mermaid", "svg"}

func newShow(s *shared) *cobra.Command {
	v := &showing{declaration: declaration{shared: s}}
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the host's networks, in three views",
		Long: "show tells what networks the host has. Its three views carry the same labels: a network has a number, its devices a letter, so that a line of one is\n" +
			"found in the others.\n\n" +
			"  manager  a table of networks: roles, what they stand on, VLAN, addresses, state, guests\n" +
			"  logical  who stands on whom, from the wire to the guests\n" +
			"  devices  every device, in the kernel's order\n\n" +
			"Marked is what is down, missing, drifted, or declared by nobody (foreign). Without vifplugd the ports themselves tell whose they are.",
		Example: "  vifctl show\n  vifctl show --view logical --output svg > networks.svg",
		Args:    between(0, 0, "show [--view manager|logical|devices]"),
		RunE:    func(c *cobra.Command, _ []string) error { return v.run(c.Context(), c.OutOrStdout()) },
	}
	v.stateFlag(c)
	c.Flags().StringVar(&v.view, "view", "manager", strings.Join(view.Names, ", "))
	c.Flags().StringVarP(&v.output, "output", "o", "text", strings.Join(outputs, ", "))
	return c
}

func (v *showing) run(ctx context.Context, out io.Writer) error {
	if v.json {
		v.output = "json"
	}
	switch {
	case !slices.Contains(view.Names, v.view):
		return &usageError{fmt.Errorf("--view %q: want %s", v.view, strings.Join(view.Names, ", "))}
	case !slices.Contains(outputs, v.output):
		return &usageError{fmt.Errorf("--output %q: want %s", v.output, strings.Join(outputs, ", "))}
	}
	o, err := observe()
	if err != nil {
		return err
	}
	defer o.close()
	m, err := v.model(ctx, o)
	if err != nil {
		return err
	}
	w, err := m.View(v.view)
	if err != nil {
		return err
	}
	return view.Write(out, w, v.output, view.Options{Width: width(), Colour: colour(), ASCII: !utf8Terminal()})
}

// model puts together what holds, what is there, and who the guests are.
func (v *showing) model(ctx context.Context, o *observer) (*view.Model, error) {
	spec, err := v.current(ctx)
	if err != nil {
		return nil, err
	}
	have, err := o.Host()
	if err != nil {
		return nil, err
	}
	in := view.Input{Spec: spec, Host: have, Guests: v.guests(ctx), Now: time.Now()}
	if in.Guests == nil {
		in.Guests = network.GuestsOf(have)
	}
	in.Title, _ = os.Hostname()
	in.Drift = drift(network.Compare(network.Input{Want: spec, Before: &spec, Have: have, Guests: in.Guests}))
	return view.New(in), nil
}

// current is the declaration that holds. Its file is root's: whoever may read the control socket asks vifplugd.
func (v *showing) current(ctx context.Context) (network.Spec, error) {
	spec, _, err := host.Current(v.state)
	if !errors.Is(err, fs.ErrPermission) {
		return spec, err
	}
	st, asked := v.client().Networks(ctx)
	switch {
	case asked != nil:
		return spec, errors.Join(err, asked)
	case st.Pending != nil && st.Pending.Waiting:
		spec = st.Pending.After
	case st.Applied != nil:
		spec = *st.Applied
	}
	return spec, nil
}

// drift says of each device what is wrong with it.
func drift(diffs []network.Difference) map[bridge.Name]string {
	out := map[bridge.Name]string{}
	for _, d := range diffs {
		if d.What == "missing" {
			continue // the views see that themselves
		}
		text := strings.TrimPrefix(d.String(), string(d.Device)+": ")
		if had := out[d.Device]; had != "" {
			text = had + "; " + text
		}
		out[d.Device] = text
	}
	return out
}

// width is the terminal's; 0 where there is none.
func width() int {
	columns, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// utf8Terminal says whether the locale can show line drawing.
func utf8Terminal() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			return strings.Contains(strings.ToLower(strings.ReplaceAll(v, "-", "")), "utf8")
		}
	}
	return false
}
