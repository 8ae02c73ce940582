package hotplug

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"vifplug/bridge"
	"vifplug/hotplug/paths"
	"vifplug/xenstore"
)

// Self reads which domain this is. A client of a Unix socket is in the store's own domain, which without such a node is dom0
// (xen: docs/misc/xenstore.txt; the node is relative, so that a driver domain reads its own).
func Self(ctx context.Context, store *xenstore.Client) (xenstore.DomID, error) {
	text, err := store.Read(ctx, "domid")
	switch {
	case errors.Is(err, xenstore.ENOENT), errors.Is(err, xenstore.EINVAL):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("hotplug: which domain is this: %w", err)
	}
	return xenstore.ParseDomID(strings.TrimSpace(text))
}

// Once does what the daemon would do for one NIC or tap, and nothing else: vif-plug's way where no daemon runs. online plugs it, otherwise a port
// that netback or QEMU left behind is released. It waits until the outcome is known or ctx ends.
// bpf is the directory where its guard is pinned, if it is to have one.
func Once(ctx context.Context, store *xenstore.Client, k Key, online bool, p Policy, bpf string) error {
	self, err := Self(ctx, store)
	if err != nil {
		return err
	}
	links, err := bridge.Open()
	if err != nil {
		return err
	}
	defer links.Close() //nolint:errcheck // nothing is written after the last step
	monitor, err := bridge.OpenMonitor()
	if err != nil {
		return err
	}
	pc := paths.OfKernel(links, bpf, nil)
	e, err := Start(ctx, Config{Store: store, Self: self, Links: links, Monitor: monitor, Policy: p, Only: &k, Workers: 1, Paths: &pc})
	if err != nil {
		return err
	}
	defer e.Close() //nolint:errcheck // the outcome is known
	if online {
		return e.Plug(ctx, k)
	}
	return e.Unplug(ctx, k)
}

// WriteError leaves a failure that no engine has reported in the NIC's node, for libxl to log. A node that is gone stays gone. A tap's failure leaves
// the NIC's hotplug-status as it is.
func WriteError(ctx context.Context, store *xenstore.Client, k Key, text string) error {
	self, err := Self(ctx, store)
	if err != nil {
		return err
	}
	dir := newLayout(self).backend(k)
	return store.Transaction(ctx, func(tx *xenstore.Tx) error {
		if _, err := tx.Read(ctx, dir+"/frontend-id"); err != nil {
			return err
		}
		if err := tx.Write(ctx, dir+"/hotplug-error", text); err != nil {
			return err
		}
		if k.Tap {
			return nil
		}
		return tx.Write(ctx, dir+"/hotplug-status", "error")
	})
}
