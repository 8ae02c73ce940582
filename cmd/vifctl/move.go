package main

import (
	"github.com/spf13/cobra"

	"vifplug/hotplug/toolstack"
)

func newMove(s *shared) *cobra.Command {
	var to toolstack.Place
	c := &cobra.Command{
		Use:   "move VIF --network NAME",
		Short: "Take a guest's NIC to another network while it runs",
		Long: "move puts a NIC on another network's bridge and waits until it is there. The guest keeps its NIC and its link; only where the new port must have a\n" +
			"VLAN of its own is it down for a moment. The NIC gets the MTU of its new bridge, unless it has one of its own, and the VLAN that --vlan says or none.\n" +
			"A network that guests may not use is refused, and the NIC stays where it is.",
		Example: "  vifctl move vif23.0 --network guests\n  vifctl move vif23.0 --network trunk --vlan 13",
		Args:    between(1, 1, "move VIF --network NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := needNetwork(to.Network); err != nil {
				return err
			}
			st, err := s.client().Move(c.Context(), args[0], to)
			if err != nil {
				return err
			}
			return s.printNIC(c.OutOrStdout(), st)
		},
	}
	networkFlags(c, &to.Network, &to.VLAN)
	return c
}
