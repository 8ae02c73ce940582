package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"vifplug/hotplug"
	"vifplug/hotplug/ask"
	"vifplug/hotplug/config"
	"vifplug/xenstore"
)

// alone does the work without a daemon. A configuration that cannot be read does not keep a guest from its network: the rest of it holds.
func alone(inv ask.Invocation, deadline time.Time) error {
	k, err := hotplug.ParseXenbusPath(inv.XenbusPath)
	if err != nil {
		return err
	}
	dir := os.Getenv("VIFPLUG_CONFIG")
	if dir == "" {
		dir = config.DefaultDir
	}
	cfg, err := config.Load(dir)
	if err != nil {
		complain(fmt.Errorf("%w (going on without what is wrong)", err), 0)
	}
	cfg.Policy.AnyNetdev = os.Getenv("VIFPLUG_ANY_NETDEV") == "1"
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	store, err := xenstore.Open(ctx, "auto", nil)
	if err != nil {
		return fmt.Errorf("vifplugd is not running and xenstore is not reachable: %w. Start xenstored, then vifplugd", err)
	}
	defer store.Close() //nolint:errcheck // the outcome is known
	return hotplug.Once(ctx, store, k, inv.Command == "online", cfg.Policy)
}

// tell leaves a failure in hotplug-error that the daemon could not leave there. It is given little time: libxl's is running out.
func tell(inv ask.Invocation, failure error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	k, err := hotplug.ParseXenbusPath(inv.XenbusPath)
	if err != nil {
		return
	}
	store, err := xenstore.Open(ctx, "auto", nil)
	if err != nil {
		return
	}
	defer store.Close() //nolint:errcheck // it is the last thing done
	if err := hotplug.WriteError(ctx, store, k, failure.Error()); err != nil {
		complain(err, 1)
	}
}
