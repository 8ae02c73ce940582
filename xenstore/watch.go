package xenstore

import (
	"context"
	"errors"
	"strconv"

	"vifplug/xenstore/wire"
)

// Event says that something at or below a watched path may have changed. It carries no value: read again.
type Event struct {
	Path string
	// Resync says that any number of events may be missing: the store was connected again, or more was pending than the watch keeps. Path
	// is then the watched path.
	Resync bool
}

// WatchOptions are how a watch's events are kept until they are taken.
type WatchOptions struct {
	// Key reduces an event's path to what distinguishes events for the reader: pending events of one key are one, with the key as its Path.
	// false drops the event. nil keeps paths as they are.
	Key func(path string) (key string, ok bool)
	// Max bounds the pending keys; beyond it one Resync for each watched path takes their place. 0: 65536.
	Max int
	// Depth bounds the levels below the path, where the store can (feature bit 4); nil: all.
	Depth *int
	// Into has the events go to another watch's queue instead, by that one's Key and Max.
	Into *Watch
}

// Watch is a path that the store reports changes of. The reader waits for Ready and calls Take.
type Watch struct {
	client *Client
	reg    *registration
}

// registration is a watch as the store knows it. token is guarded by the client's mu.
type registration struct {
	path  string
	token string
	depth *int
	queue *eventQueue
}

// Watch registers a watch. The store answers with a first event for the path itself, so the reader's first look needs no code of its own.
// Special paths are @introduceDomain and @releaseDomain.
func (c *Client) Watch(ctx context.Context, path string, o WatchOptions) (*Watch, error) {
	r := &registration{path: path, depth: o.Depth, queue: o.queue()}
	if err := wire.CheckPath(path); err != nil {
		return nil, r.op().fail(err)
	}
	c.mu.Lock()
	r.token = c.newToken()
	c.watches[r.token] = r // before the request: the first event may come before its reply
	conn, op := c.conn, r.op()
	c.mu.Unlock()
	if _, err := conn.one(ctx, 0, op); err != nil {
		c.takeBack(r, conn, err)
		return nil, err
	}
	return &Watch{client: c, reg: r}, nil
}

// takeBack undoes a registration that failed on a connection. The store may have the watch, or will: its request is under way, or was renewed.
func (c *Client) takeBack(r *registration, conn *conn, err error) {
	var no wire.Errno
	now, token := c.forget(r)
	if now != conn || !errors.As(err, &no) {
		now.post(0, unwatchOp(r.path, token))
	}
}

// forget takes a watch out of the client, and says where the store has it and by which token.
func (c *Client) forget(r *registration) (*conn, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watches, r.token)
	return c.conn, r.token
}

// newToken makes a token that no earlier watch had. The caller holds mu.
func (c *Client) newToken() string {
	c.counter++
	return "v" + strconv.FormatUint(c.counter, 36)
}

// event routes a watch event by its token. A token that is not known is a watch's that is no more.
func (c *Client) event(path, token string) {
	c.mu.Lock()
	r := c.watches[token]
	c.mu.Unlock()
	if r != nil {
		r.queue.push(path, r.path)
	}
}

// Ready is readable when Take has something to give. It may be readable for nothing.
func (w *Watch) Ready() <-chan struct{} { return w.reg.queue.ready }

// Take returns the pending events, oldest first.
func (w *Watch) Take() []Event { return w.reg.queue.take() }

// Close removes the watch. Events that are pending stay to be taken; none is added. A store that does not know the watch is fine.
func (w *Watch) Close(ctx context.Context) error {
	conn, token := w.client.forget(w.reg)
	_, err := conn.one(ctx, 0, unwatchOp(w.reg.path, token))
	switch {
	case errors.Is(err, wire.ENOENT) || errors.Is(err, ErrDisconnected):
		return nil
	case err != nil && ctx.Err() != nil:
		conn.post(0, unwatchOp(w.reg.path, token)) // it may not have gone out; twice does no harm
	}
	return err
}

// op is the request that registers a watch. The caller holds the client's mu.
func (r *registration) op() Op {
	parts := []string{r.path, r.token}
	if r.depth != nil {
		parts = append(parts, strconv.Itoa(*r.depth))
	}
	return stringsOp(wire.Watch, r.path, parts...)
}

func unwatchOp(path, token string) Op { return stringsOp(wire.Unwatch, path, path, token) }
