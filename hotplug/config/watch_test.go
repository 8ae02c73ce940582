package config

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watching watches a directory and counts calls; each call reads the configuration, as the daemon does.
type watching struct {
	*testing.T
	dir   string
	calls chan Config
	logs  lockedBuffer
}

func watch(t *testing.T, dir string) *watching {
	t.Helper()
	w := &watching{T: t, dir: dir, calls: make(chan Config, 100)}
	n, err := Watch(dir, slog.New(slog.NewTextHandler(&w.logs, nil)), func() {
		c, err := Load(dir)
		assert.NoError(t, err)
		w.calls <- c
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	return w
}

func (w *watching) write(name, text string) {
	w.Helper()
	require.NoError(w, os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600))
}

// next waits for a call.
func (w *watching) next() Config {
	w.Helper()
	select {
	case c := <-w.calls:
		return c
	case <-time.After(10 * time.Second):
		require.Fail(w, "no call in 10 s", w.logs.String())
		panic("not reached")
	}
}

// silent waits until a burst would be over twice; nothing tells that no event has come.
func (w *watching) silent(why string) {
	w.Helper()
	select {
	case <-w.calls:
		assert.Fail(w, "called for nothing", why)
	case <-time.After(2*quiet + 50*time.Millisecond):
	}
}

// over waits until calls have ceased.
func (w *watching) over() {
	for {
		select {
		case <-w.calls:
		case <-time.After(2*quiet + 50*time.Millisecond):
			return
		}
	}
}

func TestWatchSeesAWrittenFile(t *testing.T) {
	w := watch(t, t.TempDir())
	w.write(MainFile, `control.readers = "a"`)
	assert.Equal(t, "a", w.next().Readers)
	require.NoError(t, os.Remove(filepath.Join(w.dir, MainFile)))
	assert.Empty(t, w.next().Readers, "a file that is removed is a change")
}

// A burst is one call, after its end, so that no half-written file is read. On a machine that is so busy that the writer itself pauses, the burst
// was none: it is tried again.
func TestWatchDebounces(t *testing.T) {
	w := watch(t, dirOf(t, map[string]string{MainFile: "", "conf.d/a.toml": ""}))
	for range 20 {
		pause, last := time.Duration(0), time.Now()
		for i := range 50 {
			w.write("conf.d/a.toml", `control.readers = "half"`)
			w.write(MainFile, "# change "+string(rune('a'+i%26)))
			pause, last = max(pause, time.Since(last)), time.Now()
		}
		w.write("conf.d/a.toml", `control.readers = "whole"`)
		if pause = max(pause, time.Since(last)); pause < quiet/2 {
			assert.Equal(t, "whole", w.next().Readers)
			w.silent("a burst is one call")
			return
		}
		w.over()
	}
	t.Error("this machine is too busy to write fifty files within a second")
}

// Editors write another file and rename it over the old one, again and again: the directory is watched, not the file that is gone.
func TestWatchSeesRenameOver(t *testing.T) {
	w := watch(t, dirOf(t, map[string]string{MainFile: ""}))
	for _, group := range []string{"a", "b", "c"} {
		w.write(".vifplug.toml.swp", `control.readers = "`+group+`"`)
		require.NoError(t, os.Rename(filepath.Join(w.dir, ".vifplug.toml.swp"), filepath.Join(w.dir, MainFile)))
		assert.Equal(t, group, w.next().Readers)
	}
}

func TestWatchSeesConfDThatComesLater(t *testing.T) {
	w := watch(t, t.TempDir())
	for _, group := range []string{"first", "again"} {
		require.NoError(t, os.Mkdir(filepath.Join(w.dir, "conf.d"), 0o755))
		w.next()
		w.write("conf.d/a.toml", `control.readers = "`+group+`"`)
		assert.Equal(t, group, w.next().Readers)
		require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "conf.d")))
		assert.Empty(t, w.next().Readers)
		for len(w.calls) > 0 {
			<-w.calls
		}
	}
}

func TestWatchIgnoresOtherFiles(t *testing.T) {
	w := watch(t, dirOf(t, map[string]string{MainFile: "", "conf.d/a.toml": ""}))
	w.write("notes.txt", "x")
	w.write("conf.d/a.toml~", "x")
	w.write("conf.d/4913", "x") // vim tries whether it may write
	require.NoError(t, os.Symlink("me@host.123", filepath.Join(w.dir, ".#vifplug.toml")))
	_, err := os.ReadFile(filepath.Join(w.dir, MainFile))
	require.NoError(t, err)
	w.silent("nothing of the configuration has changed")
}

// A host without the directory is watched for nothing, and that is no error.
func TestWatchWithoutDirectory(t *testing.T) {
	watch(t, filepath.Join(t.TempDir(), "none"))
}

// Close waits for a call that is under way, and none comes after it.
func TestWatchClose(t *testing.T) {
	dir := t.TempDir()
	began, end := make(chan struct{}), make(chan struct{})
	n, err := Watch(dir, slog.New(slog.DiscardHandler), func() { close(began); <-end })
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, MainFile), nil, 0o600))
	<-began
	closed := make(chan error, 1)
	go runClose(n, closed)
	select {
	case <-closed:
		assert.Fail(t, "closed while a call was under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(end)
	require.NoError(t, <-closed)
}

func runClose(n *Watcher, closed chan<- error) { closed <- n.Close() }

// lockedBuffer is a buffer that a logger and a test share.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
