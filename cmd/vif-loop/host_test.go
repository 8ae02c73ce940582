package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu/loop"
	"vifplug/test/netns"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// build builds vif-loop as it is installed: without cgo, which giving privileges up needs.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vif-loop-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "vif-loop")
	c := exec.Command("go", "build", "-o", path, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	if err != nil {
		err = errors.New(string(out))
	}
	return path, err
})

// makeHost makes a namespace with the bridge br and its port wire, behind which far is.
func makeHost(t *testing.T) {
	t.Helper()
	netns.New(t)
	require.NoError(t, bridgetest.MakeBridge("br", 1500))
	require.NoError(t, bridgetest.MakeVeth("wire", "far"))
	require.NoError(t, bridgetest.SetMaster("wire", "br"))
	for _, d := range []string{"br", "wire", "far"} { // quiet, and far is a station of its own: it does not answer for the host's address
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+d+"/disable_ipv6", []byte("1"), 0))
		require.NoError(t, exec.Command("ip", "link", "set", "dev", d, "arp", map[string]string{"br": "on", "wire": "off", "far": "off"}[d]).Run())
		require.NoError(t, bridgetest.SetUp(d))
	}
}

// process is a running vif-loop.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  chan string
	done chan error
}

// launch starts vif-loop.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := build()
	require.NoError(t, err)
	return launchCommand(t, exec.Command(path, args...))
}

func launchCommand(t *testing.T, c *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: c, log: make(chan string, 1000), done: make(chan error, 1)}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig goes by the thread: this one must last as long as the test
	out, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	go p.runReader(out)
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *process) runReader(out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		p.log <- s.Text()
	}
	close(p.log)
	p.done <- p.cmd.Wait()
}

// kill kills it, if it lives.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	for range p.log {
		continue
	}
	<-p.done
	p.done <- nil
}

// says waits for a line of its log.
func (p *process) says(text string) string {
	p.t.Helper()
	var all []string
	end := time.After(patience)
	for {
		select {
		case line, open := <-p.log:
			if strings.Contains(line, text) {
				return line
			}
			all = append(all, line)
			require.True(p.t, open, "it ended without saying %q: %q", text, all)
		case <-end:
			p.t.Fatalf("it does not say %q: %q", text, all)
		}
	}
}

// ends waits until it has ended by itself.
func (p *process) ends() error {
	p.t.Helper()
	end := time.After(patience)
	for open := true; open; {
		select {
		case _, open = <-p.log:
		case <-end:
			p.t.Fatal("it does not end")
		}
	}
	err := <-p.done
	p.done <- nil
	return err
}

// status is a line of its /proc/PID/status, of each of its threads.
func (p *process) status(key string) (values []string) {
	p.t.Helper()
	files, err := filepath.Glob("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/task/*/status")
	require.NoError(p.t, err)
	require.NotEmpty(p.t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(p.t, err)
		for line := range strings.Lines(string(b)) {
			if v, is := strings.CutPrefix(line, key+":"); is {
				values = append(values, strings.TrimSpace(v))
			}
		}
	}
	return values
}

// stream is QEMU's side, an end of [bridgetest.Between].
type stream struct{ net.Conn }

func dial(t *testing.T, path string) stream {
	t.Helper()
	for start := time.Now(); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return stream{c}
		}
		require.Less(t, time.Since(start), patience, "%v", err)
		time.Sleep(time.Millisecond) // a socket does not tell when it is there
	}
}

// Send has the guest send a frame.
func (s stream) Send(frame []byte) error {
	_, err := s.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

// Arrived says whether the guest gets a frame with these bytes in it within a moment.
func (s stream) Arrived(nonce []byte) bool {
	for {
		f, err := s.next(20 * time.Millisecond)
		if err != nil {
			return false
		}
		if bytes.Contains(f, nonce) {
			return true
		}
	}
}

// next reads a frame. A part of one is read to its end.
func (s stream) next(wait time.Duration) ([]byte, error) {
	_ = s.SetReadDeadline(time.Now().Add(wait))
	var head [4]byte
	if _, err := io.ReadFull(s, head[:1]); err != nil {
		return nil, err
	}
	_ = s.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(s, head[1:]); err != nil {
		return nil, err
	}
	f := make([]byte, min(binary.BigEndian.Uint32(head[:]), loop.MaxFrame))
	_, err := io.ReadFull(s, f)
	return f, err
}

// bothWays has frames go between QEMU and far.
func bothWays(t *testing.T, s stream) {
	t.Helper()
	far, err := bridgetest.OpenDevice("far")
	require.NoError(t, err)
	defer far.Close()
	for start := time.Now(); ; { // a port that has just come up forwards a moment later
		if _, err = bridgetest.Between(s, far); err == nil {
			break
		}
		require.Less(t, time.Since(start), patience, "%v", err)
	}
	_, err = bridgetest.Between(far, s)
	require.NoError(t, err)
}

func describe(t *testing.T, dev string) string {
	t.Helper()
	text, err := bridgetest.Describe(dev)
	require.NoError(t, err)
	return text
}

func alias(t *testing.T, dev string) string {
	t.Helper()
	b, err := os.ReadFile("/sys/class/net/" + dev + "/ifalias")
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}

func exists(dev string) bool {
	_, err := bridgetest.Index(dev)
	return err == nil
}

// The addresses of a conversation.
var (
	guestIP = netip.MustParsePrefix("192.0.2.5/24")
	farIP   = netip.MustParsePrefix("192.0.2.9/24")
)
