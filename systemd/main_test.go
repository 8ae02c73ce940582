package systemd

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// childEnv makes the test binary play the daemon: what systemd hands over can only be seen by a process that was started so.
const childEnv = "VIFPLUG_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		if err := child(mode); err != nil {
			fmt.Println("error:", err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// need skips where a program of Debian's package systemd is not installed; the project's own CI installs it, and there its absence is a failure.
func need(t *testing.T, program string) {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skipf("needs %s (Debian package systemd)", program)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func child(mode string) error {
	switch mode {
	case "listeners", "listeners-control":
		// The test cannot know the child's process id before it is started.
		if os.Getenv("LISTEN_PID") == "self" {
			os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		}
		return childListeners(mode)
	case "serve":
		return childServe()
	case "log":
		h, done := NewLogHandler(&LogOptions{Socket: os.Getenv("TEST_JOURNAL")})
		slog.New(h).Info("hello", "domid", 5)
		fmt.Println("under systemd:", UnderSystemd())
		return done()
	}
	return fmt.Errorf("no such child: %s", mode)
}

func childListeners(mode string) error {
	var names []string
	if mode == "listeners-control" {
		names = []string{"control"}
	}
	got, err := Listeners(names...)
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") {
			fmt.Println("left:", v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		fmt.Println(name, got[name].Addr().Network(), got[name].Addr())
		if err := got[name].Close(); err != nil {
			return err
		}
	}
	return err
}

// childServe answers one caller, as a daemon that was started on demand.
func childServe() error {
	got, err := Listeners("control")
	if err != nil || got["control"] == nil {
		return fmt.Errorf("no socket: %v %w", got, err)
	}
	defer got["control"].Close()
	conn, err := got["control"].Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	question, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	_, err = conn.Write(append([]byte("answer to "), question...))
	return err
}

// datagrams opens a socket at which a daemon's messages arrive.
func datagrams(t *testing.T) (path string, read func() string) {
	t.Helper()
	path = t.TempDir() + "/socket"
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return path, func() string {
		t.Helper()
		buf := make([]byte, 1<<20)
		n, _, err := conn.ReadFromUnix(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}
