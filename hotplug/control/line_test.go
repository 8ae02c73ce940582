package control

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
	"vifplug/hotplug/ask"
)

// say sends pieces on a connection of its own, and gives all that comes back.
func (s *service) say(c net.Conn, pieces ...string) string {
	s.Helper()
	defer c.Close() //nolint:errcheck // read to its end
	for _, p := range pieces {
		_, err := io.WriteString(c, p)
		require.NoError(s, err)
	}
	require.NoError(s, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	b, err := io.ReadAll(c)
	require.NoError(s, err)
	return string(b)
}

func (s *service) dial() net.Conn {
	s.Helper()
	c, err := net.Dial("unix", s.socket)
	require.NoError(s, err)
	return c
}

func TestLine(t *testing.T) {
	s := serve(t)
	const gone = "refused there is no backend node for this NIC. Nothing: the device is being removed.\n"
	for question, want := range map[string]string{
		"hotplug online vif backend/vif/3/0 vif3.0\n":                 gone,
		"hotplug online vif /local/domain/0/backend/vif/3/0 vif3.0\n": gone,
		"hotplug offline vif backend/vif/3/0 \n":                      "done\n",
		"hotplug add tap backend/vif/99/0 \n":                         "done\n",
		"hotplug online tap  \n":                                      "done\n",
	} {
		assert.Equal(t, want, s.say(s.dial(), question), question)
	}
	for _, senseless := range []string{
		"hotplug \n", "hotplug up vif backend/vif/3/0 vif3.0\n", "hotplug online vif backend/vif/x/0 vif3.0\n", "hotplug online vif backend/vif/3/0\n",
	} {
		assert.Regexp(t, `^refused .*(want|no domid).*\n$`, s.say(s.dial(), senseless), senseless)
	}
}

// Whatever the pieces in which it comes, a question is a question and HTTP is HTTP.
func TestLineInPieces(t *testing.T) {
	s := serve(t)
	assert.Equal(t, "done\n", s.say(s.dial(), strings.Split("hotplug offline vif backend/vif/3/0 \n", "")...))
	got := s.say(s.dial(), strings.Split("GET /v1/domains HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "")...)
	assert.True(t, strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n"), got)
	got = s.say(s.dial(), "hotwater\r\n\r\n")
	assert.True(t, strings.HasPrefix(got, "HTTP/1.1 400 "), "what only begins like a question goes to the server of HTTP: %s", got)
	endless := s.dial()
	_, err := io.WriteString(endless, "hotplug "+strings.Repeat("x", ask.MaxLine))
	require.NoError(t, err)
	_, err = io.ReadAll(endless)
	assert.Error(t, err, "cut off, with something unread")
	assert.NoError(t, endless.Close())
}

// vif-plug's question is for those who may change things, as everything that changes.
func TestLineRefusesStrangers(t *testing.T) {
	needRoot(t)
	s := serve(t)
	const readers = 4242
	s.server.SetReaders(readers)
	for uid, want := range map[int]string{0: "done\n", 1000: "refused user 1000 may not change anything here. Run vif-plug as root\n"} {
		c, err := dialAs(s.socket, uid, readers)(t.Context(), "", "")
		require.NoError(t, err)
		assert.Equal(t, want, s.say(c, "hotplug offline vif backend/vif/3/0 \n"))
	}
}

// A daemon that stops tells those who wait to ask its successor, and waits for nobody who has not said what he wants.
func TestCloseAnswersLines(t *testing.T) {
	s := serve(t)
	s.guest(3, "web01")
	answer := make(chan string, 1)
	waits, silent, half := s.dial(), s.dial(), s.dial()
	go runSay(s, waits, answer)
	_, err := io.WriteString(half, "hotplug onl")
	require.NoError(t, err)
	s.serving(1)
	require.Eventually(t, func() bool { return s.server.lines.waiting() == 3 }, 10*time.Second, time.Millisecond)
	start := time.Now()
	require.NoError(t, s.server.Close())
	assert.Equal(t, ask.Stopping(), <-answer)
	assert.Less(t, time.Since(start), 5*time.Second)
	for _, c := range []net.Conn{silent, half} {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(make([]byte, 10))
		assert.Zero(t, n)
		assert.NoError(t, c.Close())
	}
}

func runSay(s *service, c net.Conn, answer chan<- string) {
	answer <- s.say(c, "hotplug online vif backend/vif/3/0 vif3.0\n")
}

func (s *lines) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// The client of vif-plug and this server understand each other.
func TestLineWithAsk(t *testing.T) {
	s := serve(t)
	inv := ask.Invocation{Command: "offline", Type: "vif", XenbusPath: "backend/vif/3/0", VIF: "vif3.0"}
	require.NoError(t, ask.Ask(s.socket, inv, time.Now().Add(time.Minute)))
	inv.Command = "online"
	var refused *ask.Refused
	require.ErrorAs(t, ask.Ask(s.socket, inv, time.Now().Add(time.Minute)), &refused)
	assert.EqualError(t, s.server.hotplug(context.Background(), inv), refused.Text)
	assert.NotErrorIs(t, refused, hotplug.ErrStopping)
}

// stumbling is a listener whose first Accept fails as it does for want of descriptors.
type stumbling struct {
	net.Listener
	stumbled bool // runAccept's alone
}

func (l *stumbling) Accept() (net.Conn, error) {
	if !l.stumbled {
		l.stumbled = true
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// An error that passes ends nothing, neither for vif-plug nor for HTTP.
func TestAcceptThatFailsOnce(t *testing.T) {
	s := serve(t)
	l, err := net.Listen("unix", s.socket+"-stumbling")
	require.NoError(t, err)
	served := make(chan error, 1)
	go runServeOn(s.server, &stumbling{Listener: l}, served)
	s.socket += "-stumbling"
	assert.Equal(t, "done\n", s.say(s.dial(), "hotplug offline vif backend/vif/3/0 \n"))
	assert.Equal(t, 200, s.ask("GET", "/v1/domains").code)
	require.NoError(t, s.server.Close())
	assert.NoError(t, <-served)
}

func runServeOn(s *Server, l net.Listener, served chan<- error) { served <- s.Serve(l) }
