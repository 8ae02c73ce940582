package xenstored

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
)

// Options are how a Server behaves. The zero value logs nothing.
type Options struct {
	Logger *slog.Logger
}

// Server serves one store to any number of connections.
type Server struct {
	store *store
	log   *slog.Logger

	mu        sync.Mutex // guards all following fields
	listeners map[net.Listener]struct{}
	closed    bool
	clients   sync.WaitGroup
}

// New makes a server with an empty store. o may be nil.
func New(o *Options) *Server {
	s := &Server{store: newStore(), log: slog.New(slog.DiscardHandler), listeners: map[net.Listener]struct{}{}}
	if o != nil && o.Logger != nil {
		s.log = o.Logger
	}
	return s
}

// Listen makes the socket, for root alone as the C daemon's, in place of one that nobody serves any more.
func Listen(path string) (net.Listener, error) {
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	if err == nil || errors.Is(err, syscall.EAGAIN) { // EAGAIN: so many connect at the moment that it must be served
		return nil, fmt.Errorf("xenstored: %s: a store is served there already. Say another path", path)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("xenstored: %s exists and is no socket. Say another path", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("xenstored: %w", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("xenstored: %w", err)
	}
	return l, nil
}

// Serve accepts connections, each speaking as dom0, until Close.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("xenstored: accept: %w", err)
		}
		if !s.start(conn, 0) {
			return nil
		}
	}
}

// ServeConn serves one connection that speaks as a domain, privileged only as dom0. It returns at once.
func (s *Server) ServeConn(conn net.Conn, domid uint16) { s.start(conn, domID(domid)) }

func (s *Server) start(conn net.Conn, id domID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.store.mu.Lock()
	c := newClient(s.store, conn, s.store.domain(id))
	s.store.mu.Unlock()
	s.clients.Add(1)
	go s.runClient(c, id)
	return true
}

func (s *Server) runClient(c *client, id domID) {
	defer s.clients.Done()
	written := make(chan struct{})
	go c.runWriter(written)
	err := c.serve()
	s.log.Debug("connection ended", "domid", id, "err", err)
	c.drop()
	<-written
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	c.forget()
}

// Kill has the store find a domain dead, as the hypervisor's VIRQ_DOM_EXC does: its nodes and rights go, @releaseDomain fires.
func (s *Server) Kill(domid uint16) error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.release(domID(domid))
}

// Close ends every connection and listener.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var err error
	for l := range s.listeners {
		if e := l.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	s.mu.Unlock()
	s.store.mu.Lock()
	for c := range s.store.clients {
		c.drop()
	}
	s.store.mu.Unlock()
	s.clients.Wait()
	return err
}
