package commands

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/control"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// patience bounds every wait for another process.
const patience = 15 * time.Second

// host is one Xen host without Xen: a store in a process of its own, a stand-in for netback, and at most one daemon. Hosts share the kernel's
// links, so each test has its own domids and bridges.
type host struct {
	dir     string
	store   *exec.Cmd
	client  *xenstore.Client
	kernel  *xenstore.Client
	netback *standin.Netback
	tools   *standin.Toolstack
	daemon  *exec.Cmd
	bridges []string
	ports   []string
	qemus   map[string]*standin.QEMU // by tap
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

// play starts store and netback. close ends them.
func (h *host) play() error {
	h.store = h.program("vifctl", "xenstored", "--socket", h.path("xs"))
	if err := h.store.Start(); err != nil {
		return err
	}
	if err := h.open(); err != nil {
		return err
	}
	h.tools = &standin.Toolstack{Store: h.client}
	var err error
	h.netback, err = standin.StartNetback(context.Background(), h.kernel)
	return err
}

func (h *host) open() (err error) {
	for _, c := range []**xenstore.Client{&h.client, &h.kernel} {
		err = eventually(func() error {
			*c, err = xenstore.Open(context.Background(), "unix:"+h.path("xs"), nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// program is one of ours with the host's environment. It dies with the test.
func (h *host) program(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(bin, name), args...)
	c.Env = append(os.Environ(), h.env()...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func (h *host) env() []string {
	return []string{
		"XENSTORED_PATH=" + h.path("xs"), "VIFPLUG_SOCKET=" + h.path("c"), "VIFPLUG_CONFIG=" + h.path("etc"), "VIFPLUG_STATE=" + h.path("state"),
		"VIFPLUG_ANY_NETDEV=1",
		"PATH=" + bin + ":" + os.Getenv("PATH"),
	}
}

func (h *host) daemonArgs() []string {
	return []string{"--xenstore", "unix:" + h.path("xs"), "--socket", h.path("c"), "--config", h.path("etc"), "--state-dir", h.path("state"), "--any-netdev"}
}

// start runs the daemon and waits until it answers.
func (h *host) start(extra ...string) error {
	h.daemon = h.program("vifplugd", append(h.daemonArgs(), extra...)...)
	log, err := os.OpenFile(h.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	h.daemon.Stderr = log
	if err := h.daemon.Start(); err != nil {
		return err
	}
	return eventually(func() error {
		_, err := h.control().Status(context.Background())
		return err
	})
}

func (h *host) control() *control.Client { return control.NewClient(h.path("c")) }

// stop sends the daemon a signal and waits for its end.
func (h *host) stop(sig syscall.Signal) (*os.ProcessState, error) {
	if err := h.daemon.Process.Signal(sig); err != nil {
		return nil, err
	}
	_ = h.daemon.Wait() // its state says the rest
	return h.daemon.ProcessState, nil
}

func (h *host) close() {
	for _, c := range []*exec.Cmd{h.daemon, h.store} {
		if c != nil && c.Process != nil && c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	if h.netback != nil {
		h.netback.Close()
	}
	for _, c := range []*xenstore.Client{h.client, h.kernel} {
		if c != nil {
			_ = c.Close()
		}
	}
	for _, q := range h.qemus {
		q.Close()
	}
	for _, l := range slices.Concat(h.bridges, h.ports) {
		_ = bridgetest.Delete(l)
	}
}

func (h *host) bridge(name string) error {
	h.bridges = append(h.bridges, name)
	return bridgetest.MakeBridge(name, 1500)
}

// port makes what the declared networks may stand on: an end of a veth pair, up, with addresses.
func (h *host) port(name string, addresses ...string) error {
	h.ports = append(h.ports, name)
	if err := errors.Join(bridgetest.MakeVeth(name, name+"-wire"), bridgetest.SetUp(name), bridgetest.SetUp(name+"-wire")); err != nil {
		return err
	}
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return err
		}
		if err := bridgetest.AddAddress(name, p); err != nil {
			return err
		}
	}
	return nil
}

// gone waits until there is no link of a name.
func (h *host) gone(name string) error {
	return eventually(func() error {
		names, err := bridgetest.Names()
		if err == nil && slices.Contains(names, name) {
			err = fmt.Errorf("%s is still there", name)
		}
		return err
	})
}

// guest creates a domain with NICs on bridges.
func (h *host) guest(id int, name string, bridges ...string) error {
	if err := h.domain(id, name); err != nil {
		return err
	}
	for i, b := range bridges {
		nic := standin.NIC{Bridge: b, MAC: fmt.Sprintf("00:16:3e:00:%02x:%02x", id, i)}
		if err := h.tools.Attach(context.Background(), xenstore.DomID(id), i, nic); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) domain(id int, name string) error {
	return h.tools.CreateDomain(context.Background(), xenstore.DomID(id), name, fmt.Sprintf("%08d-0000-4000-8000-000000000000", id))
}

// emulated gives a domain a NIC that QEMU emulates as well.
func (h *host) emulated(id int, bridge string) error {
	nic := standin.NIC{Bridge: bridge, MAC: fmt.Sprintf("00:16:3e:00:%02x:00", id), Type: "vif_ioemu"}
	return h.tools.Attach(context.Background(), xenstore.DomID(id), 0, nic)
}

// state waits until the daemon has a NIC in a state; a reason's code may be wanted too.
func (h *host) state(vif string, want hotplug.State, code hotplug.Code) error {
	return eventually(func() error {
		x, err := h.control().NIC(context.Background(), vif)
		if err != nil {
			return err
		}
		got := hotplug.Code("")
		if x.Reason != nil {
			got = x.Reason.Code
		}
		if x.State != want || code != "" && got != code {
			return fmt.Errorf("%s is %v %s, not %v %s", vif, x.State, got, want, code)
		}
		return nil
	})
}

// node waits until a node of a NIC's backend has a value.
func (h *host) node(id, dev int, key, want string) error {
	return eventually(func() error {
		got, err := h.client.Read(context.Background(), fmt.Sprintf("/local/domain/0/backend/vif/%d/%d/%s", id, dev, key))
		if err == nil && got != want {
			err = fmt.Errorf("%s is %q, not %q", key, got, want)
		}
		return err
	})
}

// link waits until the kernel says something of a link.
func (h *host) link(name, want string) error {
	return eventually(func() error {
		text, err := bridgetest.Describe(name)
		if err == nil && !strings.Contains(text, want) {
			err = fmt.Errorf("%s: it is not %q", text, want)
		}
		return err
	})
}

// eventually repeats what another process must make true: nothing tells when.
func eventually(ask func() error) error {
	end := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not in %v: %w", patience, err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

var errNotExit = errors.New("it did not end by itself")

// code is a process's exit code.
func code(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	return 0, errors.Join(errNotExit, err)
}
