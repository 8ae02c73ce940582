package commands

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
var endless = regexp.MustCompile(`--follow|vifctl xenstored`)

// Every command's help has two examples, and they work as they stand but for the paths, which are this test's.
func TestExamplesOfVifctl(t *testing.T) {
	h := hostFor(t)
	require.NoError(t, os.Mkdir(h.path("etc"), 0o755))
	require.NoError(t, h.bridge("brh"))
	require.NoError(t, h.guest(23, "web01", "brh"))
	require.NoError(t, h.start())
	require.NoError(t, h.state("vif23.0", 4, ""))
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
	require.Len(t, commands, 7, list)
	paths := strings.NewReplacer("/tmp/xs.sock", h.path("x"), "/run/vifplug/control.sock", h.path("c"))
	for _, c := range commands {
		examples := examplesOf(t, h, c...)
		assert.GreaterOrEqual(t, len(examples), 2, c)
		for _, e := range examples {
			h.example(t, paths.Replace(e))
		}
	}
}

// example runs one, the filter of a pipe left out. What goes on until it is interrupted is interrupted once it has said something; a store
// goes on until the test's end, for the examples after it.
func (h *host) example(t *testing.T, text string) {
	t.Helper()
	text, _, _ = strings.Cut(text, " | ")
	if strings.Contains(text, "xenstore-write") {
		needProgram(t, "xenstore-write")
	}
	text = regexp.MustCompile(`(vifctl|xenstore-write)`).ReplaceAllString(text, "exec $1")
	if strings.Contains(text, "=") && strings.HasPrefix(text, "XEN") { // NAME=value exec program: sh wants the program last
		assignment, command, _ := strings.Cut(text, " ")
		text = "export " + assignment + "; " + command
	}
	c := exec.Command("sh", "-c", text)
	c.Dir = h.dir
	c.Env = append(os.Environ(), h.env()...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if !endless.MatchString(text) {
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s\n%s", text, out)
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
