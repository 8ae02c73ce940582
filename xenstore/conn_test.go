package xenstore

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

func read(c *Client, ctx context.Context, path string) func() (string, error) {
	return func() (string, error) { return c.Read(ctx, path) }
}

func TestRepliesAreMatchedByRequestID(t *testing.T) {
	c, f := openFake(t, nil)
	const n = 50
	var calls []<-chan outcome[string]
	for i := range n {
		calls = append(calls, beside(read(c, t.Context(), fmt.Sprintf("/n/%d", i))))
	}
	requests := make([]request, n)
	for i := range n {
		requests[i] = f.next()
	}
	rand.Shuffle(n, func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	for _, r := range requests {
		f.reply(r, "value of "+strings.TrimSuffix(r.payload, "\x00"))
	}
	for i, call := range calls {
		got := receive(t, call)
		require.NoError(t, got.err)
		assert.Equal(t, fmt.Sprintf("value of /n/%d", i), got.value)
	}
}

// N requests cost one round trip: the store has them all before it has answered any.
func TestPipelineSendsAllBeforeAnyReply(t *testing.T) {
	c, f := openFake(t, nil)
	call := beside(func() ([]Result, error) {
		return c.Pipeline(t.Context(), ReadOp("/a"), WriteOp("/b", "x"), DirectoryOp("/c"), IntroducedOp(3), MkdirOp("/d"), RemoveOp("/e"))
	})
	a, b, d := f.expect(wire.Read, "/a\x00"), f.expect(wire.Write, "/b\x00x"), f.expect(wire.Directory, "/c\x00")
	i, m, r := f.expect(wire.IsDomainIntroduced, "3\x00"), f.expect(wire.Mkdir, "/d\x00"), f.expect(wire.Rm, "/e\x00")
	f.reply(r, "OK\x00")
	f.deny(m, EACCES)
	f.reply(i, "T\x00")
	f.reply(d, "x\x00y\x00")
	f.reply(b, "OK\x00")
	f.reply(a, "1\x00")
	got := receive(t, call)
	require.NoError(t, got.err)
	assert.Equal(t, Result{Value: "1\x00"}, got.value[0], "READ's value is any bytes")
	assert.NoError(t, got.value[1].Err)
	assert.Equal(t, []string{"x", "y"}, got.value[2].List)
	assert.Equal(t, "T", got.value[3].Value)
	assert.ErrorIs(t, got.value[4].Err, EACCES)
	assert.EqualError(t, got.value[4].Err, "xenstore: MKDIR /d: permission denied (EACCES)")
	assert.NoError(t, got.value[5].Err)
}

func TestPipelineOfNothingAsksNothing(t *testing.T) {
	c, f := openFake(t, nil)
	res, err := c.Pipeline(t.Context())
	require.NoError(t, err)
	assert.Empty(t, res)
	f.silent(c)
}

func TestRequestIDsSkipWhatIsAwaited(t *testing.T) {
	batch := func(c *conn, n int) (ids []uint32) {
		c.queue(0, newBatch(make([]Op, n)))
		for out := c.out; len(out) > 0; {
			h, err := wire.ParseHeader(out)
			require.NoError(t, err)
			ids = append(ids, h.ReqID)
			out = out[wire.HeaderSize+h.Len:]
		}
		c.out = nil
		return ids
	}
	c := newConn(&transport{})
	assert.Equal(t, []uint32{1, 2}, batch(c, 2))
	c.next = math.MaxUint32 - 2
	assert.Equal(t, []uint32{math.MaxUint32 - 1, math.MaxUint32}, batch(c, 2), "the last ids are ids")
	assert.Equal(t, []uint32{3}, batch(c, 1), "0 is the events', 1 and 2 are awaited")
	c.next = math.MaxUint32 - 3
	assert.Equal(t, []uint32{4, 5, 6}, batch(c, 3), "a batch does not wrap")
	delete(c.pending, 1)
	c.next = math.MaxUint32
	assert.Equal(t, []uint32{1}, batch(c, 1), "an answered id is free")
	assert.Len(t, c.pending, 8)
}

func TestWrappedIDsAreAnswered(t *testing.T) {
	c, f := openFake(t, nil)
	c.conn.next = math.MaxUint32 - 1
	for _, id := range []uint32{math.MaxUint32, 1, 2} {
		call := beside(read(c, t.Context(), "/a"))
		r := f.expect(wire.Read, "/a\x00")
		assert.Equal(t, id, r.ReqID)
		f.reply(r, "v")
		require.NoError(t, receive(t, call).err)
	}
}

// What a store may not send ends the connection, and whoever waits learns why.
func TestConnectionEndsByWhatAStoreMayNotSend(t *testing.T) {
	for name, c := range map[string]struct {
		send func(f *fake, r request)
		want string
	}{
		"stray reply":      {func(f *fake, r request) { r.ReqID += 7; f.reply(r, "v") }, "a reply that nobody asked for: READ with request id 8"},
		"event, no token":  {func(f *fake, _ request) { f.send(wire.Header{Type: wire.WatchEvent}, "/a\x00") }, "malformed watch event of 3 bytes"},
		"event, no NUL":    {func(f *fake, _ request) { f.send(wire.Header{Type: wire.WatchEvent}, "/a\x00v1") }, "malformed watch event of 5 bytes"},
		"end":              {func(f *fake, _ request) { _ = f.conn.Close() }, "EOF"},
		"end in a header":  {func(f *fake, _ request) { cut(f, 7) }, "unexpected EOF"},
		"end in a payload": {func(f *fake, _ request) { cut(f, wire.HeaderSize+1) }, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			client, f := openFake(t, &Options{NoReconnect: true})
			call := beside(read(client, t.Context(), "/a"))
			c.send(f, f.next())
			err := receive(t, call).err
			require.ErrorIs(t, err, ErrDisconnected)
			assert.EqualError(t, err, "xenstore: READ /a: not connected: "+c.want)
			_, err = client.Read(t.Context(), "/b")
			assert.EqualError(t, err, "xenstore: READ /b: not connected: "+c.want)
		})
	}
}

// cut ends the connection within a message.
func cut(f *fake, at int) {
	_, _ = f.conn.Write(wire.AppendMessage(nil, wire.Header{Type: wire.Read, ReqID: 1}, []byte("value"))[:at])
	_ = f.conn.Close()
}

func TestGiantReplyIsRefusedBeforeItIsAllocated(t *testing.T) {
	c, f := openFake(t, &Options{NoReconnect: true})
	call := beside(read(c, t.Context(), "/a"))
	h := wire.AppendMessage(nil, wire.Header{Type: wire.Read, ReqID: f.next().ReqID}, nil)
	copy(h[12:], []byte{0xff, 0xff, 0xff, 0xff})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := f.conn.Write(h)
	require.NoError(t, err)
	assert.ErrorContains(t, receive(t, call).err, "a message of 4294967295 bytes is more than the 1048576 that are accepted")
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(maxReply))
	_, err = f.conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF, "the connection was closed without waiting for the payload")
}

// oxenstored sends whole lists over a socket.
func TestLongRepliesAreAccepted(t *testing.T) {
	c, f := openFake(t, nil)
	list := strings.Repeat("name\x00", maxReply/5)
	call := beside(func() ([]string, error) { return c.Directory(t.Context(), "/a") })
	f.reply(f.expect(wire.Directory, "/a\x00"), list)
	got := receive(t, call)
	require.NoError(t, got.err)
	assert.Len(t, got.value, maxReply/5)
	short := beside(read(c, t.Context(), "/a"))
	f.reply(f.next(), "v")
	assert.Equal(t, outcome[string]{value: "v"}, receive(t, short))
}

func TestOversizedRequestsAreNotSent(t *testing.T) {
	fits := func(limit int) string { return strings.Repeat("x", limit-len("/a")-1) }
	for name, limit := range map[string]int{"socket": wire.PayloadMax, "device": devicePayload} {
		t.Run(name, func(t *testing.T) {
			w := newFakes(t)
			w.change = func(tr *transport) { tr.limit = limit }
			c, f := w.open(nil)
			_, err := c.Pipeline(t.Context(), WriteOp("/ok", "1"), WriteOp("/a", fits(limit)+"x"))
			require.ErrorIs(t, err, E2BIG)
			assert.EqualError(t, err, fmt.Sprintf("xenstore: WRITE /a: %d bytes, at most %d fit a message: too big (E2BIG)", limit+1, limit))
			call := beside(nothing(func() error { return c.Write(t.Context(), "/a", fits(limit)) }))
			f.reply(f.expect(wire.Write, "/a\x00"+fits(limit)), "OK\x00")
			require.NoError(t, receive(t, call).err)
			f.silent(c)
		})
	}
}

func TestInvalidRequestsAreNotSent(t *testing.T) {
	c, f := openFake(t, nil)
	for what, err := range map[string]error{
		"path":        c.Write(t.Context(), "/a//b", "x"),
		"NUL in path": c.Write(t.Context(), "/a\x00b", "x"),
		"perms path":  c.SetPerms(t.Context(), "a/", []wire.Perm{{Letter: 'r'}}),
		"watch":       func() error { _, err := c.Watch(t.Context(), "", WatchOptions{}); return err }(),
	} {
		assert.ErrorIs(t, err, wire.ErrPath, what)
	}
	assert.ErrorIs(t, c.SetPerms(t.Context(), "/a", nil), EINVAL)
	assert.ErrorIs(t, c.SetPerms(t.Context(), "/a", []wire.Perm{{Letter: 'r'}, {}}), EINVAL, "a zero Perm has no letter")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errTest)
	assert.ErrorIs(t, c.Write(ended, "/a", "b"), errTest)
	assert.Empty(t, c.watches)
	f.silent(c)
}

func TestContextEndLeavesTheConnectionUsable(t *testing.T) {
	c, f := openFake(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	call := beside(func() ([]Result, error) { return c.Pipeline(ctx, ReadOp("/slow"), ReadOp("/slower")) })
	slow, slower := f.next(), f.next()
	f.reply(slow, "in time")
	cancel()
	got := receive(t, call)
	assert.ErrorIs(t, got.err, context.Canceled)
	assert.EqualError(t, got.err, "xenstore: READ /slow: context canceled")
	assert.Nil(t, got.value)
	next := beside(read(c, t.Context(), "/next"))
	r := f.next()
	f.reply(slower, "late")
	f.reply(r, "value")
	assert.Equal(t, outcome[string]{value: "value"}, receive(t, next))
	assert.Empty(t, c.conn.pending)
	assert.Zero(t, c.conn.abandoned)
}

// A store that takes requests and answers none must not cost memory without end.
func TestUnansweredRequestsAreBounded(t *testing.T) {
	w := newFakes(t)
	c, f := w.open(nil)
	go runDiscard(f)
	ctx, cancel := context.WithCancel(t.Context())
	call := beside(func() ([]Result, error) {
		ops := make([]Op, maxAbandoned+1)
		for i := range ops {
			ops[i] = ReadOp("/a")
		}
		return c.Pipeline(ctx, ops...)
	})
	first := c.current()
	eventually(t, "all are sent", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return len(first.pending) > maxAbandoned && len(first.out) == 0
	})
	cancel()
	require.ErrorIs(t, receive(t, call).err, context.Canceled)
	again := w.next()
	eventually(t, "the client uses the next connection", func() bool { return c.current() != first })
	assert.ErrorContains(t, first.err, "the store has left 32769 requests unanswered")
	next := beside(read(c, t.Context(), "/a"))
	again.reply(again.expect(wire.Read, "/a\x00"), "v")
	assert.Equal(t, outcome[string]{value: "v"}, receive(t, next))
}

func runDiscard(f *fake) { _, _ = io.Copy(io.Discard, f.conn) }

// A store that does not read holds nobody up beyond his context, and costs bounded memory. It goes on where it stopped once it reads again.
func TestStoreThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := openFake(t, nil)
		value := strings.Repeat("x", 4000)
		const callers = 200
		var calls []<-chan outcome[struct{}]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range callers {
			calls = append(calls, beside(nothing(func() error { return c.Write(ctx, "/a", value) })))
		}
		synctest.Wait()
		assert.Less(t, len(c.conn.out), maxUnsent+2*wire.PayloadMax)
		start := time.Now()
		for _, call := range calls {
			assert.ErrorIs(t, receive(t, call).err, context.DeadlineExceeded)
		}
		assert.Equal(t, time.Second, time.Since(start))
		last := beside(read(c, t.Context(), "/last"))
		sent, r := 0, f.next()
		for ; r.Type == wire.Write; r = f.next() {
			require.Equal(t, "/a\x00"+value, r.payload, "whole messages only")
			f.reply(r, "OK\x00")
			sent++
		}
		f.reply(r, "v")
		assert.Equal(t, outcome[string]{value: "v"}, receive(t, last))
		assert.Less(t, sent, callers, "what did not fit was not sent")
	})
}

// Over a socket callers write what fits its buffer; the writer does the rest, in order.
func TestBacklogOnASocketKeepsItsOrder(t *testing.T) {
	c, f := newFakes(t).onSocket().open(nil)
	const batches, each = 40, 100
	var wg sync.WaitGroup
	for b := range batches {
		wg.Go(func() {
			ops := make([]Op, each)
			for i := range ops {
				ops[i] = WriteOp(fmt.Sprintf("/b/%d", b), fmt.Sprintf("%d %s", i, strings.Repeat("x", 500)))
			}
			res, err := c.Pipeline(t.Context(), ops...)
			assert.NoError(t, err)
			assert.Len(t, res, each)
		})
	}
	eventually(t, "the socket is full", func() bool {
		c.conn.mu.Lock()
		defer c.conn.mu.Unlock()
		return len(c.conn.out) > maxUnsent
	})
	next := map[string]int{}
	for range batches * each {
		r := f.next()
		path, value, _ := strings.Cut(r.payload, "\x00")
		require.Equal(t, fmt.Sprintf("%d %s", next[path], strings.Repeat("x", 500)), value)
		next[path]++
		f.reply(r, "OK\x00")
	}
	wg.Wait()
	assert.Len(t, next, batches)
}

// What a caller could not write at once goes out before what was queued meanwhile.
func TestWhatIsLeftGoesOutFirst(t *testing.T) {
	w := newFakes(t)
	var c *Client
	w.change = func(tr *transport) {
		tr.try = func(b []byte) int {
			c.conn.post(0, MkdirOp("/later"))
			n, err := tr.Write(b[:len(b)/2])
			assert.NoError(t, err)
			return n
		}
	}
	c, f := w.open(nil)
	call := beside(read(c, t.Context(), "/first"))
	r := f.expect(wire.Read, "/first\x00")
	f.reply(f.expect(wire.Mkdir, "/later\x00"), "OK\x00")
	f.reply(r, "v")
	assert.Equal(t, outcome[string]{value: "v"}, receive(t, call))
}

func TestBlockedWriterEndsWithTheClient(t *testing.T) {
	c, _ := newFakes(t).onSocket().open(nil)
	ops := make([]Op, 2000)
	for i := range ops {
		ops[i] = WriteOp("/a", strings.Repeat("x", 4000))
	}
	call := beside(func() ([]Result, error) { return c.Pipeline(t.Context(), ops...) })
	waits := beside(read(c, t.Context(), "/a"))
	eventually(t, "the socket is full", func() bool {
		c.conn.mu.Lock()
		defer c.conn.mu.Unlock()
		return c.conn.writing && len(c.conn.pending) >= len(ops)
	})
	require.NoError(t, c.Close())
	assert.ErrorIs(t, receive(t, call).err, ErrClosed)
	assert.ErrorIs(t, receive(t, waits).err, ErrClosed)
}

func TestStoreThatAnswersAnotherQuestion(t *testing.T) {
	c, f := openFake(t, nil)
	call := beside(read(c, t.Context(), "/a"))
	r := f.next()
	f.send(wire.Header{Type: wire.Directory, ReqID: r.ReqID}, "x\x00")
	assert.EqualError(t, receive(t, call).err, "xenstore: READ /a: the store answered DIRECTORY")
	list := beside(func() ([]string, error) { return c.Directory(t.Context(), "/a") })
	f.reply(f.next(), "no NUL")
	assert.ErrorIs(t, receive(t, list).err, wire.ErrShort)
	perms := beside(func() ([]wire.Perm, error) { return c.Perms(t.Context(), "/a") })
	f.reply(f.next(), "n0\x00x1\x00")
	assert.ErrorContains(t, receive(t, perms).err, `xenstore: GET_PERMS /a: xenstore: permission "x1"`)
	begin := beside(func() (*Tx, error) { return c.Begin(t.Context()) })
	f.reply(f.next(), "0\x00")
	assert.EqualError(t, receive(t, begin).err, `xenstore: TRANSACTION_START: "0" is no transaction id`)
}

func TestErrorsOfTheStore(t *testing.T) {
	c, f := openFake(t, nil)
	for _, no := range []wire.Errno{ENOENT, EACCES, EINVAL, "EQUOTA", "EWHATEVER"} {
		call := beside(read(c, t.Context(), "/a"))
		f.deny(f.next(), no)
		err := receive(t, call).err
		assert.ErrorIs(t, err, no)
		assert.NotErrorIs(t, err, ErrDisconnected)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, &Error{Op: "READ", Path: "/a", Err: no}, e)
	}
}
