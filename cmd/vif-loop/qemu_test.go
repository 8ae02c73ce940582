package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// qemu is a real QEMU without a guest: a hub in it joins the stream and a tap. That is in a network namespace of QEMU's own, and the kernel there
// plays the guest.
type qemu struct {
	t   *testing.T
	cmd *exec.Cmd
	err *bytes.Buffer
}

func startQEMU(t *testing.T, server, sock string) *qemu {
	t.Helper()
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		if os.Getenv("VIFPLUG_CI") == "1" {
			t.Fatal("CI must have qemu-system-x86_64")
		}
		t.Skip("needs qemu-system-x86_64")
	}
	q := &qemu{t: t, err: &bytes.Buffer{}}
	q.cmd = exec.Command(path, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "none",
		"-netdev", fmt.Sprintf("stream,id=s0,server=%s,addr.type=unix,addr.path=%s", server, sock),
		"-netdev", "tap,id=t0,ifname=gt0,script=no,downscript=no",
		"-netdev", "hubport,id=h0,hubid=0,netdev=s0", "-netdev", "hubport,id=h1,hubid=0,netdev=t0")
	q.cmd.Stderr = q.err
	runtime.LockOSThread() // Pdeathsig goes by the thread, and runInside's end: this one must last as long as the test
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, q.cmd.Start())
	t.Cleanup(q.end)
	for start := time.Now(); ; {
		err := q.inside(func() error { return bridgetest.SetUp("gt0") })
		if err == nil {
			break
		}
		require.Less(t, time.Since(start), patience, "%v: %s", err, q.err)
		time.Sleep(5 * time.Millisecond) // as QEMU does not tell that it has its tap
	}
	require.NoError(t, q.inside(func() error { return bridgetest.AddAddress("gt0", guestIP) }))
	return q
}

func (q *qemu) end() {
	_ = q.cmd.Process.Kill()
	_ = q.cmd.Wait()
}

// inside runs a function in QEMU's network namespace.
func (q *qemu) inside(do func() error) error {
	done := make(chan error, 1)
	go runInside(fmt.Sprintf("/proc/%d/ns/net", q.cmd.Process.Pid), do, done)
	return <-done
}

func runInside(ns string, do func() error, done chan<- error) {
	runtime.LockOSThread() // and the thread ends with the goroutine
	f, err := os.Open(ns)
	if err == nil {
		err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		_ = f.Close()
	}
	if err == nil {
		err = do()
	}
	done <- err
}

// exchange has the guest send n bytes over TCP to a server at far, which sends as many others back.
func (q *qemu) exchange(n int) {
	q.t.Helper()
	l, err := net.Listen("tcp", farIP.Addr().String()+":0")
	require.NoError(q.t, err)
	there, back := bytes.Repeat([]byte("to the wire "), n/12), bytes.Repeat([]byte("to the guest"), n/12)
	served := make(chan error, 1)
	go runExchange(l, there, back, served)
	err = q.inside(func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(4 * patience))
		if _, err := c.Write(there); err != nil {
			return err
		}
		return expect(c, back)
	})
	require.NoError(q.t, err, "%s", q.err)
	require.NoError(q.t, <-served)
}

func runExchange(l net.Listener, want, back []byte, served chan<- error) {
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		served <- err
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(4 * patience))
	if err = expect(c, want); err == nil {
		_, err = c.Write(back)
	}
	served <- err
}

func expect(c io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if sha256.Sum256(got) != sha256.Sum256(want) {
		return fmt.Errorf("%d bytes came, but not those that were sent", len(got))
	}
	return nil
}

// A real QEMU carries TCP through the loop both ways, whichever of the two listens; also after QEMU, or the loop, was killed and has started again.
func TestRealQEMU(t *testing.T) {
	for _, kind := range []string{"af-packet", "af-xdp"} {
		for _, server := range []string{"off", "on"} {
			t.Run(kind+" server "+server, func(t *testing.T) {
				makeHost(t)
				require.NoError(t, exec.Command("ip", "link", "set", "dev", "far", "arp", "on").Run())
				require.NoError(t, bridgetest.AddAddress("far", farIP))
				sock := filepath.Join(t.TempDir(), "s")
				args := []string{"--tap", "tap5.0", "--bridge", "br", "--socket", kind, map[string]string{"off": "--listen", "on": "--connect"}[server], sock}
				p := launch(t, args...)
				p.says("carrying frames")
				q := startQEMU(t, server, sock)
				p.says("QEMU is connected")
				q.exchange(8 << 20)
				q.end()
				p.says("QEMU has gone")
				if server == "on" {
					require.NoError(t, os.Remove(sock), "a killed QEMU leaves it")
				}
				q = startQEMU(t, server, sock)
				p.says("QEMU is connected")
				q.exchange(1 << 20)
				if server == "on" { // QEMU 7.2 connects once; where it listens, it goes on
					p.kill()
					p = launch(t, args...)
					p.says("QEMU is connected")
					q.exchange(1 << 20)
				}
				require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
				line := p.says("counters at the end")
				t.Log(line)
				assert.NotContains(t, line, "dropped_unfinished")
				require.NoError(t, p.ends())
			})
		}
	}
}
