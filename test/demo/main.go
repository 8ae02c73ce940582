// Command vifdemo shows vifplug at work on any Linux machine, without Xen: `make demo`.
//
// In a network namespace of its own it runs the embedded store, the daemon, and a stand-in for netback and the guests; brings three domains
// up, pulls a bridge away and puts it back, kills the daemon and starts it again, and destroys the domains. Each line that it prints is an
// event of the daemon, an answer of it, or something that was read from the kernel or the store; it fails when one does not come.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"vifplug/test/netns"
)

// limit ends a demo that hangs.
const limit = 60 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if !netns.Inside() {
		os.Exit(netns.Enter(ctx, "demo"))
	}
	if err := play(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1) //nolint:gocritic // play has cleaned up
	}
}

// play is the demo.
func play(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "vifdemo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	bin, err := os.Executable()
	if err != nil {
		return err
	}
	h := &host{dir: dir, bin: filepath.Dir(bin), began: time.Now()}
	defer h.close()
	for _, act := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"A host without Xen: an embedded xenstore, two bridges, a stand-in for netback, and vifplugd", h.setUp},
		{"Three domains are created, as xl would", h.createDomains},
		{"Somebody deletes the bridge xenbr0, and puts it back", h.pullBridge},
		{"Somebody takes web01's port off its bridge, and sets db01's down", h.meddle},
		{"vifplugd is killed with -9; meanwhile the guests' network goes on; it is started again", h.killDaemon},
		{"A guest is created on a bridge that does not exist yet", h.lateBridge},
		{"The domains are destroyed", h.destroyDomains},
	} {
		fmt.Printf("\n== %s\n", act.title)
		if err := act.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", act.title, err)
		}
	}
	fmt.Printf("\nThat was vifplug, in %.1f s. Next: README.md, \"Install on a Xen host\".\n", time.Since(h.began).Seconds())
	return nil
}
