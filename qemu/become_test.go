package qemu_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/qemu"
)

// TestBecomeChild is the process that [TestBecome] starts, and is no test by itself.
func TestBecomeChild(t *testing.T) {
	if os.Getenv("BECOME") == "" {
		return
	}
	f, err := os.Open(os.Getenv("BECOME"))
	require.NoError(t, err)
	hidden, err := os.Open(os.DevNull)
	require.NoError(t, err)
	fd := qemu.Numbers([]*os.File{f})
	script := `read line <&` + fd + `; echo "$line $$ $# $1"; ulimit -l; ls /proc/self/fd/` + strconv.Itoa(int(hidden.Fd())) + ` 2>&1 | grep -c "No such"`
	t.Fatal(qemu.Become([]string{"sh", "-c", script, "sh", "an argument"}, []*os.File{f}, 1<<20))
}

// The process goes on as the other, with its number, the files and leave to lock memory, and with nothing else open.
func TestBecome(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, []byte("contents\n"), 0o600))
	c := exec.Command("sh", "-c", `ulimit -S -l 1024; exec "$0" -test.run '^TestBecomeChild$'`, os.Args[0])
	c.Env = append(os.Environ(), "BECOME="+file)
	out, err := c.Output()
	require.NoError(t, err, string(out))
	lines := strings.Split(string(out), "\n")
	require.Len(t, lines, 4, string(out))
	assert.Equal(t, "contents "+strconv.Itoa(c.Process.Pid)+" 1 an argument", lines[0])
	assert.Equal(t, "2048", lines[1], "KiB that may be locked")
	assert.Equal(t, "1", lines[2], "what was not handed over is closed")
}

func TestBecomeRefuses(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.ErrorIs(t, qemu.Become([]string{"sh"}, nil, 0), os.ErrNotExist)
	require.ErrorIs(t, qemu.Become([]string{"/nowhere/qemu"}, nil, 0), os.ErrNotExist)
	require.ErrorContains(t, qemu.Become(nil, nil, 0), "no command")
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.ErrorContains(t, qemu.Become([]string{"/bin/sh"}, []*os.File{f}, 0), "hand over")
}
