package systemd

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/slogtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logged starts a child that logs one line, with stderr being the file given, and $JOURNAL_STREAM what stream makes of that file's place.
func logged(t *testing.T, journal string, stream func(dev, ino uint64) string) (stdout, stderr string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer file.Close()
	var st syscall.Stat_t
	require.NoError(t, syscall.Fstat(int(file.Fd()), &st))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childEnv+"=log", "TEST_JOURNAL="+journal, "JOURNAL_STREAM="+stream(st.Dev, st.Ino))
	cmd.Stderr = file
	out, err := cmd.Output()
	require.NoError(t, err)
	text, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	return string(out), string(text)
}

func TestLogUnderSystemd(t *testing.T) {
	path, read := datagrams(t)
	same := func(dev, ino uint64) string { return fmt.Sprintf("%d:%d", dev, ino) }
	stdout, stderr := logged(t, path, same)
	assert.Equal(t, "under systemd: true\n", stdout)
	assert.Empty(t, stderr)
	assert.Contains(t, read(), "DOMID=5\n")

	stdout, stderr = logged(t, path+"-none", same)
	assert.Equal(t, "under systemd: true\n", stdout)
	assert.Contains(t, stderr, "msg=hello domid=5\n", "no journal, so text")
}

func TestLogElsewhere(t *testing.T) {
	path, _ := datagrams(t)
	for _, stream := range []func(dev, ino uint64) string{
		func(uint64, uint64) string { return "" },
		func(dev, ino uint64) string { return fmt.Sprintf("%d:%d", dev, ino+1) }, // stderr was redirected
		func(dev, ino uint64) string { return fmt.Sprintf("%d:%d", dev+1, ino) },
		func(uint64, uint64) string { return "garbage" },
	} {
		stdout, stderr := logged(t, path, stream)
		assert.Equal(t, "under systemd: false\n", stdout)
		assert.Contains(t, stderr, "level=INFO msg=hello domid=5\n")
	}
}

func TestTextHandlerSlogtest(t *testing.T) {
	var out bytes.Buffer
	h := newTextHandler(&LogOptions{Stderr: &out})
	require.NoError(t, slogtest.TestHandler(h, func() []map[string]any {
		var all []map[string]any
		for line := range strings.Lines(out.String()) {
			all = append(all, parseText(strings.TrimSuffix(line, "\n")))
		}
		return all
	}))
}

func parseText(line string) map[string]any {
	top := map[string]any{}
	for _, pair := range strings.Split(line, " ") {
		key, value, _ := strings.Cut(pair, "=")
		m := top
		path := strings.Split(key, ".")
		for _, group := range path[:len(path)-1] {
			if m[group] == nil {
				m[group] = map[string]any{}
			}
			m = m[group].(map[string]any)
		}
		m[path[len(path)-1]] = value
	}
	return top
}

func TestTextHandlerCaps(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newTextHandler(&LogOptions{Stderr: &out}))
	log.Info("x", "domain", strings.Repeat("d", 1<<20), "err", fmt.Errorf("%s\n", strings.Repeat("e", 1<<20)), "net", net.IPv4zero)
	assert.Less(t, out.Len(), 3*maxValue)
	assert.Contains(t, out.String(), "net=0.0.0.0\n")
	assert.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"vif5.0", "a\nb", "\xff", "\u202e", "\uFFFD", strings.Repeat("é", maxValue)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, maxValue)
		require.Equal(t, got, clean(got, 5*maxValue), "what is clean stays as it is")
		require.NotContains(t, got, "\n")
		require.LessOrEqual(t, len(got), 4*maxValue+16)
	})
}
