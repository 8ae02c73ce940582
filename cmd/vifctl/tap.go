package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vifplug/hotplug/control"
	"vifplug/qemu"
	"vifplug/qemu/xsk"
)

func newTap(s *shared) *cobra.Command {
	c := &cobra.Command{
		Use:   "tap",
		Short: "Make or delete the tap of a guest's emulated NIC",
		Long: "tap is for toolstacks that want QEMU's tap ready-made. xl and XAPI do not need it: with them QEMU or the toolstack makes the tap. Either way vifplugd\n" +
			"plugs it when there is a backend of type vif_ioemu for it.",
		Example: "  vifctl tap create web01 0\n  vifctl tap delete web01 0",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("there is no command %q", "tap "+args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTapCreate(s), newTapDelete(s))
	return c
}

const createUsage = "tap create DOMAIN NIC [--owner UID] [--queues N] [--vnet-hdr] [--xapi] [--af-xdp] [-- COMMAND...]"

func newTapCreate(s *shared) *cobra.Command {
	var t control.Tap
	c := &cobra.Command{
		Use:   "create DOMAIN NIC",
		Short: "Make a tap for QEMU to open",
		Long: "tap create makes a tap that lasts until tap delete, for QEMU to be started with -netdev tap,ifname=NAME,script=no,downscript=no. DOMAIN is a running\n" +
			"guest's name or id, NIC the number of its NIC (N of ethN). It prints the tap's name: vifDOMID.NIC-emu, cut to 15 bytes as QEMU does.\n\n" +
			"With a COMMAND it hands the tap over instead: vifctl goes on as COMMAND, with {} in its arguments replaced by what -netdev is to be told, and the\n" +
			"tap lasts as long as it: vifctl tap create web01 0 -- qemu-system-x86_64 ... -netdev tap,id=n0,{}. With --af-xdp it is -netdev af-xdp,id=n0,{}, for\n" +
			"a QEMU of 8.2 or later that was built with libxdp: the port (tapDOMID.NIC) then lasts until tap delete, or the guest's end.",
		Example: "  vifctl tap create web01 0\n  vifctl tap create 23 0 --owner 65534 --queues 4 --vnet-hdr",
		Args: func(c *cobra.Command, args []string) error {
			before := c.ArgsLenAtDash()
			if before < 0 {
				before = len(args)
			}
			if before != 2 {
				return &usageError{errors.New("want: vifctl " + createUsage)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if t.Owner < 0 || t.Queues < 1 {
				return &usageError{errors.New("--owner is a user's number, and --queues at least 1")}
			}
			if t.AFXDP || len(args) > 2 {
				return s.tapFor(c, t, args[:2], args[2:])
			}
			return s.tap(c, t, args, "create")
		},
	}
	c.Flags().IntVar(&t.Owner, "owner", 0, "the user (number) that QEMU runs as, who may open the tap beside root")
	c.Flags().IntVar(&t.Queues, "queues", 1, "queues; QEMU must be told the same (queues=N)")
	c.Flags().BoolVar(&t.VNetHdr, "vnet-hdr", false, "frames carry virtio's header, for checksums and segmentation left to the other side")
	c.Flags().BoolVar(&t.XAPI, "xapi", false, "call it tapDOMID.NIC, as XAPI does")
	c.Flags().BoolVar(&t.AFXDP, "af-xdp", false, "for a QEMU at AF_XDP rings, which COMMAND must be")
	return c
}

func newTapDelete(s *shared) *cobra.Command {
	var t control.Tap
	c := &cobra.Command{
		Use:     "delete DOMAIN NIC",
		Short:   "Delete a tap that vifplug has made",
		Long:    "tap delete removes what tap create has made. A tap that QEMU uses is left alone, and so is one that vifplug has never had to do with.",
		Example: "  vifctl tap delete web01 0\n  vifctl tap delete 23 0 --xapi",
		Args:    between(2, 2, "tap delete DOMAIN NIC [--xapi|--af-xdp]"),
		RunE:    func(c *cobra.Command, args []string) error { return s.tap(c, t, args, "delete") },
	}
	c.Flags().BoolVar(&t.XAPI, "xapi", false, "it is called tapDOMID.NIC, as XAPI does")
	c.Flags().BoolVar(&t.AFXDP, "af-xdp", false, "it was made for a QEMU at AF_XDP rings")
	return c
}

// about says which NIC a tap is for.
func about(t *control.Tap, args []string) error {
	number, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return &usageError{fmt.Errorf("%q is no number of a NIC: eth1 of the guest is 1", args[1])}
	}
	t.Domain, t.Device = args[0], uint32(number)
	return nil
}

// tapFor has the daemon hand a tap over, and goes on as the command that is to have it.
func (s *shared) tapFor(c *cobra.Command, t control.Tap, args, command []string) error {
	if err := about(&t, args); err != nil {
		return err
	}
	if t.AFXDP && (t.Owner != 0 || t.Queues != 1 || t.VNetHdr || t.XAPI) {
		return &usageError{errors.New("--af-xdp goes with none of --owner, --queues, --vnet-hdr and --xapi")}
	}
	kind := "tap"
	if t.AFXDP {
		kind = "af-xdp"
	}
	if !slices.ContainsFunc(command, func(word string) bool { return strings.Contains(word, placeholder) }) {
		return &usageError{fmt.Errorf("want a command with %[1]s in it, which is to have the tap: -- qemu-system-x86_64 ... -netdev %[2]s,id=n0,%[1]s", placeholder, kind)}
	}
	option, files, lock, err := s.open(c.Context(), t)
	if err != nil {
		return err
	}
	for i, word := range command {
		command[i] = strings.ReplaceAll(word, placeholder, option)
	}
	return qemu.Become(command, files, lock)
}

// placeholder stands in a command for what QEMU's -netdev is to be told of what is handed over.
const placeholder = "{}"

// open has the daemon hand a tap over, and gives what QEMU is to be told of it, and how much memory it must be able to lock.
func (s *shared) open(ctx context.Context, t control.Tap) (option string, files []*os.File, lock uint64, err error) {
	if t.AFXDP {
		p, err := s.client().OpenRings(ctx, t.Domain, t.Device)
		if err != nil {
			return "", nil, 0, err
		}
		return xsk.NetdevOption(p.Device, p.Mode, []int{int(p.Socket.Fd())}), []*os.File{p.Socket}, xsk.LockedByQEMU, nil
	}
	tap, err := s.client().OpenTap(ctx, t)
	if err != nil {
		return "", nil, 0, err
	}
	if option = "fd="; len(tap.Queues) > 1 {
		option = "fds="
	}
	return option + qemu.Numbers(tap.Queues), tap.Queues, 0, nil // QEMU sees by itself whether frames have virtio's header
}

// tap has the daemon do it, and prints the tap's name.
func (s *shared) tap(c *cobra.Command, t control.Tap, args []string, verb string) error {
	if err := about(&t, args); err != nil {
		return err
	}
	do := s.client().CreateTap
	if verb == "delete" {
		do = s.client().DeleteTap
	}
	name, err := do(c.Context(), t)
	if err != nil {
		return err
	}
	if s.json {
		return printJSON(c.OutOrStdout(), map[string]string{"tap": name})
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), name)
	return err
}
