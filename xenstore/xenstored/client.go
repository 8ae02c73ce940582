package xenstored

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"vifplug/xenstore/wire"
)

// client is one connection.
type client struct {
	store *store
	conn  net.Conn

	// guarded by the store's mu
	dom          *domain // nil when it is no more
	watches      []watch
	transactions map[uint32]*transaction
	lastTx       uint32

	mu      sync.Mutex // guards all following fields
	out     []byte
	pending map[string]bool // events in out that are not sent yet, by path and token
	closed  bool
	wake    *sync.Cond // out has something, or room, or closed
}

// A client that does not read: further requests of it wait once so much is unsent, and it is dropped when events alone exceed the double, in
// bytes.
const (
	fullReplies = 1 << 20
	fullEvents  = 8 << 20
)

// newClient begins a connection of a domain. The caller holds the store's mu.
func newClient(s *store, conn net.Conn, d *domain) *client {
	c := &client{store: s, conn: conn, dom: d, transactions: map[uint32]*transaction{}, pending: map[string]bool{}}
	c.wake = sync.NewCond(&c.mu)
	s.clients[c] = struct{}{}
	return c
}

// forget ends what the store has of the connection. The caller holds the store's mu.
func (c *client) forget() {
	delete(c.store.clients, c)
	c.dom, c.watches, c.transactions = nil, nil, nil
}

// event queues a watch event, unless it is longer than a message may be. One that is still unsent is not queued twice; of the special ones each
// counts.
func (c *client) event(path, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := path + "\x00" + token
	if c.closed || len(key) >= wire.PayloadMax || path[0] != '@' && c.pending[key] {
		return
	}
	if len(c.out) > fullEvents {
		c.close()
		return
	}
	c.pending[key] = true
	c.out = wire.AppendMessage(c.out, wire.Header{Type: wire.WatchEvent}, []byte(key), []byte{0})
	c.wake.Broadcast()
}

// reply queues the answer to a request.
func (c *client) reply(h wire.Header, payload []byte, err error) {
	if err == nil && len(payload) > wire.PayloadMax {
		err = wire.E2BIG
	}
	if err != nil {
		var no wire.Errno
		if !errors.As(err, &no) {
			no = wire.EINVAL
		}
		h.Type, payload = wire.Error, append([]byte(no), 0)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = wire.AppendMessage(c.out, h, payload)
	c.wake.Broadcast()
}

// drop ends the connection.
func (c *client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
}

func (c *client) close() {
	c.closed = true
	_ = c.conn.Close()
	c.wake.Broadcast()
}

// runWriter sends what is queued until the connection ends.
func (c *client) runWriter(done chan<- struct{}) {
	defer close(done)
	var batch []byte
	for {
		c.mu.Lock()
		for len(c.out) == 0 && !c.closed {
			c.wake.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		batch, c.out = c.out, batch[:0]
		clear(c.pending)
		c.wake.Broadcast()
		c.mu.Unlock()
		if _, err := c.conn.Write(batch); err != nil {
			c.drop()
			return
		}
	}
}

// awaitRoom holds a client back that sends without reading.
func (c *client) awaitRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > fullReplies && !c.closed {
		c.wake.Wait()
	}
	return !c.closed
}

// serve handles requests until the connection ends.
func (c *client) serve() error {
	in := bufio.NewReaderSize(c.conn, 2*wire.PayloadMax)
	var head [wire.HeaderSize]byte
	for c.awaitRoom() {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		h, err := wire.ParseHeader(head[:])
		if err != nil {
			return err
		}
		if h.Len > wire.PayloadMax {
			return fmt.Errorf("xenstored: a request of %d bytes: the connection is dropped, as the C daemon does", h.Len)
		}
		payload := make([]byte, h.Len) // a value keeps it
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		c.store.handle(c, h, payload)
	}
	return net.ErrClosed
}
