package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vifplug/bridge"
	"vifplug/bridge/host"
	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/config"
	"vifplug/hotplug/control"
)

// exitDiffers says that a host is not as declared.
const exitDiffers = 3

// differsError ends a command that has found, and printed, a difference.
type differsError struct{ error }

const defaultState = "/var/lib/vifplug"

// declaration is where a command finds what is declared, and what holds.
type declaration struct {
	*shared
	config string
	state  string
}

func (d *declaration) flags(c *cobra.Command) {
	directoryFlag(c, &d.config, "config", config.DefaultDir, "VIFPLUG_CONFIG", "the configuration's directory")
	d.stateFlag(c)
}

func (d *declaration) stateFlag(c *cobra.Command) {
	directoryFlag(c, &d.state, "state-dir", defaultState, "VIFPLUG_STATE", "vifplugd's state directory")
}

// directoryFlag makes a flag that the environment sets too. Help and man page have the same default wherever they are made.
func directoryFlag(c *cobra.Command, into *string, name, otherwise, variable, text string) {
	value := os.Getenv(variable)
	if value == "" {
		value = otherwise
	}
	c.Flags().StringVar(into, name, value, text+" (also $"+variable+")")
	c.Flags().Lookup(name).DefValue = otherwise
}

// declared reads what is declared: in files, or in the configuration.
func (d *declaration) declared(files []string) (network.Spec, error) {
	if len(files) == 0 {
		c, err := config.Load(d.config)
		if err != nil {
			return network.Spec{}, &configError{err}
		}
		return c.Networks, nil
	}
	var texts []network.File
	for _, name := range files {
		b, err := readText(name)
		if err != nil {
			return network.Spec{}, &configError{err}
		}
		if name == stdin {
			name = "standard input"
		}
		texts = append(texts, network.File{Name: name, Text: b})
	}
	spec, err := network.Parse(texts, "hotplug", "control")
	if err == nil {
		_, err = network.Check(spec) // vifplugd, to which places are not sent, could not say where
	}
	if err != nil {
		return spec, &configError{err}
	}
	return spec, nil
}

// stdin is the file that stands for standard input.
const stdin = "-"

// readText reads a file, or standard input.
func readText(name string) ([]byte, error) {
	if name == stdin {
		return io.ReadAll(os.Stdin)
	}
	b, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		return nil, fmt.Errorf("declaration: %w", err)
	}
	return b, nil
}

// answerTime bounds how long vifplugd is waited for. Where xenstored does not come up, systemd's socket takes the question and nobody answers it;
// the host's networks must be seen and changed all the same.
const answerTime = 2 * time.Second

// guests are the guests' NICs: as vifplugd tells, where it runs; else the ports say themselves whose they are.
func (d *declaration) guests(ctx context.Context) []network.Guest {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	st, err := d.client().Status(ctx)
	if err != nil {
		return nil
	}
	return hotplug.GuestsOf(st.NICs)
}

// observer reads the kernel. It has no way to change it.
type observer struct{ conn *bridge.Conn }

func observe() (*observer, error) {
	c, err := bridge.Open()
	if err != nil {
		return nil, err
	}
	return &observer{c}, nil
}

// Host reads the host.
func (o *observer) Host() (bridge.Host, error) { return o.conn.Host() }

func (o *observer) close() { _ = o.conn.Close() }

func newPlan(s *shared) *cobra.Command {
	d := &declaration{shared: s}
	c := &cobra.Command{
		Use:   "plan [FILE...]",
		Short: "Show what apply would do to the host's networks",
		Long: "plan compares the host with what is declared, in the configuration or in FILEs (- is standard input), and prints the steps from the one to the\n" +
			"other, each with its reason. It cannot change anything. Exit status: 0 nothing to do, 3 there are steps.",
		Example: "  vifctl plan\n  vifctl import | vifctl plan -",
		RunE:    func(c *cobra.Command, args []string) error { return d.plan(c.Context(), args, c.OutOrStdout()) },
	}
	d.flags(c)
	return c
}

func (d *declaration) plan(ctx context.Context, files []string, out io.Writer) error {
	spec, err := d.declared(files)
	if err != nil {
		return err
	}
	o, err := observe()
	if err != nil {
		return err
	}
	defer o.close()
	p, err := host.Propose(o, d.state, spec, d.guests(ctx))
	if err != nil {
		return &configError{err}
	}
	if d.json {
		err = printJSON(out, planned(p))
	} else {
		printPlan(out, p)
	}
	if err == nil && len(p.Steps) > 0 {
		err = &differsError{fmt.Errorf("%d steps to do", len(p.Steps))}
	}
	return err
}

// planJSON is what plan tells programs. Its lists are never null.
type planJSON struct {
	Steps      []network.Step `json:"steps"`
	Notes      []string       `json:"notes"`
	Warnings   []string       `json:"warnings"`
	Management string         `json:"management"` // why the steps touch what carries server-management; "": they do not
	Cuts       string         `json:"cuts"`       // why they would cut it off; "": they would not
	Moves      string         `json:"moves"`      // where server-management would move; "": it stays
}

func planned(p host.Proposal) planJSON {
	return planJSON{Steps: listed(p.Steps), Notes: listed(p.Notes), Warnings: listed(p.Warnings), Management: p.Management, Cuts: p.Cuts, Moves: p.Moves}
}

// listed is a list that JSON does not call null.
func listed[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func printPlan(out io.Writer, p host.Proposal) {
	for _, w := range p.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(out, "%3d  %s\n", i+1, s)
	}
	switch {
	case p.Moves != "":
		fmt.Fprintf(out, "%s. vifctl apply refuses it without.\n", strings.ToUpper(p.Moves[:1])+p.Moves[1:])
	case len(p.Steps) == 0:
	case p.Cuts != "":
		fmt.Fprintf(out, "This would cut off server-management: %s. vifctl apply refuses it without --force.\n", p.Cuts)
	case p.Management != "":
		fmt.Fprintf(out, "This touches server-management: %s. vifctl apply undoes everything unless vifctl confirm comes within %s.\n",
			p.Management, spell(host.DefaultConfirm))
	}
}

func newDiff(s *shared) *cobra.Command {
	d := &declaration{shared: s}
	c := &cobra.Command{
		Use:   "diff",
		Short: "Show where the host is not as it was declared",
		Long: "diff compares the host with the declaration that was applied last, and prints what differs. vifplugd puts such things right by itself, so this is\n" +
			"for when it does not run or cannot. Exit status: 0 all is as declared, 3 something differs.",
		Example: "  vifctl diff\n  vifctl diff --json",
		Args:    between(0, 0, "diff"),
		RunE:    func(c *cobra.Command, _ []string) error { return d.diff(c.Context(), c.OutOrStdout()) },
	}
	d.stateFlag(c)
	return c
}

func (d *declaration) diff(ctx context.Context, out io.Writer) error {
	o, err := observe()
	if err != nil {
		return err
	}
	defer o.close()
	diffs, err := host.Diff(o, d.state, d.guests(ctx))
	if err != nil {
		return err
	}
	if d.json {
		if err := printJSON(out, listed(diffs)); err != nil {
			return err
		}
	} else {
		for _, x := range diffs {
			fmt.Fprintln(out, x)
		}
	}
	if len(diffs) > 0 {
		return &differsError{fmt.Errorf("%d things differ", len(diffs))}
	}
	return nil
}

func newImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import",
		Short: "Print a declaration of the networks that the host has now",
		Long: "import describes the bonds, VLANs, bridges and addresses that exist now, whoever made them (ifupdown, systemd-networkd, XAPI, ip), as a declaration\n" +
			"for which plan has nothing to do. What cannot be declared stands in it as a comment. It changes nothing.",
		Example: "  vifctl import\n  vifctl import > /etc/vifplug/conf.d/networks.toml",
		Args:    between(0, 0, "import"),
		RunE:    func(c *cobra.Command, _ []string) error { return runImport(c.OutOrStdout(), c.ErrOrStderr()) },
	}
}

func runImport(out, errs io.Writer) error {
	o, err := observe()
	if err != nil {
		return err
	}
	defer o.close()
	h, err := o.Host()
	if err != nil {
		return err
	}
	text, notes := network.Import(h)
	for _, n := range notes {
		fmt.Fprintf(errs, "vifctl: %s\n", n)
	}
	_, err = io.WriteString(out, text)
	return err
}

func newConfirm(s *shared) *cobra.Command {
	d := &declaration{shared: s}
	c := &cobra.Command{
		Use:     "confirm",
		Short:   "Keep what apply has done",
		Long:    "confirm makes the declaration final that waits for it. Without it, apply's changes are undone when their time is over.",
		Example: "  vifctl apply --confirm 60s && vifctl confirm\n  vifctl confirm",
		Args:    between(0, 0, "confirm"),
		RunE: func(c *cobra.Command, _ []string) error {
			err := d.change(c.Context(), (*control.Client).Confirm, (*host.Manager).Confirm)
			return d.decided(c.OutOrStdout(), err, "confirmed", "confirmed: the declaration holds")
		},
	}
	d.stateFlag(c)
	return c
}

func newRollback(s *shared) *cobra.Command {
	d := &declaration{shared: s}
	c := &cobra.Command{
		Use:     "rollback",
		Short:   "Take back what apply has done and nobody has confirmed",
		Long:    "rollback undoes at once the declaration that waits for its confirmation.",
		Example: "  vifctl rollback\n  vifctl --socket /run/vifplug/control.sock rollback",
		Args:    between(0, 0, "rollback"),
		RunE: func(c *cobra.Command, _ []string) error {
			err := d.change(c.Context(), (*control.Client).Rollback, func(m *host.Manager, ctx context.Context) error {
				return m.Rollback(ctx, "the operator asked for it")
			})
			return d.decided(c.OutOrStdout(), err, "undone", "undone: the host is as before")
		},
	}
	d.stateFlag(c)
	return c
}

// decided tells what has become of a declaration that waited.
func (d *declaration) decided(out io.Writer, err error, state, text string) error {
	switch {
	case err != nil:
		return err
	case d.json:
		return printJSON(out, map[string]string{"state": state})
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

// answers says whether a vifplugd is there that will do what it is asked for, or at least say why not.
func (d *declaration) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err := d.client().Networks(ctx)
	return !errors.Is(err, control.ErrNotReachable) && !errors.Is(err, context.DeadlineExceeded)
}

// change has vifplugd do something, or does it where none answers.
func (d *declaration) change(ctx context.Context, ask func(*control.Client, context.Context) error, do func(*host.Manager, context.Context) error) error {
	if d.answers(ctx) {
		return ask(d.client(), ctx)
	}
	m, done, err := d.manager()
	if err != nil {
		return err
	}
	defer done()
	return do(m, ctx)
}

// manager changes the networks without vifplugd, by the same code and with the same state.
func (d *declaration) manager() (m *host.Manager, done func(), err error) {
	conn, err := bridge.Open()
	if err != nil {
		return nil, nil, err
	}
	if m, err = host.New(host.Options{Kernel: conn, Dir: d.state}); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return m, func() { _, _ = m.Close(), conn.Close() }, nil
}
