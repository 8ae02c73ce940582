package hotplug

import (
	"context"
	"sync"
	"time"
)

// Queue runs one function for keys that were marked dirty: at most one run a key at a time, different keys in parallel, any number of marks
// before a run coalesced into that run, a mark during a run giving exactly one more. Workers exist only while there is work, so an idle queue costs nothing.
//
// A key that is marked without pause (a guest that flaps its state) is slowed to one run every slowDown after burst runs within a window: it
// costs itself, not the others. And a run may ask for quiet, so that the echoes of its own work are looked at once, together, and later.
type Queue[K comparable] struct {
	run     func(context.Context, K)
	ctx     context.Context
	cancel  context.CancelFunc
	workers int

	mu      sync.Mutex // guards all following fields
	entries map[K]*entry
	ready   []K
	active  int
	closed  bool
	idle    *sync.Cond // signalled when active falls or an entry leaves
}

type entry struct {
	running bool // a worker has it
	queued  bool // it stands in ready, or a timer will put it there
	dirty   bool // marked while running
	now     bool // marked by somebody who waits, since it last ran
	forget  bool // drop the entry when it has run
	timer   *time.Timer
	window  time.Time // start of the current rate window
	runs    int       // runs within it
	quiet   time.Time // marks before this wait for it
}

const (
	rateWindow = time.Second
	burst      = 40
	slowDown   = 100 * time.Millisecond
)

// NewQueue makes a queue that calls run with at most workers keys at once. Runs get a context that Close cancels.
func NewQueue[K comparable](workers int, run func(context.Context, K)) *Queue[K] {
	ctx, cancel := context.WithCancel(context.Background())
	q := &Queue[K]{run: run, ctx: ctx, cancel: cancel, workers: workers, entries: map[K]*entry{}}
	q.idle = sync.NewCond(&q.mu)
	return q
}

// Add marks a key dirty. It never blocks and never fails; after Close it does nothing.
func (q *Queue[K]) Add(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(k, false)
}

// AddNow marks a key dirty for somebody who waits: no quiet holds it up, not even one that begins after the mark.
func (q *Queue[K]) AddNow(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(k, true)
}

func (q *Queue[K]) add(k K, now bool) {
	if q.closed {
		return
	}
	e := q.entries[k]
	if e == nil {
		e = &entry{}
		q.entries[k] = e
	}
	e.forget = false
	e.now = e.now || now
	switch {
	case e.running:
		e.dirty = true
	case now && e.queued && e.timer != nil && e.timer.Stop():
		e.timer = nil
		q.push(k)
	case !e.queued:
		q.enqueue(k, e)
	}
}

// Quiet has marks of a key wait for d from now, but those of AddNow. A key's run calls it for itself.
func (q *Queue[K]) Quiet(k K, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[k]; e != nil {
		e.quiet = time.Now().Add(d)
	}
}

// enqueue makes k ready, now or later where its rate or its quiet asks for it. The caller holds mu.
func (q *Queue[K]) enqueue(k K, e *entry) {
	e.queued = true
	now := time.Now()
	if left := e.quiet.Sub(now); left > 0 && !e.now {
		e.timer = time.AfterFunc(left, func() { q.wake(k) })
		return
	}
	if now.Sub(e.window) > rateWindow {
		e.window, e.runs = now, 0
	}
	e.runs++
	if e.runs > burst {
		e.timer = time.AfterFunc(slowDown, func() { q.wake(k) })
		return
	}
	q.push(k)
}

func (q *Queue[K]) wake(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[k]; e != nil && e.queued && e.timer != nil && !q.closed {
		e.timer = nil
		q.push(k)
	}
}

func (q *Queue[K]) push(k K) {
	q.ready = append(q.ready, k)
	if q.active < q.workers {
		q.active++
		go q.runWorker()
	}
}

// runWorker takes ready keys until there are none. Close waits for it by active.
func (q *Queue[K]) runWorker() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) > 0 && !q.closed {
		k := q.ready[0]
		q.ready = q.ready[1:]
		e := q.entries[k]
		e.queued, e.running, e.dirty, e.now = false, true, false, false
		q.mu.Unlock()
		q.run(q.ctx, k)
		q.mu.Lock()
		e.running = false
		switch {
		case e.dirty && !q.closed:
			q.enqueue(k, e)
		case e.forget:
			delete(q.entries, k)
		}
	}
	if len(q.ready) == 0 {
		q.ready = nil // give a storm's backing array back
	}
	q.active--
	q.idle.Broadcast()
}

// Settle returns when every key that is marked now has been run, or ctx ends.
func (q *Queue[K]) Settle(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock() // not between Settle's check and its wait
		defer q.mu.Unlock()
		q.idle.Broadcast()
	})
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && ctx.Err() == nil && (len(q.ready) > 0 || q.active > 0) { // quiet keys have been run
		q.idle.Wait()
	}
}

// Forget drops what the queue remembers of a key that nobody will mark again soon: of a running key when it has run. A key that is marked stays.
func (q *Queue[K]) Forget(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch e := q.entries[k]; {
	case e == nil || e.queued || e.dirty:
	case e.running:
		e.forget = true
	default:
		delete(q.entries, k)
	}
}

// Close ends the queue: queued keys are dropped, running ones are told by their context and awaited.
func (q *Queue[K]) Close() {
	q.cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, e := range q.entries {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	for q.active > 0 {
		q.idle.Wait()
	}
}
