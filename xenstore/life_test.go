package xenstore

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
	"vifplug/xenstore/xenstored"
	"vifplug/xenstore/xenstoretest"
)

// states writes down what OnState is told.
type states struct {
	told chan string
}

func newStates() *states { return &states{make(chan string, 64)} }

func (s *states) options() *Options {
	return &Options{OnState: func(connected bool, why error) { s.told <- fmt.Sprint(connected, " ", why) }}
}

func TestReconnectRenewsWatches(t *testing.T) {
	w, s := newFakes(t), newStates()
	c, f := w.open(s.options())
	depth := 1
	one, _ := watch(t, c, f, "/one", WatchOptions{Depth: &depth})
	two, _ := watch(t, c, f, "/two", WatchOptions{})
	gone, token := watch(t, c, f, "/gone", WatchOptions{})
	closing := beside(nothing(func() error { return gone.Close(t.Context()) }))
	f.reply(f.expect(wire.Unwatch, "/gone\x00"+token+"\x00"), "OK\x00")
	require.NoError(t, receive(t, closing).err)
	under := beside(read(c, t.Context(), "/under/way"))
	f.next()
	require.NoError(t, f.conn.Close())
	assert.ErrorIs(t, receive(t, under).err, ErrDisconnected)
	assert.Equal(t, "false not connected: EOF", receive(t, s.told))

	again := w.next()
	var got []string
	for range 2 {
		r := again.next()
		got = append(got, r.payload)
		again.reply(r, "OK\x00")
		again.event(strings.SplitN(r.payload, "\x00", 2)[0], "v1") // a token of the old connection
	}
	slices.Sort(got)
	assert.Regexp(t, "^/one\x00v[45]\x001\x00$", got[0])
	assert.Regexp(t, "^/two\x00v[45]\x00$", got[1])
	assert.Equal(t, "true <nil>", receive(t, s.told))
	assert.Equal(t, []Event{{Path: "/one", Resync: true}}, take(t, one), "and no stale event")
	assert.Equal(t, []Event{{Path: "/two", Resync: true}}, take(t, two))
	assert.Empty(t, gone.Take())
	usable(t, c, again)
}

func TestRenewalThatIsRefused(t *testing.T) {
	w, s := newFakes(t), newStates()
	c, f := w.open(s.options())
	watched, _ := watch(t, c, f, "/w", WatchOptions{})
	require.NoError(t, f.conn.Close())
	again := w.next()
	again.deny(again.expect(wire.Watch, "/w\x00v2\x00"), ENOSPC)
	assert.Equal(t, []Event{{Path: "/w", Resync: true}}, take(t, watched), "the reader looks at everything at least once")
	receive(t, s.told)
	assert.Equal(t, "true <nil>", receive(t, s.told))
	require.NoError(t, again.conn.Close())
	third := w.next()
	third.reply(third.expect(wire.Watch, "/w\x00v3\x00"), "OK\x00")
	assert.NotEmpty(t, take(t, watched))
}

// A connection that breaks before the watches are renewed was never there for the user.
func TestConnectionLostDuringRenewal(t *testing.T) {
	w, s := newFakes(t), newStates()
	c, f := w.open(s.options())
	watched, _ := watch(t, c, f, "/w", WatchOptions{})
	require.NoError(t, f.conn.Close())
	second := w.next()
	second.expect(wire.Watch, "/w\x00v2\x00")
	require.NoError(t, second.conn.Close())
	third := w.next()
	third.reply(third.expect(wire.Watch, "/w\x00v3\x00"), "OK\x00")
	assert.Equal(t, []Event{{Path: "/w", Resync: true}}, take(t, watched))
	assert.Equal(t, "false not connected: EOF", receive(t, s.told))
	assert.Equal(t, "true <nil>", receive(t, s.told))
	assert.Empty(t, s.told)
}

// A watch whose registration is lost with the connection must not be renewed behind its caller's back, nor stay where it was renewed before he
// knew.
func TestWatchUnderWayWhenTheConnectionIsLost(t *testing.T) {
	w := newFakes(t)
	c, f := w.open(nil)
	first := c.current()
	call := beside(func() (*Watch, error) { return c.Watch(t.Context(), "/w", WatchOptions{}) })
	f.next()
	require.NoError(t, f.conn.Close())
	require.ErrorIs(t, receive(t, call).err, ErrDisconnected)
	assert.Empty(t, c.watches)

	late := &registration{path: "/late", queue: WatchOptions{}.queue()}
	c.mu.Lock()
	c.watches["t"] = late
	c.mu.Unlock()
	again := w.next()
	renewed := again.expect(wire.Watch, "/late\x00v2\x00")
	c.takeBack(late, first, ErrDisconnected)
	again.reply(renewed, "OK\x00")
	again.reply(again.expect(wire.Unwatch, "/late\x00v2\x00"), "OK\x00")
	usable(t, c, again)
	assert.Empty(t, c.watches)
	assert.Empty(t, late.queue.take())
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakes(t)
		_, f := w.open(nil)
		last := receive(t, w.attempt)
		errs := []error{syscall.ECONNREFUSED, os.ErrNotExist, syscall.EAGAIN, syscall.ECONNREFUSED, os.ErrNotExist, errTest, errTest, errTest, errTest}
		for _, err := range errs {
			w.refuse <- err
		}
		require.NoError(t, f.conn.Close())
		wait := firstRetry
		for range len(errs) + 1 {
			at := <-w.attempt
			assert.GreaterOrEqual(t, at.Sub(last), wait/2)
			assert.Less(t, at.Sub(last), wait)
			last, wait = at, min(2*wait, lastRetry)
		}
		w.next()
	})
}

// A store that lets everybody in and throws him out at once is not asked faster than one that is away.
func TestBackoffOfAStoreThatFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newFakes(t), newStates()
		_, f := w.open(s.options())
		<-w.attempt
		var gaps []time.Duration
		for range 9 {
			began := time.Now()
			require.NoError(t, f.conn.Close())
			f = w.next()
			gaps = append(gaps, (<-w.attempt).Sub(began))
		}
		assert.GreaterOrEqual(t, gaps[8], lastRetry/2)
		time.Sleep(2 * lastRetry) // in the bubble: the connection lives long
		require.NoError(t, f.conn.Close())
		began := time.Now()
		w.next()
		assert.Less(t, time.Since(began), firstRetry, "it starts over")
		synctest.Wait()
		for want := "false not connected: EOF"; len(s.told) > 0; {
			got := <-s.told
			require.Equal(t, want, got, "in turn; what lasted no time is not told")
			if want = "true <nil>"; got == want {
				want = "false not connected: EOF"
			}
		}
	})
}

func TestCallsFailWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newFakes(t), newStates()
		c, f := w.open(s.options())
		watched, _ := watch(t, c, f, "/w", WatchOptions{})
		for range 60 {
			w.refuse <- syscall.ECONNREFUSED
		}
		require.NoError(t, f.conn.Close())
		assert.Equal(t, "false not connected: EOF", receive(t, s.told))
		_, err := c.Read(t.Context(), "/a")
		assert.ErrorIs(t, err, ErrDisconnected)
		assert.NotErrorIs(t, err, ErrClosed)
		_, err = c.Watch(t.Context(), "/v", WatchOptions{})
		assert.ErrorIs(t, err, ErrDisconnected)
		assert.ErrorIs(t, c.Transaction(t.Context(), func(*Tx) error { return errTest }), ErrDisconnected)
		assert.NoError(t, watched.Close(t.Context()), "what the store does not have is closed")
		assert.Equal(t, "fake", c.Transport())
		require.NoError(t, c.Close())
		_, err = c.Read(t.Context(), "/a")
		assert.ErrorIs(t, err, ErrClosed)
		assert.Empty(t, s.told, "closing is no change that the user must be told of")
	})
}

func TestClose(t *testing.T) {
	c, f := openFake(t, nil)
	w, _ := watch(t, c, f, "/w", WatchOptions{})
	call := beside(read(c, t.Context(), "/a"))
	f.next()
	var closers sync.WaitGroup
	for range 4 {
		closers.Go(func() { assert.NoError(t, c.Close()) })
	}
	closers.Wait()
	err := receive(t, call).err
	assert.EqualError(t, err, "xenstore: READ /a: not connected: the client is closed")
	assert.ErrorIs(t, err, ErrClosed)
	assert.ErrorIs(t, err, ErrDisconnected)
	_, err = c.Watch(t.Context(), "/v", WatchOptions{})
	assert.ErrorIs(t, err, ErrClosed)
	assert.NoError(t, w.Close(t.Context()))
	_, err = f.read()
	assert.ErrorIs(t, err, io.EOF, "the connection was closed")
}

// Close has to catch a connection that is made at that moment. goleak finds what it leaves.
func TestCloseDuringReconnect(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			made := make(chan struct{})
			w := newFakes(t)
			c, f := w.open(nil)
			w.change = func(*transport) { close(made); <-c.ctx.Done() }
			require.NoError(t, f.conn.Close())
			<-made
			require.NoError(t, c.Close())
			_, err := w.next().read()
			assert.ErrorIs(t, err, io.EOF, "it was closed too")
		})
	}
}

func TestNoReconnect(t *testing.T) {
	w, s := newFakes(t), newStates()
	o := s.options()
	o.NoReconnect = true
	c, f := w.open(o)
	require.NoError(t, f.conn.Close())
	assert.Equal(t, "false not connected: EOF", receive(t, s.told))
	c.workers.Wait()
	_, err := c.Read(t.Context(), "/a")
	assert.ErrorIs(t, err, ErrDisconnected)
	assert.Len(t, w.attempt, 1)
	assert.NoError(t, c.Close())
}

func TestLogOfWhoIsNotTold(t *testing.T) {
	var log lockedBuffer
	w := newFakes(t)
	c, f := w.open(&Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	watched, _ := watch(t, c, f, "/w", WatchOptions{})
	require.NoError(t, f.conn.Close())
	again := w.next()
	again.deny(again.expect(wire.Watch, "/w\x00v2\x00"), EINVAL)
	take(t, watched)
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "xenstore connection is back") })
	assert.Contains(t, log.String(), `level=WARN msg="xenstore connection lost" transport=fake err="not connected: EOF"`)
	assert.Contains(t, log.String(), `level=ERROR msg="cannot renew a watch" path=/w`)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestOpenFailsAtOnce(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(t.Context(), "unix:"+filepath.Join(dir, "none"), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "xenstore: connect: ")
	_, err = Open(t.Context(), "dev:"+filepath.Join(dir, "none"), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ctx, xenstoretest.Start(t), nil)
	assert.Error(t, err)
}

// restart gives a store that is killed, and a function that has an empty one serve the same socket.
func restartEmbedded(t *testing.T) (target string, kill, again func()) {
	target, s := xenstoretest.StartServer(t)
	return target, func() { require.NoError(t, s.Close()) }, func() {
		l, err := xenstored.Listen(strings.TrimPrefix(target, "unix:"))
		require.NoError(t, err)
		s := xenstored.New(nil)
		served := beside(nothing(func() error { return s.Serve(l) }))
		t.Cleanup(func() {
			assert.NoError(t, s.Close())
			assert.NoError(t, receive(t, served).err)
		})
	}
}

func restartReal(t *testing.T) (target string, kill, again func()) {
	link := filepath.Join(t.TempDir(), "socket")
	s := xenstoretest.StartRealStore(t)
	require.NoError(t, os.Symlink(s.Socket, link))
	return "unix:" + link, func() { require.NoError(t, syscall.Kill(s.PID(), syscall.SIGKILL)) }, func() {
		require.NoError(t, os.Symlink(xenstoretest.StartRealStore(t).Socket, link+".new"))
		require.NoError(t, os.Rename(link+".new", link))
	}
}

func TestStoreIsKilledAndRestarted(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (string, func(), func()){"embedded": restartEmbedded, "real": restartReal} {
		t.Run(name, func(t *testing.T) {
			target, kill, again := start(t)
			s := newStates()
			c := connect(t, target, s.options())
			ctx := t.Context()
			require.NoError(t, c.Write(ctx, "/w/a", "1"))
			w, err := c.Watch(ctx, "/w", WatchOptions{})
			require.NoError(t, err)
			take(t, w)
			kill()
			assert.Contains(t, receive(t, s.told), "false not connected: ")
			assert.ErrorIs(t, c.Write(ctx, "/w/a", "2"), ErrDisconnected)
			again()
			assert.Equal(t, "true <nil>", receive(t, s.told))
			assert.Contains(t, take(t, w), Event{Path: "/w", Resync: true})
			_, err = c.Read(ctx, "/w/a")
			assert.ErrorIs(t, err, ENOENT, "the store has come back empty")
			require.NoError(t, c.Write(ctx, "/w/b", "3"))
			assert.Contains(t, take(t, w), Event{Path: "/w/b"})
			assert.Equal(t, target, c.Transport())
		})
	}
}
