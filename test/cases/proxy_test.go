package cases

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/xenstore/wire"
)

// proxy stands between the engine and the store: it writes down what the engine asks, may have something happen before a request is passed
// on, and may refuse a commit as a store does that has seen a conflict.
type proxy struct {
	socket   string
	listener net.Listener
	done     sync.WaitGroup

	mu       sync.Mutex // guards all following fields
	upstream string
	before   func(n int, r request) wire.Errno
	requests []request
	conns    map[net.Conn]struct{}
	closed   bool
	mute     bool // watch events are dropped
}

// request is one message of the engine's.
type request struct {
	Type  wire.Type
	Path  string
	Value string
	Tx    uint32
}

func (r request) commits() bool {
	return r.Type == wire.TransactionEnd && strings.HasPrefix(r.Path, "T")
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "px")
	require.NoError(t, err)
	p := &proxy{upstream: target, socket: filepath.Join(dir, "s"), conns: map[net.Conn]struct{}{}}
	p.listener, err = net.Listen("unix", p.socket)
	require.NoError(t, err)
	p.done.Add(1)
	go p.runAccept()
	t.Cleanup(func() { p.close(); _ = os.RemoveAll(dir) })
	return p
}

func (p *proxy) target() string { return "unix:" + p.socket }

// on sets what happens before each request from now on, and counts anew. An errno makes a commit fail.
func (p *proxy) on(before func(n int, r request) wire.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.requests = before, nil
}

// writes are the paths that the engine has written or removed.
func (p *proxy) writes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []string{}
	for _, r := range p.requests {
		if r.Type == wire.Write || r.Type == wire.Rm || r.Type == wire.Mkdir || r.Type == wire.SetPerms {
			out = append(out, r.Path)
		}
	}
	return out
}

func (p *proxy) count(match func(request) bool) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		if match(r) {
			n++
		}
	}
	return n
}

// watches says how often the engine has watched each path.
func (p *proxy) watches() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	for _, r := range p.requests {
		if r.Type == wire.Watch {
			out[r.Path]++
		}
	}
	return out
}

// cut ends every connection, as a store's end does.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cut()
	p.done.Wait()
}

func (p *proxy) runAccept() {
	defer p.done.Done()
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		up, err := dialStore(p.store())
		if err != nil {
			_ = c.Close()
			continue
		}
		s := &session{p: p, down: c, up: up, refused: map[uint32]wire.Errno{}}
		p.mu.Lock()
		p.conns[c], p.conns[up] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.done.Add(2)
		go s.runRequests()
		go s.runReplies()
		if p.isClosed() {
			p.cut()
		}
	}
}

// dialStore connects to a store that may listen with a backlog of one.
func dialStore(target string) (net.Conn, error) {
	for deadline := time.Now().Add(time.Second); ; {
		c, err := net.Dial("unix", strings.TrimPrefix(target, "unix:"))
		if !errors.Is(err, unix.EAGAIN) || time.Now().After(deadline) {
			return c, err
		}
		time.Sleep(time.Millisecond) // between two attempts, not instead of one
	}
}

func (p *proxy) store() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.upstream
}

// move has the next connections go to another store.
func (p *proxy) move(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = target
}

// drop has watch events dropped, as the store does for a domain that does not read them.
func (p *proxy) drop(events bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = events
}

func (p *proxy) drops() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mute
}

func (p *proxy) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// session is one connection of the engine's.
type session struct {
	p        *proxy
	down, up net.Conn

	mu      sync.Mutex // guards refused
	refused map[uint32]wire.Errno
}

func (s *session) end() {
	_ = s.down.Close()
	_ = s.up.Close()
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.conns, s.down)
	delete(s.p.conns, s.up)
}

func (s *session) runRequests() {
	defer s.p.done.Done()
	defer s.end()
	for {
		h, payload, err := readMessage(s.down)
		if err != nil {
			return
		}
		path, value, _ := strings.Cut(string(payload), "\x00")
		r := request{Type: h.Type, Path: path, Value: value, Tx: h.TxID}
		s.p.mu.Lock()
		s.p.requests = append(s.p.requests, r)
		n, before := len(s.p.requests), s.p.before
		s.p.mu.Unlock()
		if before != nil {
			if no := before(n, r); no != "" && r.commits() {
				payload = []byte("F\x00")
				s.mu.Lock()
				s.refused[h.ReqID] = no
				s.mu.Unlock()
			}
		}
		if _, err := s.up.Write(wire.AppendMessage(nil, h, payload)); err != nil {
			return
		}
	}
}

func (s *session) runReplies() {
	defer s.p.done.Done()
	defer s.end()
	for {
		h, payload, err := readMessage(s.up)
		if err != nil {
			return
		}
		if h.Type == wire.WatchEvent && s.p.drops() {
			continue
		}
		s.mu.Lock()
		no, refuse := s.refused[h.ReqID]
		if refuse = refuse && h.Type != wire.WatchEvent; refuse {
			delete(s.refused, h.ReqID)
		}
		s.mu.Unlock()
		if refuse {
			h.Type, payload = wire.Error, []byte(string(no)+"\x00")
		}
		if _, err := s.down.Write(wire.AppendMessage(nil, h, payload)); err != nil {
			return
		}
	}
}

func readMessage(r io.Reader) (wire.Header, []byte, error) {
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return wire.Header{}, nil, err
	}
	h, err := wire.ParseHeader(head[:])
	if err != nil || h.Len > 1<<20 {
		return h, nil, errors.Join(err, errors.New("no message"))
	}
	payload := make([]byte, h.Len)
	_, err = io.ReadFull(r, payload)
	return h, payload, err
}
