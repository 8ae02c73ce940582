package systemd

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unixSocket and its like give a descriptor as systemd would pass it. The listener is closed, its file stays.
func unixSocket(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	defer l.Close()
	f, err := l.File()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func tcpSocket(t *testing.T) *os.File {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer l.Close()
	f, err := l.File()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func datagramSocket(t *testing.T) *os.File {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: t.TempDir() + "/d", Net: "unixgram"})
	require.NoError(t, err)
	defer c.Close()
	f, err := c.File()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// started runs the child with descriptors from 3 on.
func started(t *testing.T, mode, names, pid string, files ...*os.File) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childEnv+"="+mode, "LISTEN_PID="+pid, "LISTEN_FDNAMES="+names, "LISTEN_FDS="+string(rune('0'+len(files))))
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestListenersByName(t *testing.T) {
	dir := t.TempDir()
	a, b := unixSocket(t, dir+"/a"), unixSocket(t, dir+"/b")
	assert.Equal(t, "control unix "+dir+"/b\nmetrics unix "+dir+"/a\n", started(t, "listeners", "metrics:control", "self", a, b))
	assert.FileExists(t, dir+"/a", "systemd's socket outlives the daemon")
}

func TestListenersOfOthers(t *testing.T) {
	s := unixSocket(t, t.TempDir()+"/a")
	assert.Empty(t, started(t, "listeners", "control", "1", s), "the sockets are another process's, and the environment is cleaned")
	assert.Empty(t, started(t, "listeners", "", ""), "no systemd")
}

func TestListenersRefuse(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(dir + "/file")
	require.NoError(t, err)
	defer file.Close()
	for name, tc := range map[string]struct {
		mode, names, want string
		files             []*os.File
	}{
		"name unknown":  {"listeners-control", "vifplugd.socket", `take socket "vifplugd.socket": name is unknown: want FileDescriptorName= to be one of ["control"]`, []*os.File{unixSocket(t, dir+"/1")}},
		"no name":       {"listeners-control", "", `take socket "LISTEN_FD_3": name is unknown`, []*os.File{unixSocket(t, dir+"/2")}},
		"name doubled":  {"listeners", "control:control", `take socket "control": name is there twice`, []*os.File{unixSocket(t, dir+"/3"), unixSocket(t, dir+"/4")}},
		"tcp":           {"listeners", "control", `take socket "control": socket is not a Unix socket: want ListenStream= with a path`, []*os.File{tcpSocket(t)}},
		"datagram":      {"listeners", "control", `take socket "control": socket is not a listening stream`, []*os.File{datagramSocket(t)}},
		"file":          {"listeners", "control", `take socket "control": descriptor is no socket`, []*os.File{file}},
		"one of two":    {"listeners", "good:bad", `take socket "bad": socket is not a Unix socket`, []*os.File{unixSocket(t, dir+"/5"), tcpSocket(t)}},
		"no descriptor": {"listeners", "control:gone", `take socket "gone"`, []*os.File{unixSocket(t, dir+"/6"), nil}},
	} {
		t.Run(name, func(t *testing.T) {
			out := started(t, tc.mode, tc.names, "self", tc.files...)
			assert.Equal(t, 1, strings.Count(out, "\n"), "no listener is given: %s", out)
			assert.Contains(t, out, "error: systemd: "+tc.want)
		})
	}
}

// The real systemd-socket-activate starts the child when the first caller connects, and not before.
func TestSocketActivation(t *testing.T) {
	need(t, "systemd-socket-activate")
	path := t.TempDir() + "/control.sock"
	cmd := exec.Command("systemd-socket-activate", "--fdname=control", "--listen="+path, "--setenv="+childEnv+"=serve", "--setenv=GORACE=atexit_sleep_ms=0", os.Args[0])
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stderr)
	for line := ""; !strings.Contains(line, "Listening on"); {
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("online"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.UnixConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "answer to online", string(answer))
	_, err = io.Copy(io.Discard, lines)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
}
