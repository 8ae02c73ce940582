package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// lookEvery is how often it is asked whether the networks are complete: at boot, ports appear when their drivers find them.
const lookEvery = 50 * time.Millisecond

// buildNetworks makes the host's networks as they were applied last, waits for ports that are late, and ends: what a boot needs before Xen is there.
func buildNetworks(ctx context.Context, opt options, log *slog.Logger) int {
	ctx, cancel := context.WithTimeout(ctx, opt.once.patience)
	defer cancel()
	n, err := startNetworks(ctx, opt.stateDir, log)
	if err != nil {
		log.Error("cannot build the networks", "err", err)
		return exitFailed
	}
	lacks, err := n.complete(ctx)
	if err = errors.Join(err, n.Close()); err != nil {
		log.Error("cannot tell whether the networks are complete", "err", err)
		return exitFailed
	}
	if len(lacks) > 0 {
		log.Error("the networks are not as they were applied: "+strings.Join(lacks, "; "), "waited", opt.once.patience.String())
		return exitFailed
	}
	return 0
}

// complete waits until nothing is missing, or ctx ends, and gives what is missing then.
func (n *networks) complete(ctx context.Context) (lacks []string, err error) {
	for {
		if lacks, err = n.lacks(); err != nil || len(lacks) == 0 {
			return lacks, err
		}
		select {
		case <-ctx.Done():
			return lacks, nil
		case <-time.After(lookEvery):
		}
	}
}

// lacks is what is not as it was applied: differences, and ports that are not there.
func (n *networks) lacks() (out []string, err error) {
	diffs, err := n.Diff()
	if err != nil {
		return nil, err
	}
	for _, d := range diffs {
		out = append(out, d.String())
	}
	have, err := n.conn.Host()
	if err != nil {
		return nil, err
	}
	spec, _, err := n.Current()
	if err != nil {
		return nil, err
	}
	for _, port := range portsOf(spec) {
		if have.Device(port) == nil {
			out = append(out, fmt.Sprintf("there is no port %s", port))
		}
	}
	return out, nil
}

// portsOf are the devices that a declaration expects to find.
func portsOf(s network.Spec) (out []bridge.Name) {
	for _, b := range s.Bonds {
		out = append(out, b.Ports...)
	}
	for _, n := range s.Networks {
		if n.On != "" && s.Bond(n.On) == nil {
			out = append(out, n.On)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
