package control

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
)

func decodeInto[T any](t *testing.T, text string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}

func TestStatusOfNothing(t *testing.T) {
	s := serve(t)
	got := s.ask("GET", "/v1/status")
	assert.Equal(t, 200, got.code)
	assert.Equal(t, "application/json", got.kind)
	m := decodeInto[map[string]any](t, got.body)
	assert.Equal(t, "v1", m["api"])
	assert.Equal(t, []any{}, m["nics"], "an empty list, never null")
	assert.Equal(t, []any{}, m["domains"])
	assert.Equal(t, map[string]any{
		"version": "test", "started": "2026-11-23T20:15:00Z", "store": "unix:/x", "store_connected": true, "self": 0.0, "pid": float64(os.Getpid()),
	}, m["daemon"])
	assert.Equal(t, reply{200, "application/json", "[]\n"}, s.ask("GET", "/v1/nics"))
	assert.Equal(t, reply{200, "application/json", "[]\n"}, s.ask("GET", "/v1/domains"))
}

func TestStatusOfNICs(t *testing.T) {
	s := serve(t)
	s.guest(7, "web01")
	s.guest(5, "db01")
	st := decodeInto[Status](t, s.ask("GET", "/v1/status").body)
	require.Len(t, st.NICs, 2)
	assert.Equal(t, "vif5.0", st.NICs[0].VIF, "by domain")
	assert.Equal(t, "web01", st.NICs[1].Domain.Name)
	assert.Equal(t, "xenbr0", st.NICs[1].Backend.Bridge)
	assert.Equal(t, hotplug.Seen, st.NICs[1].State)
	require.Len(t, st.Domains, 2)
	assert.Equal(t, "db01", st.Domains[0].Name)

	nics := decodeInto[[]hotplug.NICStatus](t, s.ask("GET", "/v1/nics").body)
	assert.Len(t, nics, 2)
	domains := decodeInto[[]hotplug.Domain](t, s.ask("GET", "/v1/domains").body)
	assert.Len(t, domains, 2)
	x := decodeInto[hotplug.Explanation](t, s.ask("GET", "/v1/nics/vif7.0").body)
	assert.Equal(t, "vif7.0", x.VIF)
	assert.NotEmpty(t, x.Runs)
	got, err := s.client().NIC(t.Context(), "vif7.0")
	require.NoError(t, err)
	assert.Equal(t, x, got)
	all, err := s.client().Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, st, all)
}

func TestUnknownNIC(t *testing.T) {
	s := serve(t)
	got := s.ask("GET", "/v1/nics/vif9.9")
	assert.Equal(t, 404, got.code)
	assert.Equal(t, Error{Error: `no NIC is called "vif9.9". See vifctl status for those that are`}, decodeInto[Error](t, got.body))
	_, err := s.client().NIC(t.Context(), "a/b?c")
	assert.EqualError(t, err, `no NIC is called "a/b?c". See vifctl status for those that are`)
	for _, path := range []string{"/", "/v2/status", "/v1/nothing", "/v1/nics/"} {
		assert.Equal(t, 404, s.ask("GET", path).code, path)
	}
}

// Every route refuses other methods.
func TestMethods(t *testing.T) {
	s := serve(t)
	for path, right := range map[string]string{
		"/v1/status": "GET", "/v1/nics": "GET", "/v1/nics/vif1.0": "GET DELETE", "/v1/domains": "GET", "/v1/events": "GET",
		"/v1/hotplug": "POST", "/v1/resync": "POST",
		"/v1/domains/web01/nics": "POST", "/v1/nics/vif1.0/move": "POST", "/v1/nics/vif1.0/path": "POST",
	} {
		for _, m := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			if !strings.Contains(right, m) {
				assert.Equal(t, 405, s.ask(m, path).code, "%s %s", m, path)
			}
		}
	}
}

func TestResync(t *testing.T) {
	s := serve(t)
	assert.Equal(t, reply{code: 204}, s.ask("POST", "/v1/resync"))
	require.NoError(t, s.client().Resync(t.Context()))
}

func TestHotplugBadParameters(t *testing.T) {
	s := serve(t)
	for query, want := range map[string]string{
		"":                          "no command",
		"command=up&type_if=vif":    `command "up" is unknown`,
		"command=online&type_if=ib": `type_if "ib" is unknown`,
		"command=online":            `type_if "" is unknown`,
		"command=online&type_if=vif&xenbus_path=backend/vbd/1/0":             "XENBUS_PATH",
		"command=online&type_if=vif&xenbus_path=backend/vif/x/0":             "no domid",
		"command=online&type_if=vif&xenbus_path=backend/vif/1/0/state":       "not a plain decimal number",
		"command=online&type_if=vif&xenbus_path=backend/vif/99999/0":         "99999",
		"command=online&type_if=vif&xenbus_path=backend/vif/1/0&vif=a%0Ab":   "no device name",
		"command=online&type_if=vif&xenbus_path=backend/vif/1/0%1b[31m":      "XENBUS_PATH",
		"command=add&type_if=tap":                                            "INTERFACE",
		"command=add&type_if=tap&interface=tap0":                             "INTERFACE",
		"command=remove&type_if=tap&xenbus_path=x":                           "XENBUS_PATH",
		"command=online;type_if=vif&xenbus_path=" + strings.Repeat("1", 600): "no command",
	} {
		got := s.ask("POST", "/v1/hotplug?"+query)
		assert.Equal(t, 400, got.code, query)
		assert.Contains(t, decodeInto[Error](t, got.body).Error, want, query)
	}
}

// What is nobody's work succeeds, as with the scripts.
func TestHotplugNothing(t *testing.T) {
	s := serve(t)
	for _, query := range []string{
		"command=online&type_if=tap", "command=add&type_if=vif", "command=offline&type_if=tap&xenbus_path=x",
		"command=add&type_if=tap&interface=vif5.0-emu", "command=remove&type_if=tap&xenbus_path=backend/vif/5/0", // a tap that nobody has a backend for
	} {
		assert.Equal(t, reply{code: 204}, s.ask("POST", "/v1/hotplug?"+query), query)
	}
}

const plug = "/v1/hotplug?command=online&type_if=vif&xenbus_path=backend/vif/"

// A refusal is JSON with the reason, or the one sentence that vif-plug prints.
func TestHotplugRefused(t *testing.T) {
	s := serve(t)
	got := s.ask("POST", plug+"3/0")
	assert.Equal(t, 409, got.code)
	assert.Equal(t, "application/json", got.kind)
	e := decodeInto[Error](t, got.body)
	require.NotNil(t, e.Reason)
	assert.Equal(t, hotplug.CodeBackendGone, e.Reason.Code)
	assert.Equal(t, e.Reason.Error(), e.Error)

	text := s.ask("POST", plug+"3/0", "Accept: text/plain")
	assert.Equal(t, reply{409, "text/plain; charset=utf-8", e.Error + "\n"}, text)
	assert.EqualError(t, s.client().Hotplug(t.Context(), "online", "backend/vif/3/0"), e.Error)
	require.NoError(t, s.client().Hotplug(t.Context(), "offline", "/local/domain/0/backend/vif/3/0"), "what is gone is fine")
}

// waiting asks for a NIC that cannot be plugged yet, and returns once the engine knows of it.
func (s *service) waiting(ctx context.Context, id string) <-chan error {
	s.Helper()
	done := make(chan error, 1)
	go runHotplug(ctx, s.client(), "backend/vif/"+id+"/0", done)
	return done
}

func runHotplug(ctx context.Context, c *Client, path string, done chan<- error) {
	done <- c.Hotplug(ctx, "online", path)
}

// A daemon that stops tells those who wait to ask again, and ends event streams: none is left hanging, none is told that its NIC has failed.
func TestCloseAnswersWhoWaits(t *testing.T) {
	s := serve(t)
	s.guest(3, "web01")
	done := s.waiting(t.Context(), "3")
	events := make(chan error, 1)
	began := make(chan struct{})
	go runEvents(t.Context(), s.client(), began, events)
	<-began
	raw := make(chan reply, 1)
	go runAsk(s, raw)
	s.serving(3)
	start := time.Now()
	require.NoError(t, s.server.Close())
	assert.EqualError(t, <-done, hotplug.ErrStopping.Error())
	require.NoError(t, <-events, "a stream ends")
	assert.Equal(t, reply{503, "text/plain; charset=utf-8", hotplug.ErrStopping.Error() + "\n"}, <-raw)
	assert.Less(t, time.Since(start), 5*time.Second)
	_, err := s.client().Status(t.Context())
	require.ErrorIs(t, err, ErrNotReachable)
}

func runAsk(s *service, got chan<- reply) { got <- s.ask("POST", plug+"3/0", "Accept: text/plain") }

func runEvents(ctx context.Context, c *Client, began chan<- struct{}, done chan<- error) {
	first := true
	done <- c.Events(ctx, 0, true, func(hotplug.Event) bool {
		if first {
			close(began)
			first = false
		}
		return true
	})
}

// A client that leaves is not waited for.
func TestClientLeaves(t *testing.T) {
	s := serve(t)
	s.guest(3, "web01")
	ctx, cancel := context.WithCancel(t.Context())
	done := s.waiting(ctx, "3")
	s.serving(1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	s.serving(0)
}

// endless is a body without end.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(b []byte) (int, error) {
	e.read.Add(int64(len(b)))
	return len(b), nil
}

// No request makes the daemon read much: a body is not wanted, and a header is bounded.
func TestBigRequests(t *testing.T) {
	s := serve(t)
	body := &endless{}
	got := s.askWith(nil, "POST", plug+"3/0", body)
	assert.Equal(t, 409, got.code)
	assert.Less(t, body.read.Load(), int64(8<<20))
	assert.Equal(t, 431, s.ask("GET", "/v1/status", "X: "+strings.Repeat("x", 64<<10)).code)
	assert.Equal(t, 431, s.ask("POST", plug+strings.Repeat("1", 64<<10)).code)
}

func TestNotReachable(t *testing.T) {
	_, err := NewClient("@nobody-serves-this").Status(t.Context())
	require.ErrorIs(t, err, ErrNotReachable)
	assert.EqualError(t, err, "vifplugd is not reachable at @nobody-serves-this. Start it: systemctl start vifplugd")
	_, err = NewClient(t.TempDir()+"/none").NIC(t.Context(), "vif1.0")
	require.ErrorIs(t, err, ErrNotReachable)
	require.ErrorIs(t, NewClient(t.TempDir()+"/none").Events(t.Context(), 0, false, nil), ErrNotReachable)
	require.ErrorIs(t, NewClient(t.TempDir()+"/none").Resync(t.Context()), ErrNotReachable)
	err = NewClient(t.TempDir()+"/none").Hotplug(t.Context(), "online", "backend/vif/1/0")
	require.ErrorIs(t, err, ErrNotReachable)
	assert.False(t, errors.Is(err, context.Canceled))
}
