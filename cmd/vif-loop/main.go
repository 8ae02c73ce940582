// Command vif-loop carries the frames of one guest's NIC between a QEMU that must not or cannot open a tap (-netdev stream) and the guest's port on the
// bridge: path "socket".
//
// As root it makes the port, one end of a veth pair, opens the hidden end and QEMU's socket; then it gives up everything but that, and carries frames until it is
// told to end. The port outlives it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"vifplug/qemu/loop"
	"vifplug/qemu/loop/confine"
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
		fmt.Fprintf(os.Stderr, "vif-loop: %v\nSee vif-loop --help.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// Each direction may spin for a moment; neither keeps the rest of the process from its work then.
	runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0)))
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: noTime})) // a socket of the journal's could not be opened anew
	if err := serve(ctx, opt, log); err != nil {
		log.Error("cannot go on", "err", err)
		return exitFailed
	}
	return 0
}

// noTime leaves the time to the journal. Its zone would be read from a file, too.
func noTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// serve sets up, gives up its privileges and carries frames.
func serve(ctx context.Context, opt options, log *slog.Logger) error {
	if opt.remove {
		return opt.removePorts(log)
	}
	q, err := openQEMU(&opt)
	if err != nil {
		return err
	}
	defer q.close()
	p, mtu, err := opt.pair(ctx, log)
	if err != nil {
		return err
	}
	cfg := q.config
	if cfg.Index, err = p.make(); err != nil {
		return err
	}
	cfg.MTU, cfg.Socket, cfg.Logger = mtu, opt.socket, log.With("port", p.tap)
	l, err := loop.Open(cfg)
	if err != nil {
		return err
	}
	q.close() // the loop has its own
	user, err := lookUp(opt.user)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	counts := make(chan os.Signal, 1)
	signal.Notify(counts, syscall.SIGUSR1)
	// What follows needs next to no memory. Should that be wrong, collecting garbage begins long before the host suffers.
	debug.FreeOSMemory()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	if err := confine.Drop(confine.Options{UID: user.uid, GID: user.gid, Root: cfg.Root, Dial: cfg.Path != ""}); err != nil {
		return errors.Join(err, l.Close())
	}
	log.Info("carrying frames", "port", p.tap, "socket", l.Kind(), "qemu", q.what)
	ended, told := make(chan struct{}), make(chan struct{})
	go runCounts(l, cfg.Logger, counts, ended, told)
	err = l.Run(ctx)
	close(ended)
	<-told
	return errors.Join(err, l.Close())
}

// memoryLimit is where Go begins to collect garbage, in bytes.
const memoryLimit = 32 << 20

// runCounts tells the counters when it is asked to, and at the end.
func runCounts(l *loop.Loop, log *slog.Logger, asked <-chan os.Signal, ended <-chan struct{}, told chan<- struct{}) {
	defer close(told)
	for {
		select {
		case <-asked:
			log.Info("counters", "counters", l.Count())
		case <-ended:
			log.Info("counters at the end", "counters", l.Count())
			return
		}
	}
}

// wait is how long to wait for vifplugd to know a guest, by default.
const defaultWait = time.Minute
