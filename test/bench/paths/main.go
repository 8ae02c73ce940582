// Command vifpaths measures the paths of a guest's frames beside each other, in one run: `make bench-paths`.
//
// In network namespaces of its own it gives each candidate a host: a bridge, an uplink whose other end counts and drops, and guests, whose device model is
// played by a thread that does with a frame what QEMU's back end does. The candidates then work in turns of a tenth of a second, so that what the
// machine does meanwhile it does to all alike. Tables show medians and ratios: against the bridge with br_netfilter, against the bridge without its calls
// (bridge0, the honest yardstick), and the share of what the floor says is possible. Read the ratios; machines differ.
//
// The fields' words: "QEMU" is the thread of the device model, "forw." the packet loop's process, "ksoft." the kernel's ksoftirqd threads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"vifplug/test/netns"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == loopArgument {
		exit(loopMain(os.Args[2:]))
	}
	rounds := flag.Int("rounds", 5, "how many rounds; tables show their medians")
	each := flag.Duration("time", 700*time.Millisecond, "how long each path is measured in a round")
	slice := flag.Duration("slice", 100*time.Millisecond, "how long it is measured in one go, before the next path has its turn")
	only := flag.String("only", "", "measure only what this regular expression matches: \"MEASURE PATH\", such as \"^out-64 shortcut\"; yardsticks join")
	quick := flag.Bool("quick", false, "a look within about a minute: fewer and shorter rounds")
	jsonFile := flag.String("json", "", "write the figures to this file, too")
	flag.Parse()
	if *quick {
		*rounds, *each = 3, 60*time.Millisecond
	}
	filter, err := regexp.Compile(*only)
	if err != nil {
		exit(fmt.Errorf("-only: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	if !netns.Inside() {
		code := netns.Enter(ctx, "bench-paths")
		stop()
		os.Exit(code)
	}
	stop()                                       // the namespaces and the loops go with this process
	runtime.GOMAXPROCS(max(8, runtime.NumCPU())) // workers keep theirs
	if _, err := theCPUs(); err != nil {
		exit(err)
	}
	b := &bench{plan: plan{rounds: max(*rounds, 1), time: *each, slice: *slice, only: filter}, out: os.Stdout}
	err = b.run(candidates())
	b.finish()
	if *jsonFile != "" {
		err = errors.Join(err, b.writeJSON(*jsonFile))
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-paths:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
