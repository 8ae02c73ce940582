package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug/control"
	"vifplug/hotplug/paths"
	"vifplug/qemu/xsk"
	"vifplug/test/standin"
)

// hostWithRings is a host whose daemon has a bpffs of its own. Where the kernel has no AF_XDP the test is skipped, and fails in CI.
func hostWithRings(t *testing.T) (h *host, start func() error) {
	t.Helper()
	f, err := xsk.NewFile()
	if err != nil && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skipf("needs AF_XDP: %v", err)
	}
	require.NoError(t, err)
	require.NoError(t, f.Close())
	h = hostFor(t)
	bpf := t.TempDir()
	require.NoError(t, unix.Mount("bpf", bpf, "bpf", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(bpf, unix.MNT_DETACH)) })
	return h, func() error { return h.start("--bpf-dir", filepath.Join(bpf, "vifplug")) }
}

// A socket of a port for AF_XDP is handed over, also for a NIC of type vif; frames cross from there to the PV side of another guest, also while the daemon
// is killed and when it is back; the next QEMU gets another; and when the guest is destroyed nothing is left.
func TestRingsHandedOver(t *testing.T) {
	h, start := hostWithRings(t)
	require.NoError(t, h.bridge("brr"))
	require.NoError(t, start())
	require.NoError(t, h.guest(63, "hvm03", "brr"))
	require.NoError(t, h.guest(64, "pv04", "brr"))
	p, err := h.control().OpenRings(t.Context(), "hvm03", 0)
	require.NoError(t, err)
	assert.Equal(t, []string{"tap63.0", "xdp63.0", "native"}, []string{p.Name, p.Device, string(p.Mode)})
	q, err := standin.StartRings(p.Device, string(p.Mode), p.Socket)
	require.NoError(t, err)
	defer func() { q.Close() }()
	require.NoError(t, h.link("tap63.0", "master brr up"))
	_, err = h.takes("vif63.0", true, paths.AFXDP)
	require.NoError(t, err)
	require.NoError(t, h.link("vif64.0", "master brr up"))
	d, err := bridgetest.OpenDevice("g64.0")
	require.NoError(t, err)
	defer d.Close()
	cross := func() {
		t.Helper()
		require.NoError(t, bridgetest.BothWays(q, d))
	}
	cross()
	_, err = h.control().OpenRings(t.Context(), "63", 0)
	require.ErrorContains(t, err, xsk.ErrInUse.Error())
	_, err = h.control().DeleteTap(t.Context(), control.Tap{Domain: "63", AFXDP: true})
	require.ErrorContains(t, err, "End QEMU first")
	_, err = h.control().DeleteTap(t.Context(), control.Tap{Domain: "63", XAPI: true})
	require.ErrorContains(t, err, "is not a tap of vifplug's")

	_, err = h.stop(syscall.SIGKILL)
	require.NoError(t, err)
	cross()
	require.NoError(t, start())
	require.NoError(t, eventually(func() error {
		_, err := h.control().NIC(context.Background(), "tap63.0")
		return err
	}))
	cross()

	q.Close() // QEMU dies, and is started anew
	require.NoError(t, eventually(func() error {
		p, err = h.control().OpenRings(t.Context(), "63", 0)
		return err
	}))
	q, err = standin.StartRings(p.Device, string(p.Mode), p.Socket)
	require.NoError(t, err)
	cross()
	require.NoError(t, h.link("tap63.0", "master brr up"))

	require.NoError(t, h.tools.DestroyDomain(t.Context(), 63, fmt.Sprintf("%08d-0000-4000-8000-000000000000", 63)))
	require.NoError(t, h.gone("tap63.0"))
	require.NoError(t, h.gone("xdp63.0"))
}

// By hand: vifctl goes on as QEMU, which has the socket, and the port lasts until it is deleted.
func TestVifctlBecomesQEMU(t *testing.T) {
	h, start := hostWithRings(t)
	require.NoError(t, h.bridge("brr2"))
	require.NoError(t, start())
	require.NoError(t, h.domain(65, "hvm05"))
	require.NoError(t, h.emulated(65, "brr2"))
	require.NoError(t, h.guest(66, "pv06", "brr2"))
	require.NoError(t, h.link("vif66.0", "master brr2 up"))
	d, err := bridgetest.OpenDevice("g66.0")
	require.NoError(t, err)
	defer d.Close()
	for _, kind := range []string{"--af-xdp", "--xapi"} {
		c := h.program("vifctl", "tap", "create", "hvm05", "0", kind, "--", os.Args[0], "-test.run=^TestEchoingQEMU$", "-test.v", "echo=x,{}")
		stdin, err := c.StdinPipe()
		require.NoError(t, err)
		var said bytes.Buffer
		c.Stdout, c.Stderr = &said, &said
		require.NoError(t, c.Start())
		require.NoError(t, h.link("tap65.0", "master brr2 up"))
		require.NoError(t, eventually(func() error { // its process has to begin first
			_, err := bridgetest.Between(d, d)
			return err
		}), "it echoes")
		require.NoError(t, stdin.Close())
		require.NoError(t, c.Wait(), said.String())
		assert.Contains(t, said.String(), fmt.Sprintf("QEMU is process %d", c.Process.Pid), "vifctl itself")
		if kind == "--af-xdp" {
			h.succeeds(t, "vifctl", "tap", "delete", "hvm05", "0", "--af-xdp")
		}
		require.NoError(t, h.gone("tap65.0"))
	}
}

// TestEchoingQEMU is the process that [TestVifctlBecomesQEMU] has vifctl become, and is no test by itself: it sends back every frame, until it is told
// to end by the end of its input.
func TestEchoingQEMU(t *testing.T) {
	option, is := strings.CutPrefix(os.Args[len(os.Args)-1], "echo=x,")
	if !is {
		return
	}
	fmt.Println("QEMU is process", os.Getpid())
	given := map[string]string{}
	for _, word := range strings.Split(option, ",") {
		key, value, _ := strings.Cut(word, "=")
		given[key] = value
	}
	fd, err := strconv.Atoi(given["fd"] + given["sock-fds"])
	require.NoError(t, err, option)
	echo := echoTap
	if given["sock-fds"] != "" {
		require.Equal(t, []string{"1", "on"}, []string{given["queues"], given["inhibit"]})
		q, err := standin.StartRings(given["ifname"], given["mode"], os.NewFile(uintptr(fd), "socket"))
		require.NoError(t, err)
		defer q.Close()
		echo = func(int) error { return echoRings(q) }
	}
	ended := make(chan struct{})
	go runUntilEnd(os.Stdin, ended)
	for {
		select {
		case <-ended:
			return
		default:
			require.NoError(t, echo(fd))
		}
	}
}

func runUntilEnd(r io.Reader, ended chan<- struct{}) {
	_, _ = io.Copy(io.Discard, r)
	close(ended)
}

func echoRings(q *standin.Rings) error {
	_, err := q.Wait(10 * time.Millisecond)
	q.Receive(func(f []byte) { q.Queue(f) })
	return errors.Join(err, q.Doorbell())
}

func echoTap(fd int) error {
	if !bridgetest.Readable(fd, 10*time.Millisecond) {
		return nil
	}
	b := make([]byte, 65536)
	n, err := unix.Read(fd, b)
	if err == nil {
		_, err = unix.Write(fd, b[:n])
	}
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EAGAIN) { // it is down
		return nil
	}
	return err
}

// What cannot be is said before the daemon is asked.
func TestVifctlTapCreateUsage(t *testing.T) {
	h := hostFor(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"web", "0", "--af-xdp"}, "want a command with {} in it, which is to have the tap: -- qemu-system-x86_64 ... -netdev af-xdp,id=n0,{}"},
		{[]string{"web", "0", "--", "qemu"}, "want a command with {} in it, which is to have the tap: -- qemu-system-x86_64 ... -netdev tap,id=n0,{}"},
		{[]string{"web", "0", "--af-xdp", "--queues", "2", "--", "qemu", "{}"}, "goes with none of"},
		{[]string{"web", "0", "1"}, "want: vifctl tap create DOMAIN NIC"},
		{[]string{"web", "--", "qemu", "{}"}, "want: vifctl tap create DOMAIN NIC"},
		{[]string{"web", "x", "--", "qemu", "{}"}, "no number of a NIC"},
	} {
		out, err := h.program("vifctl", append([]string{"tap", "create"}, c.args...)...).CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 2, exit.ExitCode())
		assert.Contains(t, string(out), c.want)
	}
}
