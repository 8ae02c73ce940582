package realstore

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// start runs a daemon until the test ends. It skips as xenstoretest does, which cannot be used here: it stands on this package.
func start(t *testing.T) *Store {
	t.Helper()
	s, err := Start()
	if errors.Is(err, ErrMissing) && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func dial(t *testing.T, s *Store) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", s.Socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func guestOf(t *testing.T, s *Store, domid uint16) net.Conn {
	t.Helper()
	g, err := s.Guest(domid)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Close()) })
	return g
}

// ask sends a request whose payload has | for NUL, and gives the reply in the same way.
func ask(t *testing.T, c net.Conn, what wire.Type, payload string) string {
	t.Helper()
	_, err := c.Write(wire.AppendMessage(nil, wire.Header{Type: what, ReqID: 7}, []byte(strings.ReplaceAll(payload, "|", "\x00"))))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	head := make([]byte, wire.HeaderSize)
	_, err = io.ReadFull(c, head)
	require.NoError(t, err)
	h, err := wire.ParseHeader(head)
	require.NoError(t, err)
	require.Equal(t, uint32(7), h.ReqID)
	body := make([]byte, h.Len)
	_, err = io.ReadFull(c, body)
	require.NoError(t, err)
	return strings.ReplaceAll(string(body), "\x00", "|")
}

func untilDead(t *testing.T, c net.Conn, domid string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ask(t, c, wire.IsDomainIntroduced, domid+"|") != "F|"; {
		require.True(t, time.Now().Before(deadline), "the daemon does not find domain %s dead", domid)
	}
}

func TestStartServesUntilClose(t *testing.T) {
	s, err := Start()
	if errors.Is(err, ErrMissing) && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	c := dial(t, s)
	assert.Equal(t, "tool|", ask(t, c, wire.Directory, "/|"))
	require.NoError(t, syscall.Kill(s.PID(), 0))
	pid, dir := s.PID(), s.dir
	require.NoError(t, s.Close())
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the daemon outlives Close")
	assert.NoDirExists(t, dir)
	_, err = c.Read(make([]byte, 1))
	assert.Error(t, err)
}

func TestGuestSpeaksOverItsRing(t *testing.T) {
	s := start(t)
	host := dial(t, s)
	_, err := s.Guest(1)
	require.ErrorContains(t, err, "must be introduced first")
	require.Equal(t, "OK|", ask(t, host, wire.Introduce, "1|1|1|"))
	require.Equal(t, "OK|", ask(t, host, wire.Mkdir, "/local/domain/1|"))
	require.Equal(t, "OK|", ask(t, host, wire.SetPerms, "/local/domain/1|n1|"))
	g := guestOf(t, s, 1)
	assert.Equal(t, "EACCES|", ask(t, g, wire.Read, "/tool|"), "a guest is unprivileged")
	big := strings.Repeat("x", 1900) // more than the ring holds, in both directions
	assert.Equal(t, "OK|", ask(t, g, wire.Write, "data|"+big))
	assert.Equal(t, big, ask(t, g, wire.Read, "data|"))
	assert.Equal(t, big, ask(t, host, wire.Read, "/local/domain/1/data|"))
}

func TestGuestReadObeysDeadlineAndClose(t *testing.T) {
	s := start(t)
	require.Equal(t, "OK|", ask(t, dial(t, s), wire.Introduce, "1|1|1|"))
	g := guestOf(t, s, 1)
	require.NoError(t, g.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := g.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, g.SetReadDeadline(time.Time{}))
	read := make(chan error, 1)
	go runRead(g, read)
	require.NoError(t, g.Close())
	assert.ErrorIs(t, <-read, net.ErrClosed)
	_, err = g.Write([]byte("x"))
	assert.ErrorIs(t, err, net.ErrClosed)
}

func runRead(c net.Conn, done chan<- error) {
	_, err := c.Read(make([]byte, 1))
	done <- err
}

func TestKilledDomainIsGoneUntilRevived(t *testing.T) {
	s := start(t)
	host := dial(t, s)
	require.Equal(t, "OK|", ask(t, host, wire.Introduce, "3|1|1|"))
	g := guestOf(t, s, 3)
	require.Equal(t, "/local/domain/3|", ask(t, g, wire.GetDomainPath, "3|"))
	require.NoError(t, s.Kill(3))
	untilDead(t, host, "3")
	_, err := g.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF)
	require.NoError(t, g.Close())

	for _, domid := range []string{"3", "4"} {
		require.Equal(t, "OK|", ask(t, host, wire.Introduce, domid+"|1|1|"))
	}
	require.NoError(t, s.Kill(4)) // has the daemon look again
	untilDead(t, host, "4")
	assert.Equal(t, "F|", ask(t, host, wire.IsDomainIntroduced, "3|"), "it was not revived")

	require.NoError(t, s.Revive(3))
	for _, domid := range []string{"3", "4"} {
		require.Equal(t, "OK|", ask(t, host, wire.Introduce, domid+"|1|1|"))
	}
	require.NoError(t, s.Kill(4))
	untilDead(t, host, "4")
	assert.Equal(t, "/local/domain/3|", ask(t, guestOf(t, s, 3), wire.GetDomainPath, "3|"), "it was revived")
	require.ErrorIs(t, s.Revive(5), os.ErrNotExist, "it was never dead")
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	err := check("/nonexistent/xenstored")
	require.ErrorIs(t, err, ErrMissing)
	assert.ErrorContains(t, err, "/nonexistent/xenstored. apt-get install xen-utils-4.17")
	t.Setenv("PATH", "")
	err = check("/proc/self/exe")
	require.ErrorIs(t, err, ErrMissing)
	assert.ErrorContains(t, err, "gcc. apt-get install gcc")
}
