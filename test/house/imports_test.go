package house

import (
	"go/ast"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rooms say who may import whom inside the module, so that each can be understood, tested and replaced alone. The heart knows the four that
// do; they know neither each other nor it; systemd is the commands' affair.
var rooms = map[string][]string{
	"xenstore": {"xenstore"},
	"bridge":   {"bridge"},
	"qemu":     {"qemu"},
	"udev":     {"udev"},
	"systemd":  {"systemd"},
	"hotplug":  {"hotplug", "xenstore", "bridge", "qemu", "udev"},
	"cmd":      {"hotplug", "xenstore", "bridge", "qemu", "udev", "systemd"},
	"test":     {"hotplug", "xenstore", "bridge", "qemu", "udev", "systemd", "test"},
}

func TestRooms(t *testing.T) {
	for _, f := range files(t) {
		allowed, known := rooms[f.room]
		if !assert.True(t, known, "%s: the house has no room %s", f.path, f.room) {
			continue
		}
		for _, i := range f.imports {
			inner, ours := strings.CutPrefix(i, module+"/")
			if !ours {
				continue
			}
			helps := underAny(inner, []string{"test"}) || strings.HasSuffix(inner, "test")
			switch {
			case helps:
				assert.False(t, f.product(), "%s imports %s: what serves tests must not be installed", f.path, i)
			default:
				assert.True(t, underAny(inner, allowed) || f.test && inner == f.dir, "%s imports %s: %s may import %v alone", f.path, i, f.room, allowed)
			}
		}
	}
}

// owners say who may import a library, and why nobody else: each is wrapped once. A library that is not here is a decision to take.
var owners = map[string]struct {
	who []string
	why string
}{
	"github.com/vishvananda/netlink":           {[]string{"bridge/bridgetest"}, "one package makes links, by another library than the one under test"},
	"github.com/mdlayher/netlink":              {[]string{"bridge"}, "one package speaks rtnetlink"},
	"github.com/mdlayher/socket":               {[]string{"udev"}, "for the uevent socket's deadlines"},
	"github.com/coreos/go-systemd/v22":         {[]string{"systemd"}, "one package speaks to systemd"},
	"github.com/fsnotify/fsnotify":             {[]string{"hotplug/config"}, "only configuration is watched on disk"},
	"github.com/pelletier/go-toml/v2":          {[]string{"hotplug/config", "bridge/network"}, "configuration has two halves: the service's, and the declared networks"},
	"github.com/spf13/cobra":                   {[]string{"cmd/vifctl"}, "the daemon and vif-plug start without it"},
	"github.com/gopacket/gopacket":             {[]string{"hotplug/capture"}, "for the format of captures alone"},
	"golang.org/x/term":                        {[]string{"cmd/vifctl"}, "for the terminal's width"},
	"github.com/prometheus/client_golang":      {[]string{"cmd/vifplugd"}, "metrics are the daemon's"},
	"golang.org/x/net/bpf":                     {[]string{"bridge"}, "for what a monitor leaves in the kernel"},
	"golang.org/x/sys/unix":                    {[]string{"bridge", "udev", "systemd", "qemu", "hotplug", "xenstore", "test"}, "commands leave system calls to the rooms"},
	"github.com/cilium/ebpf":                   {[]string{"qemu", "test"}, "only the fast paths load programs into the kernel"},
	"github.com/stretchr/testify":              {nil, "tests alone"},
	"go.uber.org/goleak":                       {nil, "tests alone"},
	"pgregory.net/rapid":                       {nil, "tests alone"},
	"github.com/google/go-cmp":                 {nil, "tests alone"},
	"github.com/rogpeppe/go-internal":          {nil, "tests alone"},
	"github.com/mdlayher/netlink/nltest":       {[]string{"bridge"}, "a kernel that is one function, for bridge's tests"},
	"github.com/pelletier/go-toml/v2/unstable": {[]string{"hotplug/config", "bridge/network"}, "for the places of errors"},
}

// ownerOf finds the entry for an import: the longest that it lies under.
func ownerOf(i string) (best string) {
	for lib := range owners {
		if under(i, lib) && len(lib) > len(best) {
			best = lib
		}
	}
	return best
}

func TestLibraries(t *testing.T) {
	for _, f := range files(t) {
		for _, i := range f.imports {
			first, _, _ := strings.Cut(i, "/")
			if !strings.Contains(first, ".") {
				continue // the standard library or this module
			}
			lib := ownerOf(i)
			if !assert.NotEmpty(t, lib, "%s imports %s, of which this test does not know who may", f.path, i) {
				continue
			}
			if o := owners[lib]; o.who == nil {
				assert.True(t, f.test || f.support(), "%s imports %s: %s", f.path, i, o.why)
			} else if !f.test || lib == "github.com/vishvananda/netlink" {
				assert.True(t, underAny(f.dir, o.who), "%s imports %s: %s", f.path, i, o.why)
			}
		}
	}
}

// The required library is used, not only required.
func TestRequiredLibraryIsUsed(t *testing.T) {
	assert.Contains(t, read(t, "go.mod"), "github.com/vishvananda/netlink v")
	for _, f := range files(t) {
		if f.dir == "bridge/bridgetest" && strings.Contains(f.text, `"github.com/vishvananda/netlink"`) {
			return
		}
	}
	t.Error("nobody imports github.com/vishvananda/netlink")
}

// No external tool and no fork stands in the path of an event (design.md, promise 6).
func TestNoProcessIsStarted(t *testing.T) {
	starters := map[string]bool{"os.StartProcess": true, "syscall.ForkExec": true, "syscall.StartProcess": true}
	for _, f := range files(t) {
		if !f.product() {
			continue
		}
		assert.NotContains(t, f.imports, "os/exec", "%s starts processes", f.path)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				assert.False(t, starters[name(s)], "%s: a process is started", f.at(s.Pos()))
			}
			return true
		})
	}
}

// name is the text of a plain expression such as time.Sleep.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return name(e.X) + "." + e.Sel.Name
	}
	return ""
}

// vif-plug runs once for each NIC, and while it starts a guest waits.
func TestVifPlugIsSmall(t *testing.T) {
	deps := depsOf(t, "./cmd/vif-plug")
	assert.Contains(t, deps, module+"/hotplug/ask")
	for _, d := range deps {
		first, _, _ := strings.Cut(d, "/")
		assert.False(t, strings.Contains(first, ".") && !strings.HasPrefix(d, "vendor/"), "vif-plug links the library %s", d)
		assert.False(t, under(d, module) && d != module+"/cmd/vif-plug" && d != module+"/hotplug/ask", "vif-plug links %s", d)
	}
	for _, heavy := range []string{"net", "net/http", "encoding/json", "log/slog", "crypto/tls", "reflect", "fmt"} {
		assert.NotContains(t, deps, heavy, "vif-plug links it; the daemon and vifplugd --once are there for what needs it")
	}
}

// The daemon's command line is read before anything else: no framework. Tests' tools are in nothing that is installed. os/exec comes with cilium/ebpf,
// whose own tests have it; that nobody here starts a process TestNoProcessIsStarted says.
func TestProgramsLinkOnlyWhatTheyNeed(t *testing.T) {
	for _, program := range []string{"./cmd/vifplugd", "./cmd/vifctl"} {
		for _, d := range depsOf(t, program) {
			for _, lib := range []string{"github.com/stretchr/testify", "testing", "github.com/vishvananda/netlink"} {
				assert.False(t, under(d, lib), "%s links %s", program, d)
			}
			assert.False(t, program == "./cmd/vifplugd" && under(d, "github.com/spf13"), "%s links %s", program, d)
		}
	}
}

func depsOf(t *testing.T, pkg string) []string {
	t.Helper()
	c := exec.Command("go", "list", "-deps", pkg)
	c.Dir = root
	out, err := c.Output()
	require.NoError(t, err, "go list is part of what builds this test")
	return strings.Fields(string(out))
}
