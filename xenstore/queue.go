package xenstore

import "sync"

// eventQueue holds pending events, one a key.
type eventQueue struct {
	key   func(string) (string, bool)
	max   int
	ready chan struct{}

	mu      sync.Mutex // guards all following fields
	events  []Event
	pending map[string]bool // keys of events; a resync's is its path after a NUL, which no path has
	paths   map[string]bool // the watched paths that events are of
	lost    bool            // there were too many: only resyncs are added until the next take
}

const defaultMaxPending = 65536

func (o WatchOptions) queue() *eventQueue {
	if o.Into != nil {
		return o.Into.reg.queue
	}
	q := &eventQueue{key: o.Key, max: o.Max, ready: make(chan struct{}, 1), pending: map[string]bool{}, paths: map[string]bool{}}
	if q.max <= 0 {
		q.max = defaultMaxPending
	}
	return q
}

// push adds an event of the watch on the path watched.
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
	switch {
	case q.lost:
		q.addResync(watched)
	case q.pending[key]:
		q.paths[watched] = true
	case len(q.events) >= q.max:
		q.paths[watched] = true
		q.overflow()
	default:
		q.paths[watched] = true
		q.pending[key] = true
		q.events = append(q.events, Event{Path: key})
	}
	q.signal()
}

// overflow puts one resync for each watched path in the place of all events. The caller holds mu.
func (q *eventQueue) overflow() {
	q.lost, q.events, q.pending = true, nil, map[string]bool{}
	for path := range q.paths {
		q.addResync(path)
	}
}

func (q *eventQueue) resync(path string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paths[path] = true
	q.addResync(path)
	q.signal()
}

func (q *eventQueue) addResync(path string) {
	if mark := "\x00" + path; !q.pending[mark] {
		q.pending[mark] = true
		q.events = append(q.events, Event{Path: path, Resync: true})
	}
}

func (q *eventQueue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *eventQueue) take() []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.events
	q.events, q.lost = nil, false
	const much = 1024 // entries: clearing a map costs what it once held
	if len(q.pending) > much || len(q.paths) > much {
		q.pending, q.paths = map[string]bool{}, map[string]bool{}
	} else {
		clear(q.pending)
		clear(q.paths)
	}
	return out
}
