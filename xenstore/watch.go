package xenstore

import (
	"context"
	"errors"
	"strconv"
	"sync"

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
	// Max bounds the pending keys; beyond it one Resync takes their place. 0: 65536.
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
	queue  *eventQueue
}

// registration is a watch as the store knows it. token is guarded by the client's mu.
type registration struct {
	path  string
	token string
	depth *int
	queue *eventQueue
}

// eventQueue holds pending events, one a key.
type eventQueue struct {
	key   func(string) (string, bool)
	max   int
	ready chan struct{}

	mu      sync.Mutex // guards all following fields
	events  []Event
	pending map[string]bool
}

const defaultMaxPending = 65536

// Watch registers a watch. The store answers with a first event for the path itself, so the reader's first look needs no code of its own.
// Special paths are @introduceDomain and @releaseDomain.
func (c *Client) Watch(ctx context.Context, path string, o WatchOptions) (*Watch, error) {
	q := &eventQueue{key: o.Key, max: o.Max, ready: make(chan struct{}, 1), pending: map[string]bool{}}
	if o.Into != nil {
		q = o.Into.queue
	} else if q.max <= 0 {
		q.max = defaultMaxPending
	}
	r := &registration{path: path, depth: o.Depth, queue: q}
	c.mu.Lock()
	r.token = c.newToken()
	c.watches[r.token] = r // before the request: the first event may come before its reply
	conn := c.conn
	c.mu.Unlock()
	if _, err := conn.one(ctx, 0, c.watchOp(r)); err != nil {
		c.mu.Lock()
		delete(c.watches, r.token)
		c.mu.Unlock()
		return nil, err
	}
	return &Watch{client: c, reg: r, queue: q}, nil
}

// newToken makes a token that no earlier watch had. The caller holds mu.
func (c *Client) newToken() string {
	c.counter++
	return "v" + strconv.FormatUint(c.counter, 36)
}

func (c *Client) watchOp(r *registration) Op {
	c.mu.Lock()
	token := r.token
	c.mu.Unlock()
	o := stringsOp(wire.Watch, r.path, r.path, token)
	if r.depth != nil {
		o = stringsOp(wire.Watch, r.path, r.path, token, strconv.Itoa(*r.depth))
	}
	o.err = wire.CheckPath(r.path)
	return o
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

func (q *eventQueue) push(path, watched string) {
	key := path
	if q.key != nil {
		k, ok := q.key(path)
		if !ok {
			return
		}
		key = k
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending[key] {
		return
	}
	if len(q.events) >= q.max {
		q.events = append(q.events[:0], Event{Path: watched, Resync: true})
		clear(q.pending)
	} else {
		q.events = append(q.events, Event{Path: key})
		q.pending[key] = true
	}
	q.signal()
}

func (q *eventQueue) resync(path string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if mark := "\x00" + path; !q.pending[mark] { // no path has a NUL
		q.pending[mark] = true
		q.events = append(q.events, Event{Path: path, Resync: true})
	}
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Ready is readable when Take has something to give.
func (w *Watch) Ready() <-chan struct{} { return w.queue.ready }

// Take returns the pending events, oldest first.
func (w *Watch) Take() []Event {
	q := w.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.events
	q.events = nil
	clear(q.pending)
	return out
}

// Close removes the watch. Events that are pending stay to be taken; none is added. A store that does not know the watch is fine.
func (w *Watch) Close(ctx context.Context) error {
	c := w.client
	c.mu.Lock()
	token := w.reg.token
	delete(c.watches, token)
	c.mu.Unlock()
	_, err := c.one(ctx, 0, stringsOp(wire.Unwatch, w.reg.path, w.reg.path, token))
	if errors.Is(err, wire.ENOENT) || errors.Is(err, ErrDisconnected) {
		return nil
	}
	return err
}
