package xenstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"vifplug/xenstore/wire"
)

// maxReply bounds what is allocated for one message, in bytes. oxenstored sends lists of more than 4096 bytes over a socket.
const maxReply = 1 << 20

// conn is one life of a connection: it carries requests and replies until the first error.
type conn struct {
	*transport

	write sync.Mutex // held while a batch goes out; guards out
	out   []byte

	mu      sync.Mutex // guards all following fields
	pending map[uint32]slot
	next    uint32
	err     error // set once, when the connection is down
}

// batch is one Pipeline under way.
type batch struct {
	ops     []Op
	results []Result
	left    int // guarded by the conn's mu
	err     error
	done    chan struct{}
}

// slot is where the reply to one request goes.
type slot struct {
	b *batch
	i int
}

func newConn(t *transport) *conn { return &conn{transport: t, pending: map[uint32]slot{}} }

// pipeline sends requests in one write, where the transport allows it, and waits for all replies.
func (c *conn) pipeline(ctx context.Context, tx uint32, ops []Op) ([]Result, error) {
	for _, o := range ops {
		if err := o.check(c.limit); err != nil {
			return nil, err
		}
	}
	if len(ops) == 0 {
		return nil, nil
	}
	b := &batch{ops: ops, results: make([]Result, len(ops)), left: len(ops), done: make(chan struct{})}
	if err := c.send(tx, b); err != nil {
		return nil, err
	}
	select {
	case <-b.done:
		return b.results, b.err
	case <-ctx.Done():
		return nil, fmt.Errorf("xenstore: %v %s: %w", ops[0].kind, ops[0].path, context.Cause(ctx))
	}
}

// send registers a batch and writes it out. Replies may come before it returns.
func (c *conn) send(tx uint32, b *batch) error {
	c.write.Lock()
	defer c.write.Unlock()
	first, err := c.register(b)
	if err != nil {
		return err
	}
	c.out = c.out[:0]
	for i, o := range b.ops {
		c.out = wire.AppendMessage(c.out, wire.Header{Type: o.kind, ReqID: first + uint32(i), TxID: tx}, o.payload)
		if c.single || len(c.out) > 64<<10 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return c.flush()
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		c.fail(err)
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return nil
}

// register takes request ids for a batch: consecutive ones, none of which is still awaited.
func (c *conn) register(b *batch) (first uint32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	n := uint32(len(b.ops))
	if c.next+n < c.next {
		c.next = 0 // start over rather than wrap within a batch
	}
	first = c.next + 1
	for i := range n {
		if _, taken := c.pending[first+i]; taken {
			return 0, fmt.Errorf("%w: request ids ran out", ErrDisconnected)
		}
	}
	for i := range n {
		c.pending[first+i] = slot{b, int(i)}
	}
	c.next += n
	return first, nil
}

// fail ends the connection: everybody who waits is told. Only the first error counts.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("%w: %w", ErrDisconnected, err)
	_ = c.Close()
	for id, s := range c.pending {
		delete(c.pending, id)
		if s.b.err == nil {
			s.b.err = c.err
			close(s.b.done)
		}
	}
}

// runReader reads until the connection ends, gives replies to who waits and events to event, and returns why it ended.
func (c *conn) runReader(event func(path, token string)) error {
	in := bufio.NewReaderSize(c.transport, 16<<10)
	var head [wire.HeaderSize]byte
	payload := make([]byte, 0, wire.PayloadMax)
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		h, err := wire.ParseHeader(head[:])
		if err != nil {
			return err
		}
		if h.Len > maxReply {
			return fmt.Errorf("xenstore: a message of %d bytes is more than the %d that are accepted", h.Len, maxReply)
		}
		if int(h.Len) > cap(payload) {
			payload = make([]byte, 0, h.Len)
		}
		payload = payload[:h.Len]
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		if err := c.dispatch(h, payload, event); err != nil {
			return err
		}
		if cap(payload) > 64<<10 {
			payload = make([]byte, 0, wire.PayloadMax) // one long list must not be kept for ever
		}
	}
}

var errStray = errors.New("xenstore: a reply that nobody asked for")

func (c *conn) dispatch(h wire.Header, payload []byte, event func(path, token string)) error {
	if h.Type == wire.WatchEvent {
		parts, err := wire.SplitStrings(payload)
		if err != nil || len(parts) < 2 {
			return fmt.Errorf("xenstore: malformed watch event of %d bytes", len(payload))
		}
		event(parts[0], parts[1])
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.pending[h.ReqID]
	if !ok {
		return fmt.Errorf("%w: %v with request id %d", errStray, h.Type, h.ReqID)
	}
	delete(c.pending, h.ReqID)
	if s.b.err != nil {
		return nil
	}
	s.b.results[s.i] = s.b.ops[s.i].decode(h, payload)
	if s.b.left--; s.b.left == 0 {
		close(s.b.done)
	}
	return nil
}
