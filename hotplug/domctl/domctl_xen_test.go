//go:build xen

package domctl

import (
	"bufio"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These run in the lab's dom0: go test -tags xen -exec 'bin/xenvm exec' ./hotplug/domctl

func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s\n%s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// create makes a domain without devices, paused at its first instruction.
func create(t *testing.T, name, extra string) uint16 {
	t.Helper()
	cfg := filepath.Join(t.TempDir(), name+".cfg")
	require.NoError(t, os.WriteFile(cfg, []byte(`
name = "`+name+`"
type = "pv"
kernel = "/boot/vmlinux"
ramdisk = "/boot/pv.gz"
extra = "console=hvc0 quiet nics=0 ping=none mitigations=off rodata=off cryptomgr.notests=1 `+extra+`"
memory = 128
on_poweroff = "preserve"
on_reboot = "preserve"
on_crash = "preserve"
`), 0o600))
	command(t, "xl", "create", "-q", "-p", cfg)
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "xl", "destroy", name).Run() }) // it may be gone already
	id, err := strconv.ParseUint(command(t, "xl", "domid", name), 10, 16)
	require.NoError(t, err)
	return uint16(id)
}

// released counts what xenstored says about domains that end.
type released struct{ lines *bufio.Scanner }

func watchReleases(t *testing.T) *released {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "xenstore-watch", "@releaseDomain")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	r := &released{lines: bufio.NewScanner(out)}
	r.next(t) // each watch fires once when it is set
	return r
}

func (r *released) next(t *testing.T) {
	t.Helper()
	require.True(t, r.lines.Scan(), "no @releaseDomain came: %v", r.lines.Err())
}

// awaitReady waits until the guest's init runs, so that it may be asked to shut down.
func awaitReady(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "xl", "console", name)
	in, err := cmd.StdinPipe() // held open: without it xl console ends
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // a pipe
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines, ready := bufio.NewScanner(out), false
	for !ready && lines.Scan() {
		ready = strings.Contains(lines.Text(), "GUEST-NET-READY")
	}
	cancel()
	_ = cmd.Wait() // killed
	require.True(t, ready, "the guest did not come up")
}

func TestRealDomains(t *testing.T) {
	c, err := Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })

	dom0, err := c.Info(0)
	require.NoError(t, err)
	assert.Equal(t, Info{}, dom0)
	assert.NotZero(t, c.version)
	t.Logf("the hypervisor's interface version is %d", c.version)

	_, err = c.Info(32000)
	require.ErrorIs(t, err, ErrNotFound)

	for _, how := range []struct{ command, reason string }{{"shutdown", "poweroff"}, {"reboot", "reboot"}} {
		t.Run(how.reason, func(t *testing.T) {
			id := create(t, how.reason, "")
			got, err := c.Info(id)
			require.NoError(t, err)
			assert.Equal(t, Info{Domid: id, Paused: true}, got)
			command(t, "xl", "unpause", how.reason)
			awaitReady(t, how.reason)
			got, err = c.Info(id)
			require.NoError(t, err)
			assert.Equal(t, Info{Domid: id}, got)
			command(t, "xl", how.command, "-w", how.reason)
			got, err = c.Info(id)
			require.NoError(t, err)
			assert.True(t, got.Shutdown)
			assert.Equal(t, how.reason, got.Reason)
		})
	}
	t.Run("crash", func(t *testing.T) {
		id := create(t, "crash", "crashafter=0.1")
		r := watchReleases(t)
		command(t, "xl", "unpause", "crash")
		r.next(t)
		got, err := c.Info(id)
		require.NoError(t, err)
		assert.True(t, got.Shutdown)
		assert.Equal(t, "crash", got.Reason)
	})
	id := create(t, "gone", "")
	command(t, "xl", "destroy", "gone")
	_, err = c.Info(id)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestClosed(t *testing.T) {
	c, err := Open()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err = c.Info(0)
	require.ErrorIs(t, err, fs.ErrClosed)
}
