//go:build xen

package smoke

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// command runs a program in dom0 and gives its output. It does so in cleanups too, where the test's own context has ended.
func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s\n%s", strings.Join(args, " "), out)
	return string(out)
}

func TestDom0IsAControlDomain(t *testing.T) {
	b, err := os.ReadFile("/proc/xen/capabilities")
	require.NoError(t, err)
	assert.Contains(t, string(b), "control_d")
	for _, dev := range []string{"privcmd", "hypercall", "xenbus", "evtchn", "gntdev"} {
		assert.FileExists(t, "/dev/xen/"+dev)
	}
	assert.Equal(t, "0", strings.TrimSpace(command(t, "xenstore-read", "domid")))
	assert.Equal(t, "Domain-0", strings.TrimSpace(command(t, "xenstore-read", "/local/domain/0/name")))
}

// TestFiles shows that a test finds its package's testdata where it would be on the host.
func TestFiles(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "hello.txt"))
	require.NoError(t, err)
	assert.Equal(t, "hello, dom0\n", string(b))
}

// console follows a guest's console until a line has the text, and gives the line.
type console struct {
	t     *testing.T
	lines *bufio.Scanner
}

func openConsole(t *testing.T, domain string) *console {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "xl", "console", domain)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		cancel()
		_ = cmd.Wait() // killed
	})
	return &console{t: t, lines: bufio.NewScanner(out)}
}

func (c *console) expect(text string) string {
	c.t.Helper()
	var seen []string
	for c.lines.Scan() {
		line := strings.TrimRight(c.lines.Text(), "\r")
		if seen = append(seen, line); strings.Contains(line, text) {
			return line
		}
	}
	require.Failf(c.t, "console", "%q did not come; the last lines:\n%s", text, strings.Join(seen[max(0, len(seen)-30):], "\n"))
	return ""
}

// TestGuest boots a PV guest whose vif the stock script puts on a bridge, and destroys it again.
func TestGuest(t *testing.T) {
	command(t, "ip", "link", "add", "smoke0", "type", "bridge")
	t.Cleanup(func() { command(t, "ip", "link", "del", "smoke0") })
	command(t, "ip", "addr", "add", "192.168.70.1/24", "dev", "smoke0")
	command(t, "ip", "link", "set", "smoke0", "up")
	cfg := filepath.Join(t.TempDir(), "smoke.cfg")
	require.NoError(t, os.WriteFile(cfg, []byte(`
name = "smoke"
type = "pv"
kernel = "/boot/vmlinux"
ramdisk = "/boot/pv.gz"
extra = "console=hvc0 quiet interval=1"
memory = 128
vif = [ "bridge=smoke0,mac=00:16:3e:00:00:01" ]
`), 0o600))
	start := time.Now()
	command(t, "xl", "create", "-q", cfg)
	t.Logf("xl create took %s", time.Since(start).Round(10*time.Millisecond))
	c := openConsole(t, "smoke")
	line := c.expect("GUEST eth0")
	assert.Contains(t, line, "GUEST eth0 00:16:3e:00:00:01 1500 192.168.70.10/24")
	c.expect("GUEST-NET-READY")
	t.Logf("the guest has its network after %s", time.Since(start).Round(10*time.Millisecond))
	domid := strings.TrimSpace(command(t, "xl", "domid", "smoke"))
	assert.Contains(t, command(t, "bridge", "link"), "vif"+domid+".0")
	c.expect("GUEST-PING-OK 192.168.70.1")
	command(t, "xl", "destroy", "smoke")
	assert.NotContains(t, command(t, "ip", "link"), "vif"+domid+".0")
	assert.NotContains(t, command(t, "xl", "list"), "smoke")
}
