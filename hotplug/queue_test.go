package hotplug

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// However often and from wherever keys are marked: no key runs twice at once, and each mark is followed by a run that began after it.
func TestQueueRunsAKeyOnceAtATimeAndMissesNoMark(t *testing.T) {
	const keys, marks = 5, 200
	var running, seen [keys]atomic.Int64
	var latest [keys]atomic.Int64
	q := NewQueue(4, func(_ context.Context, k int) {
		if running[k].Add(1) != 1 {
			t.Errorf("key %d ran twice at once", k)
		}
		seen[k].Store(latest[k].Load())
		running[k].Add(-1)
	})
	var wg sync.WaitGroup
	for k := range keys {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range marks {
				latest[k].Store(int64(i))
				q.Add(k)
			}
		}()
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		for k := range keys {
			if seen[k].Load() != marks-1 {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
	q.Close()
}

func TestQueueCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs int
		gate := make(chan struct{})
		q := NewQueue(1, func(context.Context, string) { runs++; <-gate })
		for range 1000 {
			q.Add("a")
		}
		synctest.Wait() // the first run is in the gate
		for range 1000 {
			q.Add("a")
		}
		gate <- struct{}{}
		gate <- struct{}{}
		synctest.Wait()
		assert.Equal(t, 2, runs, "one run for the marks before it, one for those during it")
		q.Close()
	})
}

func TestQueueBoundsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var at, most atomic.Int64
		q := NewQueue(3, func(context.Context, int) {
			most.Store(max(most.Load(), at.Add(1)))
			<-gate
			at.Add(-1)
		})
		for i := range 20 {
			q.Add(i)
		}
		for range 20 {
			synctest.Wait()
			gate <- struct{}{}
		}
		q.Settle(t.Context())
		assert.EqualValues(t, 3, most.Load())
		q.Close()
	})
}

// A key marked without pause is slowed to ten runs a second, while its neighbour runs at once.
func TestQueueSlowsAFlappingKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flaps, calm int
		q := NewQueue(2, func(_ context.Context, k string) {
			if k == "flap" {
				flaps++
				return
			}
			calm++
		})
		for range 1000 {
			q.Add("flap")
			synctest.Wait()
		}
		assert.Equal(t, burst, flaps)
		q.Add("calm")
		synctest.Wait()
		assert.Equal(t, 1, calm)
		time.Sleep(slowDown)
		synctest.Wait()
		assert.Equal(t, burst+1, flaps, "the marks meanwhile are one run")
		time.Sleep(2 * rateWindow)
		q.Add("flap")
		synctest.Wait()
		assert.Equal(t, burst+2, flaps, "after a quiet while it runs at once again")
		q.Close()
	})
}

func TestQueueCloseDropsAndAwaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{})
		var ended atomic.Bool
		q := NewQueue(1, func(ctx context.Context, k int) {
			close(started) // a second run would panic
			<-ctx.Done()
			ended.Store(true)
		})
		q.Add(1)
		q.Add(2)
		<-started
		q.Close()
		assert.True(t, ended.Load())
		q.Add(3)
	})
}

func TestQueueForget(t *testing.T) {
	q := NewQueue(1, func(context.Context, int) {})
	for i := range 1000 {
		q.Add(i)
	}
	q.Settle(t.Context())
	for i := range 1000 {
		q.Forget(i)
	}
	assert.Empty(t, q.entries)
	q.Close()
}

// Whoever asks while the key runs is not kept waiting by the quiet that this very run asks for.
func TestQueueQuietKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, gate, ran := time.Now(), make(chan struct{}), make(chan time.Duration, 9)
		var q *Queue[string]
		q = NewQueue(1, func(context.Context, string) {
			ran <- time.Since(begin)
			<-gate
			q.Quiet("a", time.Hour)
		})
		q.Add("a")
		assert.Zero(t, <-ran)
		q.Add("a")    // an echo
		q.AddNow("a") // somebody
		gate <- struct{}{}
		assert.Zero(t, <-ran)
		q.Add("a") // an echo again: it waits
		gate <- struct{}{}
		assert.Equal(t, time.Hour, <-ran)
		close(gate)
		q.Close()
	})
}
