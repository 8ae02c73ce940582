package commands

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/test/netns"
	"vifplug/test/standin"
)

// TestScripts runs testdata/script: the programs as one types them. Besides testscript's own commands there are those of this file.
func TestScripts(t *testing.T) {
	netns.Need(t)
	testscript.Run(t, params("testdata/script"))
}

// TestNetworkScripts runs testdata/networks, one after the other: who declares networks means the whole host.
func TestNetworkScripts(t *testing.T) {
	netns.Need(t)
	files, err := filepath.Glob("testdata/networks/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run("", func(t *testing.T) {
			p := params("")
			p.Files = []string{file}
			testscript.Run(t, p)
		})
	}
}

func params(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			h := &host{dir: e.WorkDir}
			e.Vars = append(e.Vars, h.env()...)
			e.Values[hostKey{}] = h
			e.Defer(h.close)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"host": cmdHost, "bridge": cmdBridge, "guest": cmdGuest, "daemon": cmdDaemon, "state": cmdState, "node": cmdNode, "link": cmdLink,
			"exits": cmdExits, "port": cmdPort, "gone": cmdGone, "until": cmdUntil, "emulated": cmdEmulated, "qemu": cmdQEMU,
		},
	}
}

func hostOf(ts *testscript.TestScript) *host { return ts.Value(hostKey{}).(*host) }

type hostKey struct{}

// host: start a store and netback.
func cmdHost(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(hostOf(ts).play())
}

// bridge NAME | bridge -del NAME
func cmdBridge(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "-del" {
		ts.Check(bridgetest.Delete(args[1]))
		return
	}
	ts.Check(hostOf(ts).bridge(args[0]))
}

// guest ID NAME BRIDGE...: a domain with a NIC on each.
func cmdGuest(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(hostOf(ts).guest(number(ts, args[0]), args[1], args[2:]...))
}

// emulated ID NAME BRIDGE: a domain, unless it is there, with a NIC that QEMU emulates as well. emulated -domain ID NAME: the domain alone.
func cmdEmulated(ts *testscript.TestScript, _ bool, args []string) {
	h := hostOf(ts)
	alone := args[0] == "-domain"
	if alone {
		args = args[1:]
	}
	id := number(ts, args[0])
	if _, err := h.client.Read(context.Background(), fmt.Sprintf("/local/domain/%d/name", id)); err != nil {
		ts.Check(h.domain(id, args[1]))
	}
	if !alone {
		ts.Check(h.emulated(id, args[2]))
	}
}

// qemu TAP: QEMU with that tap. qemu -end TAP: its end.
func cmdQEMU(ts *testscript.TestScript, _ bool, args []string) {
	h := hostOf(ts)
	if args[0] == "-end" {
		h.qemus[args[1]].Close()
		return
	}
	q, err := standin.StartQEMU(args[0])
	ts.Check(err)
	if h.qemus == nil {
		h.qemus = map[string]*standin.QEMU{}
	}
	h.qemus[args[0]] = q
}

// daemon [FLAG...] | daemon -term|-kill|-hup
func cmdDaemon(ts *testscript.TestScript, _ bool, args []string) {
	h := hostOf(ts)
	switch strings.Join(args, " ") {
	case "-term":
		state, err := h.stop(syscall.SIGTERM)
		ts.Check(err)
		if !state.Success() {
			ts.Fatalf("vifplugd ended with %v\n%s", state, ts.ReadFile("log"))
		}
	case "-kill":
		_, err := h.stop(syscall.SIGKILL)
		ts.Check(err)
	case "-hup":
		ts.Check(h.daemon.Process.Signal(syscall.SIGHUP))
	default:
		ts.Check(h.start(args...))
	}
}

// state VIF STATE [CODE]: wait until it is so.
func cmdState(ts *testscript.TestScript, _ bool, args []string) {
	var want hotplug.State
	ts.Check(want.UnmarshalText([]byte(args[1])))
	ts.Check(hostOf(ts).state(args[0], want, hotplug.Code(strings.Join(args[2:], ""))))
}

// node ID DEV KEY VALUE: wait until the backend node says so.
func cmdNode(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(hostOf(ts).node(number(ts, args[0]), number(ts, args[1]), args[2], args[3]))
}

// link NAME TEXT: wait until the kernel says so.
func cmdLink(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(hostOf(ts).link(args[0], args[1]))
}

// port NAME ADDRESS...: a port that networks may stand on. It and its declared bridges go with the script.
func cmdPort(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(hostOf(ts).port(args[0], args[1:]...))
}

// gone NAME | gone -with NAME...: wait until there is no such link, or remove links when the script ends.
func cmdGone(ts *testscript.TestScript, _ bool, args []string) {
	h := hostOf(ts)
	if args[0] == "-with" {
		h.bridges = append(h.bridges, args[1:]...)
		return
	}
	ts.Check(h.gone(args[0]))
}

// until TEXT FILE: wait until a file has a text.
func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(eventually(func() error {
		b, err := os.ReadFile(ts.MkAbs(args[1]))
		if err == nil && !strings.Contains(string(b), args[0]) {
			err = fmt.Errorf("%s has no %q:\n%s", args[1], args[0], b)
		}
		return err
	}))
}

// exits CODE PROGRAM ARG...
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	got, err := code(ts.Exec(args[1], args[2:]...))
	ts.Check(err)
	if want := number(ts, args[0]); got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

func number(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}
