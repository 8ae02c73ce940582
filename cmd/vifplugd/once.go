package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"vifplug/bridge/host"
	"vifplug/hotplug"
	"vifplug/hotplug/config"
	"vifplug/xenstore"
)

// once is what vif-plug becomes where no daemon runs: a daemon for one NIC, until that is plugged or cannot be. Or it is what a boot needs before
// there can be a daemon: the host's own networks.
type once struct {
	command    string // online, offline; add, remove of a tap; error, tap-error (leave a text in hotplug-error); or networks
	xenbusPath string
	patience   time.Duration
	text       string
}

const onceNetworks = "networks"

func (o once) check() error {
	switch o.command {
	case onceNetworks:
		return nil
	case "online", "offline", "error", "add", "remove", "tap-error":
		_, err := o.key()
		return err
	}
	return fmt.Errorf("--once %q: want online, offline, add, remove, networks or error", o.command)
}

func (o once) key() (hotplug.Key, error) {
	k, err := hotplug.ParseXenbusPath(o.xenbusPath)
	k.Tap = o.command == "add" || o.command == "remove" || o.command == "tap-error"
	return k, err
}

// run does it and gives the exit code, vif-plug's. A configuration that cannot be read does not keep a guest from its network: the rest of it
// holds.
func (o once) run(ctx context.Context, opt options) int {
	if o.command == onceNetworks {
		return buildNetworks(ctx, opt, newLogger(opt.level))
	}
	k, err := o.key()
	if err != nil {
		return complain(err)
	}
	cfg, err := config.Load(opt.config)
	if err != nil {
		complain(fmt.Errorf("%w (going on without what is wrong)", err))
	}
	spec, _, err := host.Current(opt.stateDir)
	if err != nil {
		complain(fmt.Errorf("%w (going on without declared networks)", err))
	}
	cfg.Policy.AnyNetdev, cfg.Policy.Networks = opt.anyNetdev, hotplug.NetworksOf(spec)
	ctx, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	store, err := xenstore.Open(ctx, opt.xenstore, nil)
	if err != nil {
		why := strings.ReplaceAll(err.Error(), "\n", "; ") // one for each way that was tried
		return complain(fmt.Errorf("vifplugd is not running and xenstore is not reachable: %s. Start xenstored, then vifplugd", why))
	}
	defer store.Close() //nolint:errcheck // the outcome is known
	if strings.HasSuffix(o.command, "error") {
		if err := hotplug.WriteError(ctx, store, k, o.text); err != nil {
			complain(err)
		}
		return exitFailed
	}
	if err := hotplug.Once(ctx, store, k, o.command == "online" || o.command == "add", cfg.Policy, opt.bpfDir); err != nil {
		return complain(err)
	}
	return 0
}

// complain speaks as vif-plug, whose process this was.
func complain(err error) int {
	fmt.Fprintf(os.Stderr, "vif-plug: %v\n", err)
	return exitFailed
}
