package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
)

// defaultPath takes a NIC's own wish back.
const defaultPath = "default"

func newPath(s *shared) *cobra.Command {
	return &cobra.Command{
		Use:   "path VIF PATH",
		Short: "Choose which path a NIC's frames take, while the guest runs",
		Long: "path has the frames of a NIC, and of its tap, take another path; it waits until they do and says which it is, and why. At most the frames\n" +
			"that are under way are lost. The wish goes with the NIC; a network's path and hotplug.path in the configuration are for all.\n" +
			"PATH is one of " + strings.Join(network.Paths, ", ") + ", or default: as the NIC's network and the host have it. See docs/paths.md.",
		Example: "  vifctl path vif23.0 bridge\n  vifctl path vif23.0 default",
		Args:    between(2, 2, "path VIF PATH"),
		RunE: func(c *cobra.Command, args []string) error {
			p := paths.Path(args[1])
			if args[1] == defaultPath {
				p = ""
			} else if _, err := paths.Parse(args[1]); err != nil {
				return fmt.Errorf("path %q %w, %s. Did you mean %s?", network.Clip(args[1]), err, defaultPath, network.Nearest(args[1], append(network.Paths, defaultPath)))
			}
			st, err := s.client().SetPath(c.Context(), args[0], p)
			if err != nil {
				return err
			}
			if s.json {
				return printJSON(c.OutOrStdout(), st)
			}
			printPath(c.OutOrStdout(), st.VIF, st.Path)
			if st.Tap != nil {
				printPath(c.OutOrStdout(), st.Tap.Name, st.Tap.Path)
			}
			return nil
		},
	}
}

// printPath says which path a port's frames take, and why.
func printPath(out io.Writer, name string, p *paths.State) {
	if p == nil {
		fmt.Fprintf(out, "%s: not plugged, so that it has no path yet\n", name)
		return
	}
	fmt.Fprintf(out, "%s: %s: %s\n", name, p.With(), p.Reason)
	if p.Advice != "" {
		fmt.Fprintf(out, "    %s\n", p.Advice)
	}
}

// explainPath is the line of explain.
func explainPath(out io.Writer, p *paths.State) {
	if p == nil {
		return
	}
	fmt.Fprintf(out, "  path:    %s: %s\n", p.With(), p.Reason)
	if p.Redirected > 0 {
		fmt.Fprintf(out, "           %d frames that came in here went past the bridge\n", p.Redirected)
	}
	if p.Guard == paths.MAC {
		fmt.Fprintf(out, "  guard:   frames from other source addresses than the NIC's own are dropped (%s); %d were\n", p.Mode, p.Dropped)
	}
	if p.Advice != "" {
		fmt.Fprintf(out, "  advice:  %s\n", p.Advice)
	}
}

// pathText is the cell of status.
func pathText(p *paths.State) string {
	if p == nil {
		return "-"
	}
	return string(p.Path)
}

// pathRemark says below a NIC's row why its frames take no faster path, where a faster one is wanted.
func pathRemark(p *paths.State) (out []string) {
	if p != nil && p.Path == paths.Bridge && p.Wanted != paths.Bridge {
		out = append(out, "path bridge: "+p.Reason)
	}
	return out
}

// advised collects what would make frames faster, each once: it is the same for every NIC.
func advised(all []hotplug.NICStatus) (out []string) {
	seen := map[string]bool{}
	for _, n := range all {
		for _, p := range []*paths.State{n.Path, tapPath(n)} {
			if p != nil && p.Advice != "" && !seen[p.Advice] {
				seen[p.Advice] = true
				out = append(out, p.Advice)
			}
		}
	}
	return out
}

func tapPath(n hotplug.NICStatus) *paths.State {
	if n.Tap == nil {
		return nil
	}
	return n.Tap.Path
}
