// Command vifbench measures vifplug beside the stock script, in one run: `make bench`.
//
// In a network namespace of its own, beside the real C xenstored, it plugs NICs in turns by every way there is and prints medians and ratios:
// the stock vif-bridge script, vif-plug through the daemon, the daemon by its watch, and the floor (floor.go). Then the storm of 1,000 NICs,
// the memory, and what an idle daemon costs. Machines differ and are noisy: read the ratios.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

const inside = "VIFBENCH_INSIDE"

func main() {
	rounds := flag.Int("rounds", 40, "how many NICs each way plugs")
	storm := flag.Int("storm", 1000, "how many NICs appear at once")
	idle := flag.Int("idle", 10, "how many seconds an idle daemon is watched")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if os.Getenv(inside) == "" {
		os.Exit(enter(ctx))
	}
	if err := run(ctx, plan{rounds: *rounds, storm: *storm, idle: *idle}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // run has cleaned up
	}
}

// enter runs this program again in a network namespace of its own.
func enter(ctx context.Context) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: a network namespace needs root. Run it with sudo make bench")
		return 1
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	c := exec.CommandContext(ctx, self, os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	if err := c.Run(); err != nil {
		return 1
	}
	return 0
}
