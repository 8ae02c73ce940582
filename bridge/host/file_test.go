package host

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/network"
)

func TestFileIsReplacedWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "applied.json")
	var got applied
	found, err := readFile(path, &got)
	require.NoError(t, err)
	assert.False(t, found, "none is no error")

	want := applied{Version: version, ID: "one", Time: time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC), Spec: network.Spec{Networks: []network.Network{{
		Number: 1, Name: "guests", ID: "4b", On: "bond0", VLAN: 13, Roles: network.VirtualMachine,
	}}}}
	require.NoError(t, os.WriteFile(path+".new", []byte("left by a writer that died"), 0o600))
	require.NoError(t, writeFile(path, want))
	found, err = readFile(path, &got)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, want, got)
	assert.NoFileExists(t, path+".new")

	require.NoError(t, removeFile(path))
	require.NoError(t, removeFile(path), "one that is gone is removed")
	assert.NoFileExists(t, path)
}

func TestFileIsReadStrictly(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"cut short":    {`{"version":1,"id":"x"`, "is damaged"},
		"empty":        {``, "is damaged"},
		"unknown key":  {`{"version":1,"color":"red"}`, `unknown field "color"`},
		"of tomorrow":  {`{"version":2,"color":"red"}`, "has version 2, this program knows 1"},
		"of no age":    {`{"id":"x"}`, "has version 0"},
		"two of them":  {`{"version":1}{"version":1}`, "after top-level value"},
		"another type": {`{"version":1,"id":7}`, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "applied.json")
			require.NoError(t, os.WriteFile(path, []byte(tc.text), 0o600))
			_, err := readFile(path, new(applied))
			require.ErrorContains(t, err, tc.want)
			assert.ErrorContains(t, err, path, "it says which file")
			assert.ErrorContains(t, err, "move it away", "and what to do")
		})
	}
}

func TestFileErrorsSayWhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	require.ErrorContains(t, writeFile(filepath.Join(dir, "x"), applied{}), "write state")
	require.ErrorContains(t, removeFile(filepath.Join(dir, "x")), "write state")
	_, err := readFile(t.TempDir(), new(applied))
	require.ErrorContains(t, err, "read state")
	_, err = lockFile(t.Context(), filepath.Join(dir, "lock"))
	require.ErrorContains(t, err, "lock")
}

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	require.NoError(t, err)

	short, cancel := context.WithTimeout(t.Context(), 3*lockEvery)
	defer cancel()
	_, err = lockFile(short, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "another process is changing the networks")

	got := make(chan error, 1)
	go runLock(t.Context(), path, got)
	require.NoError(t, unlock())
	require.NoError(t, <-got, "who waits gets it")
}

func runLock(ctx context.Context, path string, got chan<- error) {
	unlock, err := lockFile(ctx, path)
	if err == nil {
		err = unlock()
	}
	got <- err
}

// A reader sees the old file or the new, never a part, however often it is replaced.
func TestFileIsNeverSeenInParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "applied.json")
	require.NoError(t, writeFile(path, applied{Version: version, ID: "0"}))
	stop, done := make(chan struct{}), make(chan error, 1)
	go runWrites(path, stop, done)
	for range 300 {
		found, err := readFile(path, new(applied))
		require.NoError(t, err)
		require.True(t, found)
	}
	close(stop)
	require.NoError(t, <-done)
}

func runWrites(path string, stop <-chan struct{}, done chan<- error) {
	a := applied{Version: version, Spec: network.Spec{Networks: make([]network.Network, 50)}}
	for {
		select {
		case <-stop:
			done <- nil
			return
		default:
			a.ID = newID()
			if err := writeFile(path, a); err != nil {
				done <- err
				return
			}
		}
	}
}

func TestKernelClock(t *testing.T) {
	var c kernelClock
	boot, err := c.Boot()
	require.NoError(t, err)
	assert.Regexp(t, `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`, boot)
	one, err := c.Uptime()
	require.NoError(t, err)
	two, err := c.Uptime()
	require.NoError(t, err)
	assert.Positive(t, one)
	assert.GreaterOrEqual(t, two, one)
}
