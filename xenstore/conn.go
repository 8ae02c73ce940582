package xenstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"vifplug/xenstore/wire"
)

const (
	// maxReply bounds what is allocated for one message, in bytes. oxenstored sends lists of more than 4096 bytes over a socket.
	maxReply = 1 << 20
	// maxUnsent is how much may wait for a store that does not read, in bytes, before further requests wait in their callers.
	maxUnsent = 256 << 10
	// maxAbandoned bounds the requests whose reply nobody waits for any more. A store that leaves so many unanswered is given up.
	maxAbandoned = 1 << 15
)

// conn is one life of a connection: it carries requests and replies until the first error.
type conn struct {
	*transport
	wake chan struct{} // readable when the writing is the writer's
	down chan struct{} // closed when err is set
	// answered is readable when a single transport's request has its reply.
	answered chan struct{}

	mu        sync.Mutex    // guards all following fields
	out       []byte        // requests that nobody has begun to write
	spare     []byte        // a buffer for the next out
	writing   bool          // somebody writes: the writer, or a caller what goes out without waiting
	room      chan struct{} // closed when out is taken to be written; nil while nobody waits for that
	pending   map[uint32]slot
	abandoned int // of pending
	next      uint32
	err       error // set once, when the connection is down
}

// batch is one Pipeline under way. Its fields are guarded by the conn's mu until done is closed.
type batch struct {
	ops       []Op
	results   []Result
	left      int
	abandoned bool // nobody waits
	err       error
	done      chan struct{}
}

// slot is where the reply to one request goes.
type slot struct {
	b *batch
	i int
}

func newConn(t *transport) *conn {
	return &conn{transport: t, wake: make(chan struct{}, 1), down: make(chan struct{}), answered: make(chan struct{}, 1), pending: map[uint32]slot{}}
}

func newBatch(ops []Op) *batch {
	return &batch{ops: ops, results: make([]Result, len(ops)), left: len(ops), done: make(chan struct{})}
}

// serve carries the connection until it ends, and says why it did. Events go to event.
func (c *conn) serve(event func(path, token string)) error {
	written := make(chan struct{})
	go c.runWriter(written)
	c.fail(c.read(event))
	<-written
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// one sends one request and turns every failure into an error.
func (c *conn) one(ctx context.Context, tx uint32, o Op) (Result, error) {
	res, err := c.pipeline(ctx, tx, []Op{o})
	if err != nil {
		return Result{}, err
	}
	return res[0], res[0].Err
}

// pipeline sends requests in one write, where the transport allows it, and waits for all replies.
func (c *conn) pipeline(ctx context.Context, tx uint32, ops []Op) ([]Result, error) {
	return c.start(ctx, tx, ops).Wait(ctx)
}

func (c *conn) await(ctx context.Context, b *batch) ([]Result, error) {
	ops := b.ops
	select {
	case <-b.done:
	case <-ctx.Done():
		if c.abandon(b) {
			return nil, ops[0].fail(context.Cause(ctx))
		}
	}
	if b.err != nil {
		return nil, ops[0].fail(b.err)
	}
	return b.results, nil
}

// send queues a batch, once there is room.
func (c *conn) send(ctx context.Context, tx uint32, b *batch) error {
	for ctx.Err() == nil {
		room, err := c.offer(tx, b)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// offer queues a batch, or gives the channel that says when to try again.
func (c *conn) offer(tx uint32, b *batch) (room <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if len(c.out) <= maxUnsent {
		c.queue(tx, b)
		c.flush()
		return nil, nil
	}
	if c.room == nil {
		c.room = make(chan struct{})
	}
	return c.room, nil
}

// post sends a request whose reply nobody needs. It never waits.
func (c *conn) post(tx uint32, o Op) {
	b := newBatch([]Op{o})
	c.mu.Lock()
	if c.err == nil {
		c.queue(tx, b)
		c.flush()
	}
	c.mu.Unlock()
	c.abandon(b)
}

// queue gives a batch its request ids and puts it into out. The caller holds mu.
func (c *conn) queue(tx uint32, b *batch) {
	first := c.ids(uint32(len(b.ops)))
	for i, o := range b.ops {
		h := wire.Header{Type: o.kind, ReqID: first + uint32(i), TxID: tx}
		c.pending[h.ReqID] = slot{b, i}
		c.out = wire.AppendMessage(c.out, h, o.payload)
	}
}

// ids takes consecutive request ids, none of which is still awaited, and none 0, which is the events'. The caller holds mu.
func (c *conn) ids(n uint32) (first uint32) {
	for i := uint32(1); i <= n; i++ {
		id := c.next + i
		if _, taken := c.pending[id]; taken || id == 0 {
			c.next, i = id, 0
		}
	}
	first = c.next + 1
	c.next += n
	return first
}

// abandon says that nobody waits for a batch any more; false: its replies are there already.
func (c *conn) abandon(b *batch) bool {
	c.mu.Lock()
	if b.left == 0 || b.err != nil {
		c.mu.Unlock()
		return false
	}
	b.abandoned, b.ops, b.results = true, nil, nil
	c.abandoned += b.left
	many := c.abandoned
	c.mu.Unlock()
	if many > maxAbandoned {
		c.fail(fmt.Errorf("the store has left %d requests unanswered", many))
	}
	return true
}

// fail ends the connection: everybody who waits is told. Only the first error counts, but for ErrClosed, which is final.
func (c *conn) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first || errors.Is(err, ErrClosed) {
		c.err = fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	if first {
		c.release()
	}
	c.mu.Unlock()
	if first {
		_ = c.Close() // after mu is let go: a device's Close waits for its Write
	}
}

// release lets go of everybody who waits. The caller holds mu.
func (c *conn) release() {
	close(c.down)
	if c.room != nil {
		close(c.room)
	}
	c.out, c.spare, c.room = nil, nil, nil
	for _, s := range c.pending {
		if !s.b.abandoned && s.b.err == nil {
			s.b.err = c.err
			close(s.b.done)
		}
	}
	clear(c.pending)
}
