package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vifplug/bridge/network"
	"vifplug/hotplug"
)

func newDetach(s *shared) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "detach VIF | DOMAIN NIC",
		Short: "Take a NIC away from a running guest",
		Long: "detach asks the guest to close a NIC, as xl network-detach does, and waits until it is gone. VIF is the kernel's name (vif23.0) or the device's\n" +
			"present one; or say the guest's name or id, and the number of its NIC (N of ethN). A guest that does not close it within 10 seconds keeps it,\n" +
			"unless --force takes it away.",
		Example: "  vifctl detach vif23.1\n  vifctl detach web01 1 --force",
		Args:    between(1, 2, "detach VIF | DOMAIN NIC"),
		RunE: func(c *cobra.Command, args []string) error {
			vif, err := s.vifOf(c.Context(), args)
			if err != nil {
				return err
			}
			if err := s.client().Detach(c.Context(), vif, force); err != nil {
				return err
			}
			if s.json {
				return printJSON(c.OutOrStdout(), map[string]string{"vif": vif, "state": hotplug.Gone.String()})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: gone\n", vif)
			return err
		},
	}
	c.Flags().BoolVar(&force, "force", false, "take it away even if the guest does not close it")
	return c
}

// vifOf is the NIC that VIF, or DOMAIN and NIC, name.
func (s *shared) vifOf(ctx context.Context, args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	number, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return "", &usageError{fmt.Errorf("%q is no number of a NIC: eth1 of the guest is 1", args[1])}
	}
	st, err := s.client().Status(ctx)
	if err != nil {
		return "", err
	}
	return pickNIC(st.NICs, args[0], uint32(number))
}

// pickNIC finds a guest's NIC by its number. What is not there is told with what is.
func pickNIC(all []hotplug.NICStatus, domain string, number uint32) (string, error) {
	var found, has, names []string
	for _, n := range all {
		names = append(names, n.Domain.Name)
		if n.Domain.Name != domain && strconv.Itoa(int(n.Domain.ID)) != domain {
			continue
		}
		has = append(has, strconv.FormatUint(uint64(n.Device), 10))
		if n.Device == number {
			found = append(found, n.VIF)
		}
	}
	switch near := network.Nearest(domain, names); {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%d guests are called %q: say which NIC: %s", len(found), domain, strings.Join(found, ", "))
	case len(has) > 0:
		return "", fmt.Errorf("guest %s has no NIC %d. It has %s", domain, number, strings.Join(has, ", "))
	case near != "":
		return "", fmt.Errorf("no guest with a NIC is called %q. Did you mean %s?", domain, near)
	}
	return "", fmt.Errorf("no guest with a NIC is called %q: there is none", domain)
}
