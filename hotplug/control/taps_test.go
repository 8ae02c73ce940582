package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTapQuestion(t *testing.T) {
	for line, want := range map[string]Tap{
		"tap create web01 0\n": {Domain: "web01"},
		"tap create 23 4294967295 owner=65534 queues=4 vnet-hdr xapi\n": {Domain: "23", Device: 4294967295, Owner: 65534, Queues: 4, VNetHdr: true, XAPI: true},
		"tap delete 23 1 xapi\n":   {Domain: "23", Device: 1, XAPI: true},
		"tap delete 23 1 af-xdp\n": {Domain: "23", Device: 1, AFXDP: true},
	} {
		got, verb, handOver, err := parseTap(line)
		require.NoError(t, err, line)
		assert.Equal(t, want, got)
		assert.False(t, handOver)
		assert.Equal(t, line, got.line(verb, false))
	}
	for _, line := range []string{
		"tap\n", "tap create\n", "tap create web01\n", "tap make web01 0\n", "tap create  0\n", "tap create web01 x\n", "tap create web01 -1\n", "tap create web01 4294967296\n",
		"tap create web01 0 owner=x\n", "tap create web01 0 what\n", "tap create web01 0 queues=254 fds\n", "tap delete web01 0 vnet-hdr\n", "tap delete web01 0 fds\n", "tap create web01 0\r\n",
		"tap create web01 0 af-xdp\n", "tap create web01 0 af-xdp xapi fds\n", "tap create web01 0 af-xdp owner=5 fds\n", "tap create web01 0 af-xdp queues=2 fds\n",
		"tap create web01 0 af-xdp vnet-hdr fds\n", "tap delete web01 0 af-xdp xapi\n",
	} {
		_, _, _, err := parseTap(line)
		if assert.Error(t, err, line) {
			assert.NotContains(t, err.Error(), "\n", "one line")
		}
	}
}

func FuzzTapQuestion(f *testing.F) {
	f.Add("tap create 23 0 owner=1 queues=4 vnet-hdr xapi fds\n")
	f.Add("tap delete web01 1\n")
	f.Add("tap create 23 0 af-xdp fds\n")
	f.Fuzz(func(t *testing.T, line string) {
		q, verb, handOver, err := parseTap(line)
		if err != nil || strings.Contains(q.Domain, "\n") {
			return
		}
		again, verb2, handOver2, err := parseTap(q.line(verb, handOver))
		if err != nil || again != q || verb2 != verb || handOver2 != handOver {
			t.Errorf("%q: %+v came as %+v, %v", line, q, again, err)
		}
	})
}

func TestTapRefusals(t *testing.T) {
	s := serve(t)
	s.guest(3, "web01")
	c := s.client()
	_, err := c.CreateTap(t.Context(), Tap{Domain: "web02"})
	require.ErrorContains(t, err, `no guest is called "web02". Did you mean web01?`)
	_, err = c.CreateTap(t.Context(), Tap{Domain: "web01", Queues: 300})
	require.ErrorContains(t, err, "300 queues: want 1 to 256")
	_, err = c.DeleteTap(t.Context(), Tap{Domain: "web01"})
	require.ErrorContains(t, err, "there is no tap vif3.0-emu")
	_, err = c.OpenTap(t.Context(), Tap{Domain: "a\nb"})
	require.ErrorContains(t, err, "no name of a guest")
	_, err = c.OpenTap(t.Context(), Tap{Domain: "web01", Queues: 254})
	require.ErrorContains(t, err, "254 queues are more than the 253 descriptors")
	_, err = c.OpenRings(t.Context(), "web01", 0)
	require.ErrorContains(t, err, "this vifplugd makes no ports for AF_XDP")
	_, err = NewClient("@nobody-is-here").CreateTap(t.Context(), Tap{Domain: "web01"})
	require.ErrorIs(t, err, ErrNotReachable)
}

// Descriptors go with the answer's first byte, and none is left open on either side where the answer is no good.
func TestDescriptorsGoWithTheAnswer(t *testing.T) {
	for _, c := range []struct {
		text  string
		files int
		want  string
	}{
		{"done vif3.0-emu\n", 2, ""},
		{"done vif3.0-emu\n", 1, "1 descriptors came for 2 queues"},
		{"refused it may not be\n", 1, "it may not be"},
		{"stopping\n", 0, "stopping"},
		{"", 0, "stopping"},
	} {
		d := answerOnce(t, c.text, c.files)
		before := descriptors(t)
		tap, err := NewClient(d.socket).OpenTap(t.Context(), Tap{Domain: "web01", Queues: 2})
		require.NoError(t, <-d.done)
		if c.want == "" {
			require.NoError(t, err)
			assert.Equal(t, "vif3.0-emu", tap.Name)
			for _, q := range tap.Queues {
				raw, err := unix.FcntlInt(q.Fd(), unix.F_GETFD, 0)
				require.NoError(t, err)
				assert.NotZero(t, raw&unix.FD_CLOEXEC)
			}
			require.NoError(t, tap.Close())
		} else {
			require.ErrorContains(t, err, c.want)
		}
		for _, f := range d.files {
			require.ErrorIs(t, f.Close(), os.ErrClosed, "the daemon keeps none")
		}
		require.NoError(t, d.Close())
		assert.LessOrEqual(t, descriptors(t), before)
	}
}

// An answer about a port for AF_XDP that is not whole is none, and leaves no descriptor open.
func TestRingsAnswer(t *testing.T) {
	for _, c := range []struct {
		text  string
		files int
		want  string
	}{
		{"done tap3.0 xdp3.0 native\n", 1, ""},
		{"done tap3.0 xdp3.0 native\n", 0, "3 words and 0 descriptors"},
		{"done tap3.0 xdp3.0 native\n", 2, "3 words and 2 descriptors"},
		{"done tap3.0\n", 1, "1 words and 1 descriptors"},
		{"refused it may not be\n", 1, "it may not be"},
	} {
		d := answerOnce(t, c.text, c.files)
		before := descriptors(t)
		p, err := NewClient(d.socket).OpenRings(t.Context(), "web0123456", 0)
		require.NoError(t, <-d.done)
		if c.want == "" {
			require.NoError(t, err)
			assert.Equal(t, []string{"tap3.0", "xdp3.0", "native"}, []string{p.Name, p.Device, string(p.Mode)})
			require.NoError(t, p.Socket.Close())
		} else {
			require.ErrorContains(t, err, c.want)
		}
		require.NoError(t, d.Close())
		assert.LessOrEqual(t, descriptors(t), before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

// answering is a daemon that gives one answer, with descriptors of /dev/null.
type answering struct {
	net.Listener
	socket string
	files  []*os.File
	done   chan error
}

func answerOnce(t *testing.T, text string, files int) *answering {
	t.Helper()
	d := &answering{socket: fmt.Sprintf("@vifplug-control-answer-%d-%d", os.Getpid(), sockets.Add(1)), done: make(chan error, 1)}
	var err error
	d.Listener, err = net.Listen("unix", d.socket)
	require.NoError(t, err)
	for range files {
		f, err := os.Open(os.DevNull)
		require.NoError(t, err)
		d.files = append(d.files, f)
	}
	go runOneAnswer(d.Listener, text, d.files, d.done)
	return d
}

func runOneAnswer(l net.Listener, text string, files []*os.File, done chan<- error) {
	c, err := l.Accept()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, len("tap create web01 0 queues=2 fds\n")))
		send(c, text, files)
		err = errors.Join(err, c.Close())
	}
	done <- err
}

// Who may not change anything gets no tap either.
func TestTapOfAStranger(t *testing.T) {
	s := serve(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	text, files := s.server.answerLine(strangers{b}, "tap create web01 0\n")
	assert.Empty(t, files)
	assert.Contains(t, text, "refused user 0 may not change anything here. Run it as root")
}

// strangers hides who is at the other end.
type strangers struct{ net.Conn }
