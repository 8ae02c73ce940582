// Command vifbench measures vifplug beside the stock script, in one run: `make bench`.
//
// In a network namespace of its own, beside the real C xenstored, it plugs NICs in turns by every way there is and prints medians and ratios:
// the stock vif-bridge script, vif-plug through the daemon, the daemon by its watch, and the floor (floor.go). Then the storm of 1,000 NICs,
// the memory, what an idle daemon costs, and a bridge of 1,000 ports that goes and comes back. Machines differ and are noisy: read the ratios.
//
// With --taps it measures what QEMU's taps cost, few and many (taps.go).
//
// With --networks it measures declared networks (networks.go): how long planning takes, and applying beside ip -batch.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"vifplug/test/netns"
)

func main() {
	rounds := flag.Int("rounds", 40, "how many NICs each way plugs")
	storm := flag.Int("storm", 1000, "how many NICs appear at once")
	idle := flag.Int("idle", 10, "how many seconds an idle daemon is watched")
	taps := flag.Int("taps", 0, "measure this many taps of HVM guests instead, 40 at least")
	networks := flag.String("networks", "", "measure declared networks instead: \"plan\" them, or \"apply\" them on a kernel that has VLANs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !netns.Inside() {
		os.Exit(netns.Enter(ctx, "bench"))
	}
	var err error
	switch *networks {
	case "":
		if *taps != 0 {
			err = runTaps(ctx, max(*taps, 40))
			break
		}
		err = run(ctx, plan{rounds: *rounds, storm: *storm, idle: *idle})
	case "plan":
		err = planning()
	case "apply":
		err = applying(ctx)
	default:
		err = fmt.Errorf("--networks %s: say plan or apply", *networks)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // run has cleaned up
	}
}
