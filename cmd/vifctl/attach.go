package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"vifplug/hotplug"
	"vifplug/hotplug/control"
	"vifplug/hotplug/toolstack"
)

func newAttach(s *shared) *cobra.Command {
	var n toolstack.NIC
	wait := control.PlugWait
	c := &cobra.Command{
		Use:   "attach DOMAIN --network NAME",
		Short: "Give a running guest a NIC",
		Long: "attach writes a new NIC of a guest into xenstore, as xl network-attach does, and waits until it is plugged. DOMAIN is a guest's name or id,\n" +
			"NAME a declared network's name or id, or any other bridge. xl's own commands go on working on the NIC. It lasts as long as the domain: for the\n" +
			"next boot, write it into the guest's configuration. A NIC that cannot be plugged stays attached, and is plugged when that changes.",
		Example: "  vifctl attach web01 --network guests\n  vifctl attach db01 --network trunk --vlan 13 --mac 00:16:3e:01:02:03 --rate 100Mb/s --ip 10.11.13.5",
		Args:    between(1, 1, "attach DOMAIN --network NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := needNetwork(n.Network); err != nil {
				return err
			}
			if wait < 0 {
				return &usageError{fmt.Errorf("--wait %v: want 0s or more", wait)}
			}
			st, err := s.client().Attach(c.Context(), args[0], n, wait)
			if err != nil {
				return err
			}
			return s.printNIC(c.OutOrStdout(), st)
		},
	}
	f := c.Flags()
	networkFlags(c, &n.Network, &n.VLAN)
	f.StringVar(&n.MAC, "mac", "", "the guest's address; without it, one of Xen's at random")
	f.IntVar(&n.MTU, "mtu", 0, "in bytes; without it, the bridge's")
	f.StringVar(&n.Rate, "rate", "", "what the guest may send, as xl writes it: 10Mb/s, 1MB/s@20ms")
	f.StringSliceVar(&n.IP, "ip", nil, "addresses or subnets that the guest may use")
	f.DurationVar(&wait, "wait", wait, "how long to wait until it is plugged; 0s does not wait")
	return c
}

func networkFlags(c *cobra.Command, name *string, vlan *int) {
	c.Flags().StringVar(name, "network", "", "a declared network's name or id, or a bridge")
	c.Flags().IntVar(vlan, "vlan", 0, "the NIC's VLAN on a network with vlan-filtering, 1 to 4094; without it, as the bridge gives it")
}

func needNetwork(name string) error {
	if name == "" {
		return &usageError{errors.New("say where: --network NAME. vifctl show lists the networks")}
	}
	return nil
}

// printNIC tells where a NIC is now.
func (s *shared) printNIC(out io.Writer, n hotplug.NICStatus) error {
	if s.json {
		return printJSON(out, n)
	}
	if n.Link == nil || n.Backend == nil { // not waited for
		_, err := fmt.Fprintf(out, "%s: attached as eth%d of guest %d; see vifctl status\n", n.VIF, n.Device, n.Domain.ID)
		return err
	}
	_, err := fmt.Fprintf(out, "%s: eth%d of guest %s (%d), %s on %s, MAC %s, MTU %d\n", n.VIF, n.Device, guestText(n.Domain), n.Domain.ID, paint(n.State),
		placeText(n, n.Link.Bridge), n.Backend.MAC, n.Link.MTU)
	for _, note := range n.Notes {
		fmt.Fprintf(out, "    note: %s\n", note)
	}
	return err
}

// placeText is the bridge that a NIC, or its tap, is on, with the declared network's name beside it, and the VLAN that it has there.
func placeText(n hotplug.NICStatus, bridge string) string {
	text := dash(bridge)
	if n.Network != "" && n.Network != text {
		text = fmt.Sprintf("%s (%s)", n.Network, text)
	}
	if n.Backend != nil && n.Backend.VLAN != 0 {
		text += fmt.Sprintf(", VLAN %d", n.Backend.VLAN)
	}
	return text
}
