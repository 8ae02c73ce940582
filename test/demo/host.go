package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/control"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// host is the machine that the demo plays: its processes, its store, and what it has heard of the daemon.
type host struct {
	dir, bin string
	began    time.Time

	store   *exec.Cmd
	daemon  *exec.Cmd
	client  *xenstore.Client // the toolstack's connection
	kernel  *xenstore.Client // netback's
	tools   *standin.Toolstack
	netback *standin.Netback
	control *control.Client
	feed    *feed
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

// say prints one observed line with the time since the beginning.
func (h *host) say(format string, args ...any) {
	fmt.Printf("%8.3fs  %s\n", time.Since(h.began).Seconds(), fmt.Sprintf(format, args...))
}

func (h *host) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(h.bin, name), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func (h *host) setUp(ctx context.Context) error {
	h.store = h.command("vifctl", "xenstored", "--socket", h.path("xenstored.sock"))
	if err := h.store.Start(); err != nil {
		return err
	}
	if err := h.connect(ctx); err != nil {
		return err
	}
	h.say("xenstore answers at %s (pid %d)", h.client.Transport(), h.store.Process.Pid)
	for _, name := range []string{"xenbr0", "xenbr1"} {
		if err := bridgetest.MakeBridge(name, 1500); err != nil {
			return err
		}
		if err := h.sayLink(name); err != nil {
			return err
		}
	}
	var err error
	if h.netback, err = standin.StartNetback(ctx, h.kernel); err != nil {
		return err
	}
	h.control = control.NewClient(h.path("control.sock"))
	return h.startDaemon(ctx)
}

// connect opens the toolstack's and the kernel's own connections once the store listens.
func (h *host) connect(ctx context.Context) error {
	target := "unix:" + h.path("xenstored.sock")
	err := until(ctx, func() (err error) {
		h.client, err = xenstore.Open(ctx, target, nil)
		return err
	})
	if err != nil {
		return err
	}
	h.tools = &standin.Toolstack{Store: h.client}
	h.kernel, err = xenstore.Open(ctx, target, nil)
	return err
}

// startDaemon starts vifplugd and listens to its events.
func (h *host) startDaemon(ctx context.Context) error {
	start := time.Now()
	logs, err := os.OpenFile(h.path("vifplugd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logs.Close() //nolint:errcheck // the child has its own
	h.daemon = h.command("vifplugd", "--xenstore", "unix:"+h.path("xenstored.sock"), "--socket", h.path("control.sock"),
		"--config", h.path("etc"), "--state-dir", h.path("state"), "--any-netdev")
	h.daemon.Stderr = logs
	if err := h.daemon.Start(); err != nil {
		return err
	}
	var st control.Status
	if err := until(ctx, func() (err error) {
		st, err = h.control.Status(ctx)
		return err
	}); err != nil {
		return fmt.Errorf("%w\n%s", err, h.logs())
	}
	h.say("vifplugd answers %d ms after its start (pid %d, xenstore by %s)", time.Since(start).Milliseconds(), st.Daemon.PID, st.Daemon.Store)
	h.feed = listen(h)
	return nil
}

func (h *host) logs() string {
	b, err := os.ReadFile(h.path("vifplugd.log"))
	if err != nil {
		return ""
	}
	return string(b)
}

// until repeats a question whose answer needs another process to have come up; 5 ms lie between.
func until(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// sayLink prints what the kernel says of a link.
func (h *host) sayLink(name string) error {
	text, err := bridgetest.Describe(name)
	if err == nil {
		h.say("kernel: %s", text)
	}
	return err
}

// expect waits for events, in any order, and prints each that comes. A want is "kind vif" or "kind domain-name".
func (h *host) expect(ctx context.Context, wants ...string) error {
	open := map[string]bool{}
	for _, w := range wants {
		open[w] = true
	}
	for len(open) > 0 {
		e, err := h.feed.next(ctx)
		if err != nil {
			return fmt.Errorf("%w; still expected: %v\n%s", err, keys(open), h.logs())
		}
		h.say("event:  %s", describe(e))
		delete(open, string(e.Kind)+" "+e.VIF)
		delete(open, string(e.Kind)+" "+e.Domain.Name)
	}
	return nil
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func describe(e hotplug.Event) string {
	parts := []string{fmt.Sprintf("%-16s", e.Kind)}
	if e.VIF != "" {
		parts = append(parts, e.VIF)
	}
	parts = append(parts, fmt.Sprintf("%s (domain %d)", e.Domain.Name, e.Domain.ID))
	switch {
	case e.Reason != nil:
		parts = append(parts, "- "+e.Reason.Error())
	case e.Detail != "":
		parts = append(parts, "- "+e.Detail)
	}
	return strings.Join(parts, " ")
}

func (h *host) close() {
	for _, c := range []*exec.Cmd{h.daemon, h.store} {
		if c != nil && c.Process != nil && c.ProcessState == nil {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		}
	}
	if h.feed != nil {
		h.feed.close()
	}
	if h.netback != nil {
		h.netback.Close()
	}
	for _, c := range []*xenstore.Client{h.client, h.kernel} {
		if c != nil {
			_ = c.Close()
		}
	}
}

var errEnded = errors.New("the daemon's event stream ended")

// feed is the daemon's event stream.
type feed struct {
	events chan hotplug.Event
	cancel context.CancelFunc
	done   chan struct{}
}

func listen(h *host) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{events: make(chan hotplug.Event), cancel: cancel, done: make(chan struct{})}
	go f.runFeed(ctx, h.control)
	return f
}

func (f *feed) runFeed(ctx context.Context, c *control.Client) {
	defer close(f.done)
	defer close(f.events)
	_ = c.Events(ctx, 0, true, func(e hotplug.Event) bool { // its end is seen by the channel's
		select {
		case f.events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

func (f *feed) next(ctx context.Context) (hotplug.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case e, open := <-f.events:
		if !open {
			return e, errEnded
		}
		return e, nil
	case <-ctx.Done():
		return hotplug.Event{}, errors.New("no further event in 10 s")
	}
}

func (f *feed) close() {
	f.cancel()
	<-f.done
}
