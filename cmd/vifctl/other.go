package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"vifplug/hotplug/config"
	"vifplug/xenstore/xenstored"
)

func newResync(s *shared) *cobra.Command {
	return &cobra.Command{
		Use:     "resync",
		Short:   "Have vifplugd look at every NIC again",
		Long:    "resync marks every NIC for a fresh look. vifplugd does so by itself whenever it may have missed something, so this is for peace of mind.",
		Example: "  vifctl resync\n  vifctl --socket /run/vifplug/control.sock resync",
		Args:    between(0, 0, "resync"),
		RunE:    func(c *cobra.Command, _ []string) error { return s.client().Resync(c.Context()) },
	}
}

func newCheck() *cobra.Command {
	dir := config.DefaultDir
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration without using it",
		Long: "check reads vifplug.toml and conf.d/*.toml as vifplugd would, the declared networks too, and prints the errors of all files with their places,\n" +
			"and warnings about what is accepted and yet hardly meant. It needs no root and no daemon.",
		Example: "  vifctl check\n  vifctl check --config ./etc",
		Args:    between(0, 0, "check [--config DIR]"),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(dir)
			for _, w := range cfg.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			if err != nil {
				return &configError{err}
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: fine\n", dir)
			return err
		},
	}
	c.Flags().StringVar(&dir, "config", dir, "the configuration's directory")
	return c
}

func newXenstored() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "xenstored",
		Short: "Serve a xenstore of its own, for machines without Xen",
		Long: "xenstored serves an empty xenstore at a Unix socket until interrupted. It speaks the protocol of Xen's own daemon: point any Xen tool\n" +
			"at it by XENSTORED_PATH. It is for developing and trying; guests need the real one.",
		Example: "  vifctl xenstored --socket /tmp/xs.sock\n  XENSTORED_PATH=/tmp/xs.sock xenstore-write /a/b hello",
		Args:    between(0, 0, "xenstored --socket PATH"),
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("socket") {
				return &usageError{errors.New("say where: vifctl xenstored --socket PATH")}
			}
			return serveStore(c, path)
		},
	}
	c.Flags().StringVar(&path, "socket", "", "the socket to serve")
	return c
}

func serveStore(c *cobra.Command, path string) error {
	l, err := xenstored.Listen(path)
	if err != nil {
		return err
	}
	s := xenstored.New(nil)
	ended := make(chan error, 1)
	go runServe(s.Serve, l, ended)
	fmt.Fprintf(os.Stderr, "serving a xenstore at %s; interrupt to end\n", path)
	select {
	case err := <-ended:
		return err
	case <-c.Context().Done():
		return errors.Join(s.Close(), <-ended)
	}
}

func runServe(serve func(net.Listener) error, l net.Listener, ended chan<- error) { ended <- serve(l) }

// newMan writes a man page a command; the Makefile's install uses it.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write vifctl's man pages into a directory", Hidden: true,
		Args: between(1, 1, "man DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "vifplug", Manual: "vifplug"}, args[0])
		},
	}
}
