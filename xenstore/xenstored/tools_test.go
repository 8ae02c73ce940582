package xenstored_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/xenstoretest"
)

// tool is a program of Debian's. It must be there in CI.
func tool(t *testing.T, path, pkg string) string {
	t.Helper()
	p, err := exec.LookPath(path)
	if err != nil && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skipf("%v. apt-get install %s", err, pkg)
	}
	require.NoError(t, err, "apt-get install %s", pkg)
	return p
}

// TestDebiansStoreTest has the Xen project's own test of a xenstore judge this one.
func TestDebiansStoreTest(t *testing.T) {
	bin := tool(t, "/usr/lib/xen-4.17/bin/test-xenstore", "xen-utils-4.17")
	env := append(os.Environ(), "XENSTORED_PATH="+strings.TrimPrefix(xenstoretest.Start(t), "unix:"))
	for name, args := range map[string][]string{"each-test": {"-i", "50"}, "random": {"-r", "1"}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, bin, args...)
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			assert.NotContains(t, strings.ToLower(string(out)), "fail")
			if name == "each-test" {
				assert.Contains(t, string(out), "ta err", "the last test of its list")
			}
		})
	}
}

func TestDebiansClients(t *testing.T) {
	env := append(os.Environ(), "XENSTORED_PATH="+strings.TrimPrefix(xenstoretest.Start(t), "unix:"))
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), tool(t, name, "xenstore-utils"), args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
		return string(out)
	}
	run("xenstore-write", "/a/b", "hello", "/a/c", "world")
	assert.Equal(t, "hello\n", run("xenstore-read", "/a/b"))
	run("xenstore-chmod", "/a/b", "n0", "r5")
	assert.Equal(t, "/a = \"\"   (n0)\n/a/b = \"hello\"   (n0,r5)\n/a/c = \"world\"   (n0)\n", afterTool(run("xenstore-ls", "-fp", "/")))

	watch := exec.CommandContext(t.Context(), tool(t, "xenstore-watch", "xenstore-utils"), "-n", "2", "/a")
	watch.Env = env
	said, err := watch.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, watch.Start())
	lines := bufio.NewScanner(said)
	require.True(t, lines.Scan(), "the event of the registration: only then the node is written")
	assert.Equal(t, "/a", lines.Text())
	run("xenstore-write", "/a/d", "1")
	require.True(t, lines.Scan())
	assert.Equal(t, "/a/d", lines.Text())
	require.NoError(t, watch.Wait())

	run("xenstore-rm", "/a")
	assert.Empty(t, afterTool(run("xenstore-ls", "-fp", "/")))
}

// afterTool leaves out what is in a fresh store.
func afterTool(listing string) string {
	var b strings.Builder
	for line := range strings.Lines(listing) {
		if !strings.HasPrefix(line, "/tool") {
			b.WriteString(line)
		}
	}
	return b.String()
}
