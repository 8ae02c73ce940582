package xenstore

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// watch registers a watch with a fake store, and says by which token.
func watch(t *testing.T, c *Client, f *fake, path string, o WatchOptions) (*Watch, string) {
	t.Helper()
	call := beside(func() (*Watch, error) { return c.Watch(t.Context(), path, o) })
	r := f.next()
	require.Equal(t, wire.Watch, r.Type)
	parts := strings.Split(r.payload, "\x00")
	require.Equal(t, path, parts[0])
	f.reply(r, "OK\x00")
	got := receive(t, call)
	require.NoError(t, got.err)
	return got.value, parts[1]
}

func TestWatchTellsChangesBelow(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, target string) {
		ctx, other := t.Context(), connect(t, target, nil)
		w, err := c.Watch(ctx, "/w", WatchOptions{})
		require.NoError(t, err)
		assert.Equal(t, []Event{{Path: "/w"}}, take(t, w), "the first event, for the path itself")
		for _, change := range []struct {
			do   func() error
			want string
		}{
			{func() error { return other.Write(ctx, "/w/a", "1") }, "/w/a"},
			{func() error { return other.Write(ctx, "/w/a", "1") }, "/w/a"},
			{func() error { return other.SetPerms(ctx, "/w/a", []wire.Perm{{Letter: 'n'}}) }, "/w/a"},
			{func() error { return other.Remove(ctx, "/w/a") }, "/w/a"},
			{func() error { return other.Remove(ctx, "/w") }, "/w"},
		} {
			require.NoError(t, change.do())
			assert.Equal(t, []Event{{Path: change.want}}, take(t, w))
		}
		require.NoError(t, w.Close(ctx))
		require.NoError(t, other.Write(ctx, "/w/b", "1"))
		_, err = c.Read(ctx, "/w/b")
		require.NoError(t, err, "a reply of the same connection: an event would have come before")
		assert.Empty(t, w.Take())
		assert.NoError(t, w.Close(ctx), "closing again")
	})
}

func TestSpecialWatches(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		ctx := t.Context()
		intro, err := c.Watch(ctx, "@introduceDomain", WatchOptions{})
		require.NoError(t, err)
		assert.Equal(t, []Event{{Path: "@introduceDomain"}}, take(t, intro))
		_, err = c.Watch(ctx, "@releaseDomain", WatchOptions{Into: intro})
		require.NoError(t, err)
		assert.Equal(t, []Event{{Path: "@releaseDomain"}}, take(t, intro), "into the other's queue")
		require.NoError(t, c.Introduce(ctx, 3, 1, 2))
		assert.Equal(t, []Event{{Path: "@introduceDomain"}}, take(t, intro))
		require.NoError(t, c.Release(ctx, 3))
		assert.Equal(t, []Event{{Path: "@releaseDomain"}}, take(t, intro))
	})
}

func TestTwoWatchesOfOnePath(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		one, err := c.Watch(t.Context(), "/w", WatchOptions{})
		require.NoError(t, err)
		two, err := c.Watch(t.Context(), "/w", WatchOptions{})
		require.NoError(t, err)
		assert.NotEmpty(t, take(t, one))
		assert.NotEmpty(t, take(t, two))
		require.NoError(t, one.Close(t.Context()))
		require.NoError(t, c.Write(t.Context(), "/w/a", ""))
		assert.Equal(t, []Event{{Path: "/w/a"}}, take(t, two))
		assert.Empty(t, one.Take())
	})
}

func TestWatchDepthIsSent(t *testing.T) {
	c, f := openFake(t, nil)
	depth := 2
	call := beside(func() (*Watch, error) { return c.Watch(t.Context(), "/w", WatchOptions{Depth: &depth}) })
	r := f.next()
	assert.Equal(t, "/w\x00v1\x002\x00", r.payload)
	f.reply(r, "OK\x00")
	require.NoError(t, receive(t, call).err)
}

// The device may send the first event before the OK.
func TestEventBeforeTheReplyIsKept(t *testing.T) {
	c, f := openFake(t, nil)
	call := beside(func() (*Watch, error) { return c.Watch(t.Context(), "/w", WatchOptions{}) })
	r := f.next()
	f.event("/w", "v1")
	f.reply(r, "OK\x00")
	assert.Equal(t, []Event{{Path: "/w"}}, take(t, receive(t, call).value))
}

func TestEventsOfNoWatchAreIgnored(t *testing.T) {
	c, f := openFake(t, nil)
	w, token := watch(t, c, f, "/w", WatchOptions{})
	f.event("/w/a", token+"x")
	f.event("/w/b", token)
	assert.Equal(t, []Event{{Path: "/w/b"}}, take(t, w))
	call := beside(nothing(func() error { return w.Close(t.Context()) }))
	r := f.expect(wire.Unwatch, "/w\x00"+token+"\x00")
	f.event("/w/c", token)
	f.reply(r, "OK\x00")
	f.event("/w/d", token)
	require.NoError(t, receive(t, call).err)
	usable(t, c, f)
	assert.Empty(t, w.Take())
}

// Extra strings in an event are a newer protocol's.
func TestEventWithMoreThanItsStrings(t *testing.T) {
	c, f := openFake(t, nil)
	w, token := watch(t, c, f, "/w", WatchOptions{})
	f.send(wire.Header{Type: wire.WatchEvent, ReqID: 5, TxID: 6}, "/w/a\x00"+token+"\x00more\x00")
	assert.Equal(t, []Event{{Path: "/w/a"}}, take(t, w), "whatever the header says besides its type")
}

// A reader that never takes costs bounded memory, and no reply waits for it.
func TestReaderThatNeverTakes(t *testing.T) {
	c, f := newFakes(t).onSocket().open(nil)
	few, few1 := watch(t, c, f, "/few", WatchOptions{Max: 100})
	keyed, keyed1 := watch(t, c, f, "/keyed", WatchOptions{Key: func(string) (string, bool) { return "one", true }})
	into, into1 := watch(t, c, f, "/into", WatchOptions{Into: few})
	call := beside(read(c, t.Context(), "/a"))
	r := f.next()
	const rounds = 60_000 // of two events each
	var burst []byte
	for i := range rounds {
		for _, token := range []string{few1, keyed1} {
			burst = wire.AppendMessage(burst, wire.Header{Type: wire.WatchEvent}, fmt.Appendf(nil, "/few/%d\x00%s\x00", i, token))
		}
		if len(burst) > 1<<20 {
			_, err := f.conn.Write(burst)
			require.NoError(t, err)
			burst = burst[:0]
		}
	}
	_, err := f.conn.Write(burst)
	require.NoError(t, err)
	f.event("/into/a", into1)
	f.reply(r, "answered")
	assert.Equal(t, outcome[string]{value: "answered"}, receive(t, call))
	assert.ElementsMatch(t, []Event{{"/few", true}, {"/into", true}}, take(t, few))
	assert.Empty(t, into.Take(), "it is the same queue")
	assert.Equal(t, []Event{{Path: "one"}}, take(t, keyed))
	assert.Equal(t, 65536, keyed.reg.queue.max)
}

func TestWatchThatTheStoreRefuses(t *testing.T) {
	c, f := openFake(t, nil)
	call := beside(func() (*Watch, error) { return c.Watch(t.Context(), "/w", WatchOptions{}) })
	f.deny(f.next(), ENOSPC)
	assert.EqualError(t, receive(t, call).err, "xenstore: WATCH /w: over quota (ENOSPC)")
	assert.Empty(t, c.watches)
	usable(t, c, f)
}

// A watch that nobody waits for any more must not stay in the store: its events would cost for ever.
func TestContextEndTakesTheWatchBack(t *testing.T) {
	c, f := openFake(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	call := beside(func() (*Watch, error) { return c.Watch(ctx, "/w", WatchOptions{}) })
	r := f.expect(wire.Watch, "/w\x00v1\x00")
	cancel()
	back := f.expect(wire.Unwatch, "/w\x00v1\x00")
	require.ErrorIs(t, receive(t, call).err, context.Canceled)
	f.reply(r, "OK\x00")
	f.event("/w", "v1")
	f.reply(back, "OK\x00")
	usable(t, c, f)
	assert.Empty(t, c.watches)
}

func TestUnwatchOutlivesItsContext(t *testing.T) {
	c, f := openFake(t, nil)
	w, _ := watch(t, c, f, "/w", WatchOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	call := beside(nothing(func() error { return w.Close(ctx) }))
	f.reply(f.expect(wire.Unwatch, "/w\x00v1\x00"), "OK\x00")
	assert.ErrorIs(t, receive(t, call).err, context.Canceled)
	usable(t, c, f)
}
