// Command vifplugd is the service: it keeps every guest NIC of this domain's backends on its bridge for as long as the guest lives.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"vifplug/hotplug/paths"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	opt, err := parseFlags(args)
	switch {
	case err == flag.ErrHelp: //nolint:errorlint // flag documents identity
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "vifplugd: %v\nSee vifplugd --help.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if opt.once.command != "" {
		return opt.once.run(ctx, opt)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// The work waits for xenstored and for the kernel's one lock for links. More processors only have idle threads look for work, which
		// takes time from the guests and from vif-plug: make bench is better in every figure with one.
		runtime.GOMAXPROCS(1)
	}
	log := newLogger(opt.level)
	d, err := start(ctx, opt, log)
	if err != nil {
		log.Error("cannot start", "err", err)
		return exitFailed
	}
	return d.wait(ctx)
}

// options are the command line.
type options struct {
	xenstore    string
	socket      string
	config      string
	stateDir    string
	bpfDir      string
	level       slog.Level
	anyNetdev   bool
	watchConfig string
	version     bool
	once        once
}

const help = `vifplugd keeps the NICs of Xen guests on their bridges, and the host's networks as they were applied.

Usage: vifplugd [flags]

  --xenstore auto|unix:PATH|dev|embedded   where the store is (default auto: the socket, else /dev/xen/xenbus);
                                           embedded serves one of its own at STATE_DIR/xenstored.sock, for machines without Xen
  --socket PATH       control socket (default /run/vifplug/control.sock); systemd's is taken where it passes one
  --config DIR        configuration: DIR/vifplug.toml, then DIR/conf.d/*.toml (default /etc/vifplug)
  --state-dir DIR     what must survive a restart and is nowhere else (default /var/lib/vifplug)
  --bpf-dir DIR       in a bpffs: where guards are pinned that outlive vifplugd (default /sys/fs/bpf/vifplug)
  --log-level LEVEL   debug, info, warn or error (default info)
  --watch-config plan|apply|off            what a change of the declared networks does: plan logs what vifctl apply would do (default),
                                           apply does it at once, unless that would cut off server-management
  --any-netdev        accept any netdev called vifDOMID.DEVID, not only netback's: for machines without Xen
  --version           print the version
  --once online|offline|add|remove --xenbus-path backend/vif/DOMID/DEVID [--patience 35s]
                      plug or release one NIC and end: what vif-plug becomes where no daemon runs
  --once networks [--patience 35s]
                      build the networks that were applied last, wait for ports that are late, and end: for the boot, before Xen is there

Examples:
  vifplugd                                                     on a Xen host; systemd does this for you
  vifplugd --xenstore embedded --state-dir /tmp/v --socket /tmp/v/control.sock --any-netdev
                                                               without Xen, to look around

Signals: HUP reads the configuration and looks at every NIC again; TERM ends it, which changes nothing about any guest.
`

func parseFlags(args []string) (options, error) {
	var o options
	var level string
	fs := flag.NewFlagSet("vifplugd", flag.ContinueOnError)
	fs.SetOutput(discard{})
	fs.StringVar(&o.xenstore, "xenstore", "auto", "")
	fs.StringVar(&o.socket, "socket", "/run/vifplug/control.sock", "")
	fs.StringVar(&o.config, "config", "/etc/vifplug", "")
	fs.StringVar(&o.stateDir, "state-dir", "/var/lib/vifplug", "")
	fs.StringVar(&o.bpfDir, "bpf-dir", paths.DefaultDir, "")
	fs.StringVar(&level, "log-level", "info", "")
	fs.BoolVar(&o.anyNetdev, "any-netdev", false, "")
	fs.StringVar(&o.watchConfig, "watch-config", watchPlan, "")
	fs.BoolVar(&o.version, "version", false, "")
	fs.StringVar(&o.once.command, "once", "", "")
	fs.StringVar(&o.once.xenbusPath, "xenbus-path", "", "")
	fs.StringVar(&o.once.text, "error-text", "", "")
	fs.DurationVar(&o.once.patience, "patience", 35*time.Second, "")
	if err := fs.Parse(args); err != nil {
		if err == flag.ErrHelp { //nolint:errorlint // flag documents identity
			fmt.Print(help)
		}
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not understood", fs.Arg(0))
	}
	if o.version {
		fmt.Println("vifplugd", version())
		return o, flag.ErrHelp
	}
	if err := o.level.UnmarshalText([]byte(level)); err != nil {
		return o, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	if o.once.command != "" {
		return o, o.once.check()
	}
	if !slices.Contains([]string{watchPlan, watchApply, watchOff}, o.watchConfig) {
		return o, fmt.Errorf("--watch-config %q: want plan, apply or off", o.watchConfig)
	}
	return o, checkStore(o.xenstore)
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
