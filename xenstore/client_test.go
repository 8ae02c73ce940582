package xenstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

func TestOperationsOnNodes(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		ctx := t.Context()
		binary := "a\x00b\xff\n\x00"
		require.NoError(t, c.Write(ctx, "/t/a/b", binary))
		got, err := c.Read(ctx, "/t/a/b")
		require.NoError(t, err)
		assert.Equal(t, binary, got)
		got, err = c.Read(ctx, "/t/a")
		require.NoError(t, err, "parents are made")
		assert.Empty(t, got)

		require.NoError(t, c.Mkdir(ctx, "/t/a/m"))
		require.NoError(t, c.Write(ctx, "/t/a/m", "kept"))
		require.NoError(t, c.Mkdir(ctx, "/t/a/m"))
		got, err = c.Read(ctx, "/t/a/m")
		require.NoError(t, err)
		assert.Equal(t, "kept", got, "MKDIR leaves what is there")

		names, err := c.Directory(ctx, "/t/a")
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"b", "m"}, names)
		names, err = c.Directory(ctx, "/t/a/b")
		require.NoError(t, err)
		assert.Empty(t, names)

		require.NoError(t, c.Remove(ctx, "/t/a"))
		for _, path := range []string{"/t/a", "/t/a/b", "/t/a/m"} {
			_, err = c.Read(ctx, path)
			assert.ErrorIs(t, err, ENOENT, path)
		}
		assert.NoError(t, c.Remove(ctx, "/t/a"), "its parent is there")
		assert.ErrorIs(t, c.Remove(ctx, "/t/a/b"), ENOENT)
		assert.ErrorIs(t, c.Remove(ctx, "/"), EINVAL)
		_, err = c.Directory(ctx, "/t/a")
		assert.EqualError(t, err, "xenstore: DIRECTORY /t/a: no such node (ENOENT)")
	})
}

func TestPermissions(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		require.NoError(t, c.Write(t.Context(), "/p", ""))
		want := []wire.Perm{{Letter: 'n', DomID: 3}, {Letter: 'r', DomID: 4}, {Letter: 'b', DomID: 5}, {Letter: 'w', DomID: 32751}}
		require.NoError(t, c.SetPerms(t.Context(), "/p", want))
		got, err := c.Perms(t.Context(), "/p")
		require.NoError(t, err)
		assert.Equal(t, want, got)
		require.NoError(t, c.Write(t.Context(), "/p/below", ""))
		got, err = c.Perms(t.Context(), "/p/below")
		require.NoError(t, err)
		assert.Equal(t, want[1:], got[1:], "new nodes inherit")
		_, err = c.Perms(t.Context(), "/q")
		assert.ErrorIs(t, err, ENOENT)
		assert.ErrorIs(t, c.SetPerms(t.Context(), "/q", want), ENOENT)
	})
}

func TestDomains(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		ctx := t.Context()
		path, err := c.DomainPath(ctx, 4711)
		require.NoError(t, err)
		assert.Equal(t, "/local/domain/4711", path)
		is := func(id DomID, want bool) {
			t.Helper()
			got, err := c.Introduced(ctx, id)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
		is(0, true)
		is(9, false)
		require.NoError(t, c.Introduce(ctx, 9, 1234, 5))
		is(9, true)
		require.NoError(t, c.Resume(ctx, 9))
		require.NoError(t, c.Release(ctx, 9))
		is(9, false)
		assert.ErrorIs(t, c.Release(ctx, 9), ENOENT)
		assert.ErrorIs(t, c.Resume(ctx, 9), ENOENT)
	})
}

func TestRequestsAboutDomainsAsSent(t *testing.T) {
	c, f := openFake(t, nil)
	for _, one := range []struct {
		call func(context.Context) error
		kind wire.Type
		want string
	}{
		{func(ctx context.Context) error { return c.Introduce(ctx, 7, 1<<40, 1<<32-1) }, wire.Introduce, "7\x001099511627776\x004294967295\x00"},
		{func(ctx context.Context) error { return c.Release(ctx, 7) }, wire.Release, "7\x00"},
		{func(ctx context.Context) error { return c.Resume(ctx, 65535) }, wire.Resume, "65535\x00"},
		{func(ctx context.Context) error { return c.ResetWatches(ctx) }, wire.ResetWatches, "\x00"},
		{func(ctx context.Context) error {
			return c.SetPerms(ctx, "/a", []wire.Perm{{Letter: 'n', DomID: 1}, {Letter: 'r', DomID: 2}})
		}, wire.SetPerms, "/a\x00n1\x00r2\x00"},
	} {
		call := beside(nothing(func() error { return one.call(t.Context()) }))
		r := f.expect(one.kind, one.want)
		assert.Zero(t, r.TxID)
		f.reply(r, "OK\x00")
		require.NoError(t, receive(t, call).err)
	}
}

func TestFeatures(t *testing.T) {
	c, f := openFake(t, nil)
	ask := func(answer func(request)) (uint32, error) {
		call := beside(func() (uint32, error) { return c.Features(t.Context()) })
		answer(f.expect(wire.GetFeature, ""))
		got := receive(t, call)
		return got.value, got.err
	}
	got, err := ask(func(r request) { f.reply(r, "14\x00") })
	require.NoError(t, err)
	assert.Equal(t, FeatureError|FeatureWatchDepth|FeatureAnyDomain, got, "what C xenstored offers: 2, 4 and 8")
	assert.Equal(t, uint32(1), FeatureReconnection)
	for _, no := range []wire.Errno{ENOSYS, EINVAL} {
		got, err = ask(func(r request) { f.deny(r, no) })
		require.NoError(t, err, no)
		assert.Zero(t, got)
	}
	_, err = ask(func(r request) { f.deny(r, EACCES) })
	assert.ErrorIs(t, err, EACCES)
	for _, junk := range []string{"\x00", "-1\x00", "4294967296\x00", "2 4\x00"} {
		_, err = ask(func(r request) { f.reply(r, junk) })
		assert.ErrorContains(t, err, "xenstore: GET_FEATURE: ", junk)
	}
}

// Debian's store is of Xen 4.17, the embedded one is like it: neither has ever heard of features.
func TestFeaturesOfStoresThatHaveNone(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		got, err := c.Features(t.Context())
		require.NoError(t, err)
		assert.Zero(t, got)
		depth := 1
		_, err = c.Watch(t.Context(), "/a", WatchOptions{Depth: &depth})
		assert.ErrorIs(t, err, EINVAL)
	})
}

func TestResetWatches(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		w, err := c.Watch(t.Context(), "/a", WatchOptions{})
		require.NoError(t, err)
		take(t, w)
		require.NoError(t, c.ResetWatches(t.Context()))
		assert.Empty(t, c.watches, "a reconnect has nothing to renew")
		require.NoError(t, c.Write(t.Context(), "/a/b", ""))
		assert.Empty(t, w.Take(), "the reply to the write comes after the event would have")
		again, err := c.Watch(t.Context(), "/a", WatchOptions{})
		require.NoError(t, err)
		assert.Equal(t, []Event{{Path: "/a"}}, take(t, again))
		assert.NoError(t, w.Close(t.Context()), "the store does not know it any more")
	})
}

func TestManyGoroutines(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		var g sync.WaitGroup
		for i := range 40 {
			g.Go(func() {
				for j := range 25 {
					path, value := fmt.Sprintf("/g/%d/%d", i, j), strings.Repeat(fmt.Sprint(i, j), 100)
					assert.NoError(t, c.Write(t.Context(), path, value))
					got, err := c.Read(t.Context(), path)
					assert.NoError(t, err)
					assert.Equal(t, value, got)
				}
			})
		}
		g.Wait()
	})
}

// Thousands of names do not fit a message.
func TestLongDirectory(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		const n = 3000
		want := make([]string, n)
		ops := make([]Op, n)
		for i := range n {
			want[i] = fmt.Sprintf("child-%d", i)
			ops[i] = MkdirOp("/long/" + want[i])
		}
		_, err := c.Pipeline(t.Context(), ops...)
		require.NoError(t, err)
		got, err := c.Directory(t.Context(), "/long")
		require.NoError(t, err)
		slices.Sort(got)
		slices.Sort(want)
		assert.Equal(t, want, got)
		require.NoError(t, c.Transaction(t.Context(), func(tx *Tx) error {
			got, err = tx.Directory(t.Context(), "/long")
			return err
		}))
		assert.Len(t, got, n)
	})
}
