package job

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMessages(t *testing.T) {
	for line, want := range map[string]struct {
		message Message
		status  int
		ends    bool
	}{
		"ready\n":     {Message{"ready", 0}, 0, false},
		"exit 0\n":    {Message{"exit", 0}, 0, true},
		"exit 2\n":    {Message{"exit", 2}, 2, true},
		"exit 255\n":  {Message{"exit", 255}, 255, true},
		"killed 9\n":  {Message{"killed", 9}, 137, true},
		"signal 15\n": {Message{"signal", 15}, 0, false},
	} {
		got, err := ParseMessage(line)
		require.NoError(t, err, line)
		assert.Equal(t, want.message, got)
		assert.Equal(t, line, got.String())
		status, ends := got.Status()
		assert.Equal(t, want.status, status, line)
		assert.Equal(t, want.ends, ends, line)
	}
	for _, line := range []string{"", "\n", "ready 1", "exit", "exit ", "exit -1", "exit 256", "exit 1 2", "EXIT 1", "killed x", "exit +1"} {
		_, err := ParseMessage(line)
		require.Error(t, err, "%q", line)
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{"ready", "exit 0", "killed 9", "signal 15\n", "exit 00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := ParseMessage(line)
		if err != nil {
			return
		}
		again, err := ParseMessage(m.String())
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "job.json")
	want := Job{Args: []string{"/bin/x", "a b", "\n"}, Dir: "/d", Env: []string{"A=1"}, Merge: true}
	b, err := want.Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	got, err := Load(path)
	require.NoError(t, err)
	assert.Equal(t, want, got)

	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	_, err = Load(path)
	require.ErrorContains(t, err, "no command")
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = Load(path)
	require.ErrorContains(t, err, path)
	_, err = Load(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// serve runs a job as the agent does, and gives what each channel carried.
func serve(t *testing.T, j Job, host func(control net.Conn)) (out, errout, control string) {
	t.Helper()
	ours, theirs := net.Pipe()
	said := make(chan string, 1)
	go runHost(ours, host, said)
	var o, e bytes.Buffer
	j.Args = append([]string{"/bin/sh", "-c"}, j.Args...)
	require.NoError(t, Serve(j, &o, &e, theirs))
	require.NoError(t, theirs.Close())
	return o.String(), e.String(), <-said
}

// runHost reads all that the agent says; after "ready" the host may say something.
func runHost(c net.Conn, host func(net.Conn), said chan<- string) {
	ready := make([]byte, len("ready\n"))
	_, _ = io.ReadFull(c, ready)
	if host != nil {
		host(c)
	}
	rest, _ := io.ReadAll(c)
	_ = c.Close()
	said <- string(ready) + string(rest)
}

func TestServe(t *testing.T) {
	for name, tt := range map[string]struct {
		job                  Job
		out, errout, control string
	}{
		"success":           {Job{Args: []string{"echo hi"}}, "hi\n", "", "ready\nexit 0\n"},
		"failure":           {Job{Args: []string{"echo oh >&2; exit 3"}}, "", "oh\n", "ready\nexit 3\n"},
		"killed":            {Job{Args: []string{"kill -9 $$"}}, "", "", "ready\nkilled 9\n"},
		"merged, in order":  {Job{Args: []string{"echo 1; echo 2 >&2; echo 3"}, Merge: true}, "1\n2\n3\n", "", "ready\nexit 0\n"},
		"directory":         {Job{Args: []string{"pwd"}, Dir: "/usr"}, "/usr\n", "", "ready\nexit 0\n"},
		"environment":       {Job{Args: []string{"echo $A"}, Env: []string{"A=b c"}}, "b c\n", "", "ready\nexit 0\n"},
		"bytes as they are": {Job{Args: []string{`printf 'a\r\n\000\377'`}}, "a\r\n\x00\xff", "", "ready\nexit 0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errout, control := serve(t, tt.job, nil)
			assert.Equal(t, tt.out, out)
			assert.Equal(t, tt.errout, errout)
			assert.Equal(t, tt.control, control)
		})
	}
}

func TestServePassesSignalsOn(t *testing.T) {
	_, _, control := serve(t, Job{Args: []string{"trap 'exit 42' TERM; while :; do read x < /dev/zero; done"}}, func(c net.Conn) {
		_, _ = io.WriteString(c, "noise\nsignal 9\n")
	})
	assert.Equal(t, "ready\nkilled 9\n", control)
}

func TestServeDoesNotWaitForDaemons(t *testing.T) {
	// the daemon is known by the file that it writes its id to
	pidFile := filepath.Join(t.TempDir(), "pid")
	out, errout, control := serve(t, Job{Args: []string{"setsid sleep 1000 & echo $! > " + pidFile + "; echo done"}}, nil)
	b, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	t.Cleanup(func() { killPid(t, strings.TrimSpace(string(b))) })
	assert.Equal(t, "done\n", out)
	assert.Contains(t, errout, "still holds its output")
	assert.Equal(t, "ready\nexit 0\n", control)
}

func TestServeSaysWhatCannotStart(t *testing.T) {
	ours, theirs := net.Pipe()
	said := make(chan string, 1)
	go runHost(ours, nil, said)
	var o, e bytes.Buffer
	require.NoError(t, Serve(Job{Args: []string{"/no/such/program"}}, &o, &e, theirs))
	require.NoError(t, theirs.Close())
	assert.Contains(t, e.String(), "start /no/such/program in dom0")
	assert.Equal(t, "ready\nexit 127\n", <-said)
}

func TestServeWithoutHost(t *testing.T) {
	ours, theirs := net.Pipe()
	require.NoError(t, ours.Close())
	require.ErrorContains(t, Serve(Job{Args: []string{"/bin/true"}}, io.Discard, io.Discard, theirs), "tell the host")
}

func TestOpenPorts(t *testing.T) {
	class, dev := t.TempDir(), t.TempDir()
	port := func(device, name string) {
		require.NoError(t, os.Mkdir(filepath.Join(class, device), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(class, device, "name"), []byte(name+"\n"), 0o600))
		require.NoError(t, syscall.Mkfifo(filepath.Join(dev, device), 0o600))
	}
	port("vport0p3", PortControl)
	port("vport0p1", PortOut)
	_, err := openPorts(class, dev)
	require.ErrorContains(t, err, PortErr)
	port("vport0p2", PortErr)
	ports, err := openPorts(class, dev)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dev, "vport0p2"), ports[PortErr].Name())
	for _, f := range ports {
		require.NoError(t, f.Close())
	}
}

func killPid(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	_ = syscall.Kill(n, syscall.SIGKILL)
}
