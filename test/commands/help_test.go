package commands

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
)

// examplesOf reads the examples of a program's help.
func examplesOf(t *testing.T, h *host, args ...string) []string {
	t.Helper()
	out, err := h.program(args[0], append(args[1:], "--help")...).Output()
	require.NoError(t, err, args)
	_, rest, found := strings.Cut(string(out), "\nExamples:\n")
	require.True(t, found, "%v: no examples in\n%s", args, out)
	rest, _, _ = strings.Cut(rest, "\n\n")
	var examples []string
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") {
			examples = append(examples, strings.TrimSpace(line))
		}
	}
	return examples
}

// endless are the examples that go on until they are interrupted.
var endless = regexp.MustCompile(`--follow|vifctl xenstored|vifctl capture|vifctl top$`)

// networks is a declaration for the examples, with the trunk where the kernel filters VLANs.
const networks = `
[[network]]
name = "management"
on = "exa0"
roles = ["server-management"]
address = ["10.94.0.2/24"]
[[network]]
name = "guests"
on = "exa1"
roles = ["virtual-machine"]
`

const trunk = `
[[network]]
name = "trunk"
on = "exa2"
roles = ["virtual-machine"]
vlan-filtering = true
`

// exampleHost is a host as the examples speak of it, and the networks that its etc declares.
func exampleHost(t *testing.T) (h *host, declared string) {
	t.Helper()
	h, declared = hostFor(t), networks
	require.NoError(t, os.MkdirAll(h.path("etc/conf.d"), 0o755))
	require.NoError(t, h.bridge("brh"))
	require.NoError(t, h.port("exa0", "10.94.0.2/24"))
	require.NoError(t, h.port("exa1"))
	require.NoError(t, h.port("exa2"))
	if filters(t) {
		declared += trunk
	}
	require.NoError(t, h.guest(23, "web01", "brh"))
	require.NoError(t, h.guest(24, "db01"))
	require.NoError(t, h.start())
	require.NoError(t, h.state("vif23.0", 4, ""))
	h.declare(t, declared)
	h.succeeds(t, "vifctl", "apply")
	t.Cleanup(func() { // what was made goes as it came, once no guest is on it
		for _, vif := range []string{"vif23.0", "vif23.1", "vif24.0"} {
			_ = bridgetest.Delete(vif)
		}
		h.settle()
		h.declare(t, "")
		h.succeeds(t, "vifctl", "apply", "--force", "--no-confirm")
	})
	return h, declared
}

// filters tells whether the kernel's bridges filter VLANs.
func filters(t *testing.T) bool {
	t.Helper()
	c, err := bridge.Open()
	require.NoError(t, err)
	defer c.Close()
	s, err := c.ProbeVLANFiltering()
	require.NoError(t, err)
	return s == bridge.Supported
}

func (h *host) declare(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(h.path("etc/vifplug.toml"), []byte(text), 0o600))
}

func (h *host) succeeds(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := h.program(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v\n%s", name, args, out)
}

// settle takes back what waits for its confirmation, if anything does.
func (h *host) settle() { _ = h.program("vifctl", "rollback").Run() }

// prepare makes an example worth something: a change of the declaration for what applies, confirms or takes back, and a NIC for what detaches.
func (h *host) prepare(t *testing.T, example, declared string, turn int) {
	t.Helper()
	switch {
	case strings.Contains(example, "detach"):
		if h.program("vifctl", "status", "vif23.1").Run() != nil {
			h.succeeds(t, "vifctl", "attach", "web01", "--network", "guests")
		}
	case strings.Contains(example, "apply"), strings.Contains(example, "confirm"), strings.Contains(example, "rollback"):
		h.settle()
		h.declare(t, declared+fmt.Sprintf("[[network]]\nname = \"inside%d\"\nroles = [\"virtual-machine\"]\n", turn))
		if !strings.Contains(example, "apply") {
			h.succeeds(t, "vifctl", "apply", "--confirm", "60s")
		}
	}
}

// Every command's help has two examples, and they work as they stand but for the paths, which are this test's, and for VLANs that the kernel
// cannot filter.
func TestExamplesOfVifctl(t *testing.T) {
	h, declared := exampleHost(t)
	out, err := h.program("vifctl", "--help").Output()
	require.NoError(t, err)
	_, list, _ := strings.Cut(string(out), "\nAvailable Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	commands := [][]string{{"vifctl"}}
	for line := range strings.Lines(list) {
		if name := strings.Fields(line)[0]; name != "help" {
			commands = append(commands, []string{"vifctl", name})
		}
	}
	require.Len(t, commands, 21, list)
	changes := []string{"/tmp/xs.sock", h.path("x"), "/run/vifplug/control.sock", h.path("c"), "/etc/vifplug", h.path("etc")}
	if !strings.Contains(declared, trunk) {
		changes = append(changes, "--network trunk --vlan 13", "--network guests")
	}
	paths := strings.NewReplacer(changes...)
	turn := 0
	for _, c := range commands {
		examples := examplesOf(t, h, c...)
		assert.GreaterOrEqual(t, len(examples), 2, c)
		for _, e := range examples {
			turn++
			h.prepare(t, e, declared, turn)
			h.example(t, paths.Replace(e))
			require.NoError(t, os.RemoveAll(h.path("etc/conf.d/networks.toml"))) // an example's
		}
	}
}

// filter is a program that an example's output goes to and that need not be here.
var filter = regexp.MustCompile(` \| (jq|wireshark) .*`)

// differs are the examples that may tell by exit status 3 that the host is not as declared.
var differs = regexp.MustCompile(`vifctl (plan|diff)`)

// example runs one, the filter of a pipe left out. What goes on until it is interrupted is interrupted once it has said something; a store
// goes on until the test's end, for the examples after it.
func (h *host) example(t *testing.T, text string) {
	t.Helper()
	text = filter.ReplaceAllString(text, "")
	if strings.Contains(text, "xenstore-write") {
		needProgram(t, "xenstore-write")
	}
	if endless.MatchString(text) { // the signal is for the program, not for its shell
		text = "exec " + text
	}
	c := exec.Command("sh", "-c", text)
	c.Dir = h.dir
	c.Env = append(os.Environ(), h.env()...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if !endless.MatchString(text) {
		out, err := c.CombinedOutput()
		got, err := code(err)
		require.NoError(t, err, text)
		require.True(t, got == 0 || got == 3 && differs.MatchString(text), "%s: exit %d\n%s", text, got, out)
		return
	}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	c.Stdout, c.Stderr = w, w
	require.NoError(t, c.Start())
	require.NoError(t, w.Close())
	_, err = io.ReadFull(r, make([]byte, 1))
	require.NoError(t, err, text)
	end := func() {
		require.NoError(t, c.Process.Signal(syscall.SIGINT))
		_, _ = io.Copy(io.Discard, r)
		assert.NoError(t, c.Wait(), text)
		assert.NoError(t, r.Close())
	}
	if strings.Contains(text, "xenstored") {
		t.Cleanup(end)
		return
	}
	end()
}

func TestExamplesOfVifplugd(t *testing.T) {
	h := hostFor(t)
	examples := examplesOf(t, h, "vifplugd")
	require.Len(t, examples, 2)
	assert.Regexp(t, `^vifplugd +on a Xen host`, examples[0])
	command := strings.Fields(strings.NewReplacer("/tmp/v/control.sock", h.path("c"), "/tmp/v", h.path("state")).Replace(examples[1]))
	h.daemon = h.program(command[0], command[1:]...)
	h.logTo(t, h.daemon)
	require.NoError(t, h.daemon.Start())
	require.NoError(t, eventually(func() error {
		_, err := h.control().Status(t.Context())
		return err
	}))
	assert.FileExists(t, h.path("state/xenstored.sock"), "a store of its own")
	state, err := h.stop(syscall.SIGTERM)
	require.NoError(t, err)
	assert.True(t, state.Success())
}

func TestExamplesOfVifPlug(t *testing.T) {
	h := hostFor(t)
	require.NoError(t, h.bridge("brq"))
	require.NoError(t, h.guest(5, "web01", "brq"))
	examples := examplesOf(t, h, "vif-plug")
	require.Len(t, examples, 2)
	assert.Contains(t, examples[0], "script=vif-plug")
	c := exec.Command("sh", "-c", examples[1])
	c.Env = append(os.Environ(), h.env()...)
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, h.node(5, 0, "hotplug-status", "connected"))
}
