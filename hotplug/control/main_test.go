package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/bridge"
	"vifplug/hotplug"
	"vifplug/test/standin"
	"vifplug/xenstore"
	"vifplug/xenstore/xenstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noLinks is a kernel without links: no NIC of it is ever plugged. Each change would be a nil call.
type noLinks struct{ links }

type links = hotplug.Links

func (noLinks) Link(int) (bridge.Link, error) { return bridge.Link{}, bridge.ErrNotFound }

func (noLinks) LinkByName(bridge.Name) (bridge.Link, error) { return bridge.Link{}, bridge.ErrNotFound }
func (noLinks) Links() ([]bridge.Link, error)               { return nil, nil }
func (noLinks) Addresses(int) ([]netip.Prefix, error)       { return nil, nil }

// silence is a monitor of a kernel in which nothing happens.
type silence struct {
	end  chan struct{}
	once sync.Once
}

func (s *silence) Receive() ([]bridge.LinkEvent, error) { <-s.end; return nil, net.ErrClosed }
func (s *silence) Close() error                         { s.once.Do(func() { close(s.end) }); return nil }

// service is a server with a real engine and store, at an abstract socket: who may ask is decided by the server, not by a file's mode.
type service struct {
	*testing.T
	socket string
	engine *hotplug.Engine
	server *Server
	tools  *standin.Toolstack
	served chan error
	active atomic.Int64 // requests that are being served
}

var sockets atomic.Int64

// started is what GET /v1/status is to say of the daemon's start.
var started = time.Date(2026, 11, 23, 20, 15, 0, 0, time.UTC)

func serve(t *testing.T) *service {
	t.Helper()
	store, err := xenstore.Open(t.Context(), xenstoretest.Start(t), nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	s := &service{T: t, tools: &standin.Toolstack{Store: store}, served: make(chan error, 1)}
	s.engine, err = hotplug.Start(t.Context(), hotplug.Config{
		Store: store, Links: noLinks{}, Monitor: &silence{end: make(chan struct{})}, Policy: hotplug.DefaultPolicy(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.engine.Close()) })
	s.server = NewServer(Options{Engine: s.engine, Logger: slog.New(slog.DiscardHandler), Readers: -1, Daemon: func() Daemon {
		return Daemon{Version: "test", Started: started, Store: "unix:/x", Online: true, PID: os.Getpid()}
	}})
	inner := s.server.http.Handler
	s.server.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.active.Add(1)
		defer s.active.Add(-1)
		inner.ServeHTTP(w, r)
	})
	line := s.server.lines.answer
	s.server.lines.answer = func(c net.Conn, question string) (string, []*os.File) {
		s.active.Add(1)
		defer s.active.Add(-1)
		return line(c, question)
	}
	s.socket = fmt.Sprintf("@vifplug-control-test-%d-%d", os.Getpid(), sockets.Add(1))
	l, err := net.Listen("unix", s.socket)
	require.NoError(t, err)
	go s.runServe(l)
	t.Cleanup(func() {
		assert.NoError(t, s.server.Close())
		assert.NoError(t, <-s.served)
	})
	return s
}

func (s *service) runServe(l net.Listener) { s.served <- s.server.Serve(l) }

func (s *service) client() *Client { return NewClient(s.socket) }

// guest makes a domain with one NIC whose netback never answers, and waits until the engine knows it.
func (s *service) guest(id xenstore.DomID, name string) {
	s.Helper()
	require.NoError(s, s.tools.CreateDomain(s.Context(), id, name, fmt.Sprintf("%08d-0000-4000-8000-000000000000", id)))
	require.NoError(s, s.tools.Attach(s.Context(), id, 0, standin.NIC{Bridge: "xenbr0", MAC: "00:16:3e:00:00:01"}))
	vif := fmt.Sprintf("vif%d.0", id)
	require.NoError(s, s.client().Events(s.Context(), 0, true, func(e hotplug.Event) bool { return e.Kind != hotplug.NICSeen || e.VIF != vif }))
	require.NoError(s, s.client().Events(s.Context(), 0, true, func(e hotplug.Event) bool { return e.Kind != hotplug.DomainCreated || e.Domain.ID != uint16(id) }))
	s.serving(0) // the two streams have been left
}

// serving waits until n requests are being served.
func (s *service) serving(n int64) {
	s.Helper()
	require.Eventually(s, func() bool { return s.active.Load() == n }, 10*time.Second, time.Millisecond)
}

// reply is a whole HTTP answer.
type reply struct {
	code int
	kind string
	body string
}

// ask sends a request in the words of docs/api.md, with header lines as "Key: value".
func (s *service) ask(method, path string, header ...string) reply {
	s.Helper()
	return s.askWith(nil, method, path, nil, header...)
}

func (s *service) askWith(dial func(context.Context, string, string) (net.Conn, error), method, path string, body io.Reader, header ...string) reply {
	s.Helper()
	if dial == nil {
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
		}
	}
	req, err := http.NewRequestWithContext(s.Context(), method, "http://vifplug"+path, body)
	require.NoError(s, err)
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}).Do(req)
	require.NoError(s, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s, err)
	return reply{resp.StatusCode, resp.Header.Get("Content-Type"), string(text)}
}
