package paths

import (
	"context"
	"log/slog"
	"os"

	"vifplug/bridge"
	"vifplug/qemu/shortcut"
)

// DefaultDir is where guards are pinned that outlive the service.
const DefaultDir = "/sys/fs/bpf/vifplug"

// OfKernel is the Config for the kernel itself, of the calling thread's network namespace. dir is where guards are pinned, in a bpffs.
func OfKernel(conn *bridge.Conn, dir string, log *slog.Logger) Config {
	return Config{
		Kernel: conn,
		Programs: func() (Programs, error) {
			return shortcut.Open(shortcut.Config{Dir: dir, Classifier: conn, Logger: log})
		},
		Monitor: func() (Monitor, error) { return bridge.OpenPathMonitor() },
		Rules:   func() (Rules, error) { return OpenNetfilter() },
		Logger:  log, Dir: dir,
	}
}

// Sweep ends the guards of an earlier life that nobody asks for any more. It is called once every port that there is has been told of.
func (k *Keeper) Sweep(ctx context.Context) error {
	if err := k.Settle(ctx); err != nil {
		return err
	}
	left := k.left()
	if entries, err := os.ReadDir(k.cfg.Dir); (err != nil || len(entries) == 0) && len(left) == 0 {
		return nil
	}
	if err := k.open(); err != nil {
		return err
	}
	k.programs.Lock()
	defer k.programs.Unlock()
	for i := range k.adopted {
		left = append(left, i)
	}
	for _, i := range left {
		if _, on := k.on[i]; !on {
			k.log.Info("ending the guard of an earlier life", "index", i)
			k.adopted[i] = true
			k.remove(i)
		}
	}
	return nil
}

// left are the devices of ports on which a classifier of ours stands from an earlier life.
func (k *Keeper) left() (out []int) {
	k.mu.Lock()
	indexes := make([]int, 0, len(k.ports))
	for i := range k.ports {
		indexes = append(indexes, i)
	}
	k.mu.Unlock()
	for _, i := range indexes {
		c, err := k.cfg.Kernel.Classifiers(i)
		if err != nil {
			continue // it goes
		}
		for _, f := range c.Filters {
			if f.Ours {
				out = append(out, i)
			}
		}
	}
	return out
}
