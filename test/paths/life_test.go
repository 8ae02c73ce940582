package paths

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/qemu/shortcut"
)

// ownerEnv has the test binary play a process that holds the programs until it is killed: what it is to do, as an order.
const ownerEnv = "VIFPLUG_PATHS_OWNER"

type order struct {
	Mode  shortcut.Mode
	Dir   string
	Ports []shortcut.Port
	Learn shortcut.MAC // behind the last port
}

func own() int {
	if err := hold(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func hold() error {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(ownerEnv)), &o); err != nil {
		return err
	}
	c, err := bridge.Open()
	if err != nil {
		return err
	}
	m, err := shortcut.Open(shortcut.Config{Mode: o.Mode, Classifier: c, Dir: o.Dir})
	if err != nil {
		return err
	}
	for _, p := range o.Ports {
		if err := m.Set(p); err != nil {
			return err
		}
	}
	last := o.Ports[len(o.Ports)-1]
	if err := m.Learn(last.Bridge, o.Learn, 0, last.Index); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin) // until it is killed
	return err
}

// owner starts that process.
func owner(t *testing.T, o order) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(o)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self)
	c.Env = append(os.Environ(), ownerEnv+"="+string(b))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = in.Close() })
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return c
}

// pins is a directory in a bpffs of the test's own mount namespace.
func pins(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		if os.Getenv("VIFPLUG_CI") == "1" {
			t.Fatalf("mount a bpffs: %v", err)
		}
		t.Skipf("mount a bpffs: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(dir, 0)) })
	return filepath.Join(dir, "guards")
}

func TestOwnerIsKilled(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l := newLAN(t)
		dir := pins(t)
		guarded, free := l.port("p1", "1.0", guest1, true), l.port("p2", "2.0", guest2, false)
		c := owner(t, order{mode, dir, []shortcut.Port{guarded, free, l.uplink()}, outside})
		l.send("w", outside, all, 64)
		l.send("g1", guest1, all, 64)
		// Unless the shortcut is told, it sends on to where a station was: so a test sees which way frames take.
		l.send("y", outside, all, 64)
		require.Equal(t, []string{"w"}, l.send("g1", guest1, outside, 64), "by the shortcut")
		l.send("w", outside, all, 64)

		var ids []string
		for i := range 3000 {
			if i == 1000 {
				require.NoError(t, c.Process.Kill())
			}
			ids = append(ids, string(l.write("g1", guest1, outside, 64)))
		}
		_ = c.Wait() // it was killed
		got := l.arrived()["w"]
		for i, id := range ids {
			require.Equal(t, 1, got[id], "frame %d", i)
		}
		l.send("y", outside, all, 64)
		late := time.Now().Add(10 * time.Second)
		for at := ""; at != "[y]"; at = fmt.Sprint(l.send("g1", guest1, outside, 64)) {
			require.True(t, time.Now().Before(late), "frames are still sent on, to %s", at)
		}
		if mode == shortcut.TCX {
			res, err := link.QueryPrograms(link.QueryOptions{Target: l.index["p2"], Attach: ebpf.AttachTCXIngress})
			require.NoError(t, err)
			require.Empty(t, res.Programs, "a port without a guard")
		}
		require.Empty(t, l.send("g1", guest2, outside, 64), "the guard stays")
		require.Equal(t, []string{"y"}, l.send("g1", guest1, outside, 64))
		require.Equal(t, []string{"y"}, l.send("g2", guest1, outside, 64), "where there was none there is none")

		l.next(mode, dir, guarded)
	})
}

// next is the next life's manager.
func (l *lan) next(mode shortcut.Mode, dir string, guarded shortcut.Port) {
	t := l.t
	m := l.manager(mode, dir)
	found, err := m.Adopt()
	require.NoError(t, err)
	if mode == shortcut.TCX {
		require.Equal(t, []int{guarded.Index}, found)
		foreign, err := m.Foreign(guarded.Index)
		require.NoError(t, err)
		require.Empty(t, foreign)
	}
	// From one program to the next there is no gap: spoofed frames go on meanwhile.
	stop, done := make(chan struct{}), make(chan error, 1)
	go l.runSpoof(stop, done)
	for i := range 50 {
		p := guarded
		p.Redirect = i%2 == 0
		require.NoError(t, m.Set(p))
	}
	close(stop)
	require.NoError(t, <-done)
	for _, end := range []string{"w", "y"} {
		require.Empty(t, l.arrived()[end], "%s has spoofed frames", end)
	}
	require.NoError(t, m.Close())
	require.Empty(t, l.send("g1", guest2, outside, 64), "after Close the guard stays")
	require.Equal(t, []string{"y"}, l.send("g1", guest1, outside, 64))

	m = l.manager(mode, dir)
	_, err = m.Adopt()
	require.NoError(t, err)
	require.NoError(t, m.Remove(guarded.Index))
	require.Equal(t, []string{"y"}, l.send("g1", guest2, outside, 64), "after Remove there is none")
	if mode == shortcut.Clsact {
		return
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)

	require.NoError(t, m.Set(guarded))
	require.NoError(t, m.Close())
	require.NoError(t, bridgetest.Delete("p1"))
	m = l.manager(mode, dir)
	found, err = m.Adopt()
	require.NoError(t, err)
	require.Empty(t, found)
	entries, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "what was of a device that is gone is cleared away")
}

// runSpoof sends frames with another's address from the guarded guest, until it is stopped.
func (l *lan) runSpoof(stop <-chan struct{}, done chan<- error) {
	f := make([]byte, 64)
	copy(f, outside[:])
	copy(f[6:], guest2[:])
	f[12], f[13] = 0x88, 0xb5
	for {
		select {
		case <-stop:
			done <- nil
			return
		default:
		}
		if _, err := unix.Write(l.fd["g1"], f); err != nil {
			done <- err
			return
		}
	}
}
