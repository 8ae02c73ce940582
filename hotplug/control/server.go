package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"vifplug/hotplug"
	"vifplug/hotplug/ask"
	"vifplug/hotplug/rings"
)

// Version is the version of the interface, in every path and in GET /v1/status.
const Version = "v1"

// PlugWait bounds how long POST /v1/hotplug waits for a NIC. It ends before vif-plug's 35 s, so that vif-plug hears the reason.
const PlugWait = 34 * time.Second

// Options are what a Server needs.
type Options struct {
	Engine *hotplug.Engine
	// Networks keeps the declared networks; nil: nobody does.
	Networks Networks
	// Rings makes ports for QEMUs at AF_XDP rings; nil: nobody does.
	Rings  *rings.Maker
	Logger *slog.Logger
	// Readers is a group id whose members may read; negative: none. SetReaders changes it.
	Readers int
	// Daemon is what GET /v1/status says of the service itself.
	Daemon func() Daemon
}

// Daemon is the service's own state.
type Daemon struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Store   string    `json:"store"`           // which transport serves xenstore
	Online  bool      `json:"store_connected"` // whether xenstore answers now
	Self    uint16    `json:"self"`            // the backend domain served
	PID     int       `json:"pid"`
}

// Status is the answer to GET /v1/status.
type Status struct {
	API     string              `json:"api"`
	Daemon  Daemon              `json:"daemon"`
	Domains []hotplug.Domain    `json:"domains"`
	NICs    []hotplug.NICStatus `json:"nics"`
}

// Error is the body of every refusal.
type Error struct {
	Error  string          `json:"error"`
	Reason *hotplug.Reason `json:"reason,omitempty"`
}

// Server answers the control socket.
type Server struct {
	opt     Options
	http    http.Server
	lines   lines
	readers atomic.Int64
	ctx     context.Context
	cancel  context.CancelFunc
}

// NewServer makes a server. It serves nothing before Serve.
func NewServer(opt Options) *Server {
	s := &Server{opt: opt}
	s.lines.answer = s.answerLine
	s.SetReaders(opt.Readers)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.read(s.getStatus))
	mux.HandleFunc("GET /v1/nics", s.read(s.getNICs))
	mux.HandleFunc("GET /v1/nics/{name}", s.read(s.getNIC))
	mux.HandleFunc("GET /v1/domains", s.read(s.getDomains))
	mux.HandleFunc("GET /v1/events", s.read(s.getEvents))
	mux.HandleFunc("POST /v1/hotplug", s.write(s.postHotplug))
	mux.HandleFunc("POST /v1/resync", s.write(s.postResync))
	s.networkRoutes(mux)
	s.nicRoutes(mux)
	s.http = http.Server{
		Handler: mux, ConnContext: withPeer, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    slog.NewLogLogger(opt.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// SetReaders changes the group whose members may read, for requests to come; negative: none.
func (s *Server) SetReaders(gid int) { s.readers.Store(int64(gid)) }

// Serve answers connections of l until Close.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(s.lines.front(l))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends every request and connection.
func (s *Server) Close() error {
	s.cancel() // event streams and waiting plugs end by their context
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	s.lines.close()
	return err
}

func (s *Server) getStatus(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, Status{API: Version, Daemon: s.opt.Daemon(), Domains: s.opt.Engine.Domains(), NICs: s.opt.Engine.Status()})
}

func (s *Server) getNICs(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.opt.Engine.Status())
}

func (s *Server) getDomains(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.opt.Engine.Domains())
}

func (s *Server) getNIC(w http.ResponseWriter, r *http.Request) {
	x, ok := s.opt.Engine.Explain(r.PathValue("name"))
	if !ok {
		refuse(w, r, http.StatusNotFound, fmt.Errorf("no NIC is called %q. See vifctl status for those that are", r.PathValue("name")))
		return
	}
	answer(w, http.StatusOK, x)
}

func (s *Server) postResync(w http.ResponseWriter, r *http.Request) {
	s.opt.Engine.Resync(r.Context())
	w.WriteHeader(http.StatusNoContent)
}

// getEvents streams events as lines of JSON: those kept after ?since=SEQ, and with ?follow=1 everything new until the client leaves.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	since, follow, err := streamOf(r.URL.Query())
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	sub := s.opt.Engine.Events().Subscribe(since)
	defer sub.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out, enc := http.NewResponseController(w), json.NewEncoder(w)
	for {
		for _, e := range sub.Take() {
			if enc.Encode(e) != nil {
				return
			}
		}
		if out.Flush() != nil || !follow {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-sub.Ready():
		}
	}
}

// streamOf reads what part of the events is wanted: those after a number, and whether new ones too.
func streamOf(q url.Values) (since uint64, follow bool, err error) {
	if text := q.Get("since"); text != "" {
		if since, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, false, fmt.Errorf("since=%q is no event number", text)
		}
	}
	switch text := q.Get("follow"); text {
	case "", "0":
		return since, false, nil
	case "1":
		return since, true, nil
	default:
		return 0, false, fmt.Errorf("follow=%q: want 0 or 1", text)
	}
}

// postHotplug does what libxl or udev asks vif-plug for.
func (s *Server) postHotplug(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	env := map[string]string{"XENBUS_PATH": q.Get("xenbus_path"), "INTERFACE": q.Get("interface"), "vif": q.Get("vif"), "script": q.Get("script")}
	inv, err := ask.Parse([]string{q.Get("command"), "type_if=" + q.Get("type_if")}, func(k string) string { return env[k] })
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	var senseless *senselessError
	switch err := s.hotplug(r.Context(), inv); {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.As(err, &senseless):
		refuse(w, r, http.StatusBadRequest, err)
	case errors.Is(err, hotplug.ErrStopping):
		refuse(w, r, http.StatusServiceUnavailable, err)
	default:
		refuse(w, r, http.StatusConflict, err)
	}
}

// senselessError is a question that names no NIC.
type senselessError struct{ error }

// hotplug plugs or releases a NIC. The error is senseless, hotplug.ErrStopping, or why the NIC is not as asked.
func (s *Server) hotplug(ctx context.Context, inv ask.Invocation) error {
	if inv.Nothing() {
		return nil
	}
	k, err := hotplug.ParseXenbusPath(inv.XenbusPath)
	if err != nil {
		return &senselessError{err}
	}
	k.Tap = inv.Type == "tap"
	ctx, cancel := context.WithTimeout(ctx, PlugWait)
	defer cancel()
	if inv.Command == "offline" || inv.Command == "remove" {
		err = s.opt.Engine.Unplug(ctx, k)
	} else {
		err = s.opt.Engine.Plug(ctx, k)
	}
	if err != nil && s.ctx.Err() != nil {
		return hotplug.ErrStopping
	}
	return err
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client has left: nothing to tell
}

// refuse sends an error: as one line of text to those who ask for it, else as JSON.
func refuse(w http.ResponseWriter, r *http.Request, code int, err error) {
	if strings.Contains(r.Header.Get("Accept"), "text/plain") {
		http.Error(w, err.Error(), code)
		return
	}
	body := Error{Error: err.Error()}
	errors.As(err, &body.Reason)
	answer(w, code, body)
}
