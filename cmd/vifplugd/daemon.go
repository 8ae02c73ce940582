package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vifplug/bridge"
	"vifplug/hotplug"
	"vifplug/hotplug/config"
	"vifplug/hotplug/control"
	"vifplug/hotplug/domctl"
	"vifplug/hotplug/paths"
	"vifplug/hotplug/rings"
	"vifplug/systemd"
	"vifplug/udev"
	"vifplug/xenstore"
	"vifplug/xenstore/xenstored"
)

// daemon holds what start has opened, to be closed in reverse.
type daemon struct {
	opt      options
	log      *slog.Logger
	cfg      atomic.Pointer[config.Config]
	networks *networks
	engine   *hotplug.Engine
	server   *control.Server
	rings    *rings.Maker
	closers  []io.Closer
	made     string // the control socket's path, where this daemon has made it
	online   atomic.Bool
	began    time.Time
	serve    chan error
	hup      chan os.Signal
	cancel   context.CancelFunc // ends the tasks
	tasks    sync.WaitGroup     // the run… goroutines but the server's
}

func checkStore(target string) error {
	if target == "auto" || target == "dev" || target == "embedded" || strings.HasPrefix(target, "unix:/") || strings.HasPrefix(target, "dev:/") {
		return nil
	}
	return fmt.Errorf("--xenstore %q: want auto, unix:/PATH, dev or embedded", target)
}

// version is what the build recorded.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}

func newLogger(level slog.Level) *slog.Logger {
	h, _ := systemd.NewLogHandler(&systemd.LogOptions{Level: level}) // its socket goes with the process
	return slog.New(h)
}

// start wires the rooms together. The control socket is taken first: whoever connects while the rest starts is answered when it has. The host's
// networks are next, since they need neither a configuration that is right nor a store: after a boot the host must be reachable for who mends those.
func start(ctx context.Context, opt options, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{opt: opt, log: log, began: time.Now(), serve: make(chan error, 1), hup: make(chan os.Signal, 1)}
	signal.Notify(d.hup, syscall.SIGHUP) // which would end a daemon that is starting
	ctx, d.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	listener, err := d.listen()
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, listener) // the server closes it; this is for a start that fails
	if d.networks, err = startNetworks(ctx, opt.stateDir, log); err != nil {
		return nil, err
	}
	if err := d.configure(); err != nil {
		return nil, err
	}
	target, err := d.embedded()
	if err != nil {
		return nil, err
	}
	store, err := xenstore.Open(ctx, target, &xenstore.Options{Logger: log, OnState: d.storeState})
	if err != nil {
		return nil, fmt.Errorf("xenstore: %w. Is xenstored running? Without Xen, try --xenstore embedded", err)
	}
	d.online.Store(true)
	d.closers = append(d.closers, store)
	if err := d.startEngine(ctx, store); err != nil {
		return nil, err
	}
	d.networks.join(d.engine)
	if err := d.makeRings(); err != nil {
		return nil, err
	}
	self, _ := hotplug.Self(ctx, store)
	d.server = control.NewServer(control.Options{Engine: d.engine, Networks: d.networks, Rings: d.rings, Logger: log, Readers: -1, Daemon: func() control.Daemon {
		return control.Daemon{Version: version(), Started: d.began, Store: store.Transport(), Online: d.online.Load(), Self: uint16(self), PID: os.Getpid()}
	}})
	d.grant(d.cfg.Load().Readers)
	go d.runServer(listener)
	d.ready(ctx, store)
	return d, nil
}

// configure reads the configuration. Errors in what it declares of networks keep nobody from his network: what was applied holds on.
func (d *daemon) configure() error {
	cfg, err := config.Load(d.opt.config)
	switch {
	case cfg.Unusable != nil:
		return err
	case err != nil:
		d.log.Error("the configuration is wrong: the networks that were applied last are kept. See vifctl check", "err", err)
	}
	d.cfg.Store(&cfg)
	return nil
}

func (d *daemon) startEngine(ctx context.Context, store *xenstore.Client) error {
	self, err := hotplug.Self(ctx, store)
	if err != nil {
		return err
	}
	links, err := bridge.Open()
	if err != nil {
		return err
	}
	d.closers = append(d.closers, links)
	monitor, err := bridge.OpenMonitor()
	if err != nil {
		return err
	}
	pc := paths.OfKernel(links, d.opt.bpfDir, d.log)
	ec := hotplug.Config{Store: store, Self: self, Links: links, Monitor: monitor, Policy: d.policy(), Paths: &pc, Logger: d.log}
	if u, err := udev.OpenMonitor(); err == nil {
		ec.Uevents = u
	} else {
		d.log.Warn("no uevents: the store and rtnetlink tell the same", "err", err)
	}
	if c, err := domctl.Open(); err == nil {
		ec.Domains = c
		d.closers = append(d.closers, c)
	} else if !errors.Is(err, domctl.ErrNoXen) {
		d.log.Warn("cannot ask the hypervisor about domains: shutdowns and crashes are not told apart", "err", err)
	}
	d.engine, err = hotplug.Start(ctx, ec)
	return err
}

// listen takes systemd's socket where it passed one, else makes its own.
func (d *daemon) listen() (net.Listener, error) {
	passed, err := systemd.Listeners("control")
	if err != nil {
		return nil, err
	}
	if l := passed["control"]; l != nil {
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(d.opt.socket), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	d.made = d.opt.socket
	return listenUnix(d.opt.socket)
}

// listenUnix makes a socket that only root and its group may connect to, in place of one that nobody serves any more.
func listenUnix(path string) (net.Listener, error) {
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = c.Close()
		return nil, fmt.Errorf("control socket %s: another vifplugd serves it. Stop that one first, or say --socket", path)
	case errors.Is(err, syscall.ECONNREFUSED): // left behind, or no socket at all
		if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("control socket %s exists and is no socket. Say another --socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	case !errors.Is(err, os.ErrNotExist): // a full queue, say: somebody may be there
		return nil, fmt.Errorf("control socket: %w. Say another --socket", err)
	}
	old := syscall.Umask(0o117)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// embedded serves a store of its own where that is asked for, and returns where the store is.
func (d *daemon) embedded() (string, error) {
	if d.opt.xenstore != "embedded" {
		return d.opt.xenstore, nil
	}
	if err := os.MkdirAll(d.opt.stateDir, 0o755); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(d.opt.stateDir, "xenstored.sock")
	l, err := xenstored.Listen(path)
	if err != nil {
		return "", err
	}
	s := xenstored.New(&xenstored.Options{Logger: d.log})
	d.closers = append(d.closers, s)
	d.tasks.Add(1)
	go d.runStore(s, l)
	d.log.Info("serving a store of its own", "socket", path)
	return "unix:" + path, nil
}

func (d *daemon) runStore(s *xenstored.Server, l net.Listener) {
	defer d.tasks.Done()
	if err := s.Serve(l); err != nil {
		d.log.Error("the embedded store ended", "err", err)
	}
}

func (d *daemon) storeState(connected bool, err error) {
	d.online.Store(connected)
	if connected {
		d.log.Info("xenstore is back")
		return
	}
	d.log.Warn("xenstore is gone; NICs stay as they are until it is back", "err", err)
}

// grant lets a group read, and lets it reach the socket that this daemon has made. systemd's own has the group that its unit says.
func (d *daemon) grant(group string) {
	gid := d.readers(group)
	d.server.SetReaders(gid)
	if d.made == "" {
		return
	}
	if err := os.Chown(d.made, -1, max(gid, 0)); err != nil && os.Geteuid() == 0 {
		d.log.Warn("control.readers cannot reach the control socket", "group", group, "err", err)
	}
}

// readers finds the group whose members may read the control socket. A name that does not exist grants nothing.
func (d *daemon) readers(name string) int {
	if name == "" {
		return -1
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		d.log.Warn("control.readers names no group", "group", name, "err", err)
		return -1
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1
	}
	return gid
}

func (d *daemon) runServer(l net.Listener) { d.serve <- d.server.Serve(l) }

// ready tells systemd, and starts what goes on beside the engine.
func (d *daemon) ready(ctx context.Context, store *xenstore.Client) {
	d.log.Info("ready", "xenstore", store.Transport(), "after", time.Since(d.began).Round(time.Microsecond).String())
	d.tasks.Add(1)
	go d.runStatus(ctx)
	d.tasks.Add(1)
	go d.runWatchdog(ctx)
	d.tasks.Add(1)
	go d.runReloads(ctx)
	d.tasks.Add(1)
	go d.runNetworks(ctx)
	d.tasks.Add(1)
	go d.runRings(ctx, store)
	w, err := config.Watch(d.opt.config, d.log, d.reload)
	if err != nil {
		d.log.Warn("changes of the configuration need a SIGHUP", "err", err)
		return
	}
	d.closers = append(d.closers, w)
}

// statusPause is how long events are collected before systemd hears of them: a host that boots its guests has hundreds in a second.
const statusPause = 250 * time.Millisecond

// runStatus says READY after every NIC that was there has been looked at once, and from then on how the NICs are, when that has changed: it is the
// line that systemctl status shows.
func (d *daemon) runStatus(ctx context.Context) {
	defer d.tasks.Done()
	select {
	case <-ctx.Done():
		return
	case <-d.engine.Synced():
	}
	events := d.engine.Events().Subscribe(^uint64(0)) // new ones alone
	defer events.Close()
	told := d.engine.Summary()
	d.told(systemd.Ready(told))
	for systemd.Listens() {
		select {
		case <-ctx.Done():
			return
		case <-events.Ready():
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(statusPause):
		}
		events.Take()
		if now := d.engine.Summary(); now != told {
			told = now
			d.told(systemd.Status(now))
		}
	}
}

func (d *daemon) told(err error) {
	if err != nil {
		d.log.Warn("cannot tell systemd", "err", err)
	}
}

func (d *daemon) runWatchdog(ctx context.Context) {
	defer d.tasks.Done()
	if err := systemd.RunWatchdog(ctx, d.engine.Alive); err != nil && ctx.Err() == nil {
		d.log.Error("watchdog", "err", err)
	}
}

// reload reads the configuration again. One that is wrong changes nothing.
func (d *daemon) reload() {
	cfg, err := config.Load(d.opt.config)
	if err != nil {
		d.log.Error("the configuration is wrong and not taken over", "err", err)
		return
	}
	before := d.cfg.Swap(&cfg)
	d.grant(cfg.Readers)
	d.followNetworks()
	d.log.Info("configuration read")
	if d.opt.watchConfig != watchOff && !bytes.Equal(cfg.Networks.Encode(), before.Networks.Encode()) {
		d.declare(cfg.Networks)
	}
}

// runReloads reads the configuration again on SIGHUP. It may wait for the store, so it must not be in the way of a signal to end.
func (d *daemon) runReloads(ctx context.Context) {
	defer d.tasks.Done()
	defer signal.Stop(d.hup)
	for {
		select {
		case <-d.hup:
			d.reload()
		case <-ctx.Done():
			return
		}
	}
}

// wait serves until a signal or the control socket ends it.
func (d *daemon) wait(ctx context.Context) int {
	code := 0
	select {
	case err := <-d.serve:
		d.log.Error("the control socket ended", "err", err)
		code = exitFailed
	case <-ctx.Done():
	}
	_ = systemd.Stopping()
	d.log.Info("stopping; guests keep their networks")
	d.close()
	d.tasks.Wait()
	return code
}

func (d *daemon) close() {
	d.cancel()
	if d.server != nil {
		_ = d.server.Close()
	}
	if d.networks != nil {
		_ = d.networks.Close()
	}
	if d.engine != nil {
		_ = d.engine.Close()
	}
	for i := len(d.closers) - 1; i >= 0; i-- {
		_ = d.closers[i].Close()
	}
}
