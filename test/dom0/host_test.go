//go:build xen

package dom0

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/hotplug"
	"vifplug/hotplug/control"
	"vifplug/xenstore"
)

const (
	socket  = "/run/vifplug/control.sock"
	scripts = "/etc/xen/scripts"
)

// TestMain installs the script as `make install` does.
func TestMain(m *testing.M) {
	for _, name := range []string{"vif-plug", "vifplugd", "vifctl", "vif-loop"} {
		bin, err := exec.LookPath(name)
		if err == nil {
			bin, err = filepath.EvalSymlinks(bin)
		}
		if err == nil {
			err = os.Link(bin, "/usr/sbin/"+name) // a link by name would lead to where units may not look
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "dom0: ship bin/vifplugd, bin/vifctl, bin/vif-plug and bin/vif-loop by XENVM_FILES:", err)
			os.Exit(1)
		}
	}
	noop := "#!/bin/sh\nexit 0\n"
	if err := os.Symlink("/usr/sbin/vif-plug", scripts+"/vif-plug"); err != nil {
		fmt.Fprintln(os.Stderr, "dom0:", err)
		os.Exit(1)
	}
	if err := os.WriteFile(scripts+"/no-op", []byte(noop), 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "dom0:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// host is dom0 during one test.
type host struct {
	*testing.T
	store  *xenstore.Client
	daemon *exec.Cmd
	log    string
	undo   []func()
	hvms   []*guest // see onHost
}

// newHost remembers how things are, and compares at the end.
func newHost(t *testing.T) *host {
	store, err := xenstore.Open(t.Context(), "auto", nil)
	require.NoError(t, err)
	h := &host{T: t, store: store, log: filepath.Join(t.TempDir(), "vifplugd.log")}
	t.Cleanup(h.clean)
	links, nodes := h.links(), h.nodes()
	h.Cleanup(func() {
		defer store.Close() //nolint:errcheck // the test is over
		h.stopDaemon()
		if t.Failed() {
			b, _ := os.ReadFile(h.log)
			t.Logf("vifplugd's log:\n%s", b)
		}
		require.Equal(t, links, h.links(), "links were left behind or lost")
		require.Equal(t, nodes, h.nodes(), "xenstore nodes were left behind or lost")
		t.Log("xenstore and links are as they were found")
	})
	return h
}

// Cleanup is as that of testing.T, at the latest: see onHost.
func (h *host) Cleanup(f func()) { h.undo = append(h.undo, f) }

func (h *host) clean() {
	h.hvms = nil // what fails from now on is a failure
	for len(h.undo) > 0 {
		f := h.undo[len(h.undo)-1]
		h.undo = h.undo[:len(h.undo)-1]
		f()
	}
}

func (h *host) links() string {
	entries, err := os.ReadDir("/sys/class/net")
	require.NoError(h, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// nodes lists what guests leave in the store: their homes, their backends, their vm and libxl directories, but for empty directories that
// libxl makes once.
func (h *host) nodes() string {
	var out []string
	for _, dir := range []string{"/local/domain", "/local/domain/0/backend/vif", "/vm", "/libxl", "/local/domain/0/error/backend/vif"} {
		names, err := h.store.Directory(context.Background(), dir)
		if err != nil {
			continue
		}
		for _, n := range names {
			out = append(out, dir+"/"+n)
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// run runs a program that must succeed.
func (h *host) run(args ...string) string {
	h.Helper()
	out, err := h.try(args...)
	require.NoError(h, err, "%s\n%s", strings.Join(args, " "), out)
	return out
}

func (h *host) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	return string(out), err
}

// bridge makes a bridge with an address that guests ping, for the time of the test.
func (h *host) bridge(name, address string) {
	h.Helper()
	h.run("ip", "link", "add", name, "type", "bridge")
	h.Cleanup(func() { _, _ = h.try("ip", "link", "del", name) }) // a test may have deleted it
	if address != "" {
		h.run("ip", "addr", "add", address, "dev", name)
	}
	h.run("ip", "link", "set", name, "up")
}

// startDaemon starts vifplugd and waits until it answers.
func (h *host) startDaemon(args ...string) {
	h.Helper()
	f, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(h, err)
	defer f.Close() //nolint:errcheck // the daemon has its own
	h.daemon = exec.Command("vifplugd", append([]string{"--config", filepath.Dir(h.log), "--log-level", "debug"}, args...)...)
	h.daemon.Stderr = f
	require.NoError(h, h.daemon.Start())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		if _, err = h.control().Status(ctx); err == nil {
			return
		}
		if ctx.Err() != nil {
			_ = h.daemon.Process.Signal(syscall.SIGQUIT) // its stacks go to the log
			_ = h.daemon.Wait()
			h.daemon = nil
			require.NoError(h, err, "vifplugd answers")
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

func (h *host) stopDaemon() {
	if h.daemon == nil {
		return
	}
	_ = h.daemon.Process.Signal(syscall.SIGTERM)
	_ = h.daemon.Wait()
	h.daemon = nil
}

func (h *host) killDaemon() {
	h.Helper()
	require.NoError(h, h.daemon.Process.Kill())
	_ = h.daemon.Wait()
	h.daemon = nil
}

func (h *host) control() *control.Client { return control.NewClient(socket) }

// eventually asks again until the answer is right: for what tells nobody when it changes.
func (h *host) eventually(what string, limit time.Duration, ask func() error) {
	h.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(h, err, what)
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

// plugged waits until the daemon says that a NIC is plugged, and checks it by the kernel and the store.
func (h *host) plugged(vif, bridge string) {
	h.Helper()
	h.eventually(vif+" is plugged", 30*time.Second, func() error {
		x, err := h.control().NIC(context.Background(), vif)
		if err == nil && x.State != hotplug.Plugged {
			err = fmt.Errorf("it is %v: %v", x.State, x.Reason)
		}
		return err
	})
	h.isPort(vif, bridge)
}

// isPort checks with the kernel that a vif is an up port of a bridge, as vifplug leaves it.
func (h *host) isPort(vif, bridge string) {
	h.Helper()
	out := h.run("ip", "-o", "link", "show", "dev", vif)
	require.Contains(h, out, "master "+bridge+" ")
	require.Contains(h, out, "UP")
	require.Contains(h, out, "fe:ff:ff:ff:ff:ff")
	require.Empty(h, h.run("ip", "-o", "addr", "show", "dev", vif), "a port has no address")
}

// hotplugStatus reads the node that netback waits for.
func (h *host) hotplugStatus(domid, dev int) string {
	s, err := h.store.Read(h.Context(), fmt.Sprintf("/local/domain/0/backend/vif/%d/%d/hotplug-status", domid, dev))
	require.NoError(h, err)
	return s
}

// guest is a PV guest of the test's.
type guest struct {
	h       *host
	name    string
	id      int
	console *console
}

// config writes a guest's configuration; each vif is a line of it. The memory is for twenty detached NICs: netfront keeps the pages that netback
// had still mapped, a megabyte a NIC.
func (h *host) config(name, extra string, vifs ...string) string {
	path := filepath.Join(h.TempDir(), name+".cfg")
	for i, v := range vifs {
		vifs[i] = "'" + v + "'"
	}
	text := fmt.Sprintf("name = %q\ntype = \"pv\"\nkernel = \"/boot/vmlinux\"\nramdisk = \"/boot/pv.gz\"\nmemory = 192\nextra = \"console=hvc0 quiet interval=1 nics=%d %s\"\nvif = [ %s ]\n",
		name, len(vifs), extra, strings.Join(vifs, ", "))
	require.NoError(h, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// create creates a guest by xl, destroyed at the end of the test if it is still there.
func (h *host) create(name string, vifs ...string) *guest {
	h.Helper()
	h.run("xl", "create", "-q", h.config(name, "", vifs...))
	g := &guest{h: h, name: name}
	h.Cleanup(func() { _, _ = h.try("xl", "destroy", name) })
	g.find()
	return g
}

// find learns the guest's present domid.
func (g *guest) find() {
	g.h.Helper()
	out := strings.TrimSpace(g.h.run("xl", "domid", g.name))
	_, err := fmt.Sscanf(out, "%d", &g.id)
	require.NoError(g.h, err, out)
}

func (g *guest) vif(n int) string { return fmt.Sprintf("vif%d.%d", g.id, n) }

func (g *guest) destroy() {
	g.h.Helper()
	g.h.run("xl", "destroy", g.name)
	g.h.gone(g.vif(0))
}

// reboot has the guest reboot, and waits until it is there under another id.
func (g *guest) reboot() {
	g.h.Helper()
	old, oldVIF := fmt.Sprint(g.id), g.vif(0)
	g.h.run("xl", "reboot", g.name)
	g.h.gone(oldVIF)
	g.h.eventually("the guest is back under another id", 60*time.Second, func() error {
		out, err := g.h.try("xl", "domid", g.name)
		if err == nil && strings.TrimSpace(out) == old {
			err = errors.New("the old one is still there")
		}
		return err
	})
	g.find()
	g.console = nil
}

// gone waits until a NIC has left the kernel and, where the daemon runs, the daemon.
func (h *host) gone(vif string) {
	h.Helper()
	h.eventually(vif+" is gone", 20*time.Second, func() error {
		if _, err := os.Stat("/sys/class/net/" + vif); err == nil {
			return fmt.Errorf("%s is still there", vif)
		}
		if h.daemon == nil {
			return nil
		}
		st, err := h.control().Status(context.Background())
		for _, n := range st.NICs {
			if n.VIF == vif {
				err = fmt.Errorf("vifplugd still has %s: %v", vif, n.State)
			}
		}
		return err
	})
}

// expect waits for one of some texts on the guest's console, and gives its line.
func (g *guest) expect(texts ...string) string {
	g.h.Helper()
	if g.console == nil {
		g.console = openConsole(g.h, g.name)
	}
	return g.console.expect(texts...)
}

// console follows a guest's console.
type console struct {
	h     *host
	in    *os.File
	lines *bufio.Scanner
	close context.CancelFunc
	said  bool // a line at least
}

func openConsole(h *host, name string) *console {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "xl", "console", name)
	r, w, err := os.Pipe()
	require.NoError(h, err)
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	require.NoError(h, err)
	require.NoError(h, cmd.Start())
	_ = r.Close()
	h.Cleanup(func() {
		_ = w.Close()
		cancel()
		_ = cmd.Wait() // killed
	})
	return &console{h: h, in: w, lines: bufio.NewScanner(out), close: cancel}
}

func (c *console) expect(texts ...string) string {
	c.h.Helper()
	var seen []string
	defer time.AfterFunc(5*time.Minute, c.close).Stop() // an HVM guest takes one minute to come up here, and several on a busy machine
	for c.lines.Scan() {
		line := strings.TrimRight(c.lines.Text(), "\r")
		seen = append(seen, line)
		c.said = true
		if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) }) {
			return line
		}
	}
	domains, _ := c.h.try("xl", "list")
	xen, _ := c.h.try("xl", "dmesg")
	require.Failf(c.h, "console", "%q did not come; the last lines:\n%s\n%s%s", texts, strings.Join(seen[max(0, len(seen)-30):], "\n"), domains, xen)
	return ""
}

// events collects the daemon's events until the test asks for them.
type events struct {
	h      *host
	cancel context.CancelFunc
	ch     chan hotplug.Event
	seen   bytes.Buffer
}

func (h *host) listen() *events {
	ctx, cancel := context.WithCancel(context.Background())
	e := &events{h: h, cancel: cancel, ch: make(chan hotplug.Event, 4096)}
	done := make(chan struct{})
	go e.runEvents(ctx, done)
	h.Cleanup(func() { cancel(); <-done })
	return e
}

func (e *events) runEvents(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	_ = e.h.control().Events(ctx, 0, true, func(ev hotplug.Event) bool {
		e.ch <- ev
		return true
	})
}

// expect waits for an event of a kind about a VIF or a domain's name.
func (e *events) expect(kind hotplug.Kind, about string) hotplug.Event {
	e.h.Helper()
	limit := time.After(60 * time.Second)
	for {
		select {
		case ev := <-e.ch:
			fmt.Fprintf(&e.seen, "%s %s %s %s %s\n", ev.Kind, ev.VIF, ev.Netdev, ev.Domain.Name, ev.Detail)
			if ev.Kind == kind && (ev.VIF == about || ev.Domain.Name == about || ev.Netdev == about) {
				return ev
			}
		case <-limit:
			require.Failf(e.h, "event", "no %s about %s; seen:\n%s", kind, about, e.seen.String())
		}
	}
}
