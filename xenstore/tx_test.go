package xenstore

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// start answers a TRANSACTION_START.
func (f *fake) start(id int) {
	f.t.Helper()
	f.reply(f.expect(wire.TransactionStart, "\x00"), fmt.Sprintf("%d\x00", id))
}

// end reads a TRANSACTION_END of a transaction.
func (f *fake) end(how string, id int) request {
	f.t.Helper()
	r := f.expect(wire.TransactionEnd, how+"\x00")
	require.Equal(f.t, uint32(id), r.TxID)
	return r
}

func TestTransactionDoesAllOrNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		ctx := t.Context()
		require.NoError(t, c.Write(ctx, "/old/x", "1"))
		require.NoError(t, c.Transaction(ctx, func(tx *Tx) error {
			require.NoError(t, tx.Write(ctx, "/new/a", "2"))
			require.NoError(t, tx.Mkdir(ctx, "/new/m"))
			require.NoError(t, tx.Remove(ctx, "/old"))
			require.NoError(t, tx.SetPerms(ctx, "/new/a", []wire.Perm{{Letter: 'n', DomID: 1}}))
			res, err := tx.Pipeline(ctx, ReadOp("/new/a"), ReadOp("/old/x"))
			require.NoError(t, err)
			assert.Equal(t, "2", res[0].Value, "a transaction sees what it does")
			assert.ErrorIs(t, res[1].Err, ENOENT)
			names, err := tx.Directory(ctx, "/new")
			require.NoError(t, err)
			assert.ElementsMatch(t, []string{"a", "m"}, names)
			perms, err := tx.Perms(ctx, "/new/a")
			require.NoError(t, err)
			assert.Equal(t, []wire.Perm{{Letter: 'n', DomID: 1}}, perms)
			_, err = c.Read(ctx, "/new/a")
			assert.ErrorIs(t, err, ENOENT, "others do not before the commit")
			return nil
		}))
		_, err := c.Read(ctx, "/old/x")
		assert.ErrorIs(t, err, ENOENT)
		got, err := c.Read(ctx, "/new/a")
		require.NoError(t, err)
		assert.Equal(t, "2", got)
	})
}

func TestTransactionsThatCollideAllHappen(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, target string) {
		require.NoError(t, c.Write(t.Context(), "/n", "0"))
		const clients, each = 4, 10
		var runs atomic.Int32
		var g sync.WaitGroup
		for range clients {
			own := connect(t, target, nil)
			g.Go(func() {
				for range each {
					assert.NoError(t, own.Transaction(t.Context(), func(tx *Tx) error { runs.Add(1); return increment(t.Context(), tx) }))
				}
			})
		}
		g.Wait()
		got, err := c.Read(t.Context(), "/n")
		require.NoError(t, err)
		assert.Equal(t, strconv.Itoa(clients*each), got)
		assert.GreaterOrEqual(t, runs.Load(), int32(clients*each))
	})
}

func increment(ctx context.Context, tx *Tx) error {
	s, err := tx.Read(ctx, "/n")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return err
	}
	return tx.Write(ctx, "/n", strconv.Itoa(n+1))
}

func TestTransactionIsTriedAgainWhenDisturbed(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		ctx, runs := t.Context(), 0
		require.NoError(t, c.Write(ctx, "/n", "1"))
		require.NoError(t, c.Transaction(ctx, func(tx *Tx) error {
			runs++
			got, err := tx.Read(ctx, "/n")
			require.NoError(t, err)
			if runs < 3 {
				require.NoError(t, c.Write(ctx, "/n", strconv.Itoa(10*runs)))
			}
			return tx.Write(ctx, "/seen", got)
		}))
		assert.Equal(t, 3, runs)
		got, err := c.Read(ctx, "/seen")
		require.NoError(t, err)
		assert.Equal(t, "20", got)
	})
}

// A storm of EAGAIN ends, and its attempts are spaced: at random, so that two clients get out of each other's way.
func TestStormOfEAGAIN(t *testing.T) {
	storm := func(t *testing.T) (gaps []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			c, f := openFake(t, nil)
			call := beside(nothing(func() error { return c.Transaction(t.Context(), func(*Tx) error { return nil }) }))
			began, last := time.Now(), time.Now()
			for i := range transactionAttempts {
				f.start(i + 1)
				gaps = append(gaps, time.Since(last))
				last = time.Now()
				f.deny(f.end("T", i+1), EAGAIN)
			}
			err := receive(t, call).err
			assert.EqualError(t, err, "xenstore: TRANSACTION_END: changed meanwhile, try again (EAGAIN)")
			assert.Less(t, time.Since(began), 2*time.Second)
			f.silent(c)
		})
		return gaps
	}
	one := storm(t)
	require.Len(t, one, 24)
	for i, gap := range one {
		longest := time.Millisecond << max(0, min(i-4, 6))
		assert.Less(t, gap, longest, i)
		if i < 4 {
			assert.Zero(t, gap, "the first few at once")
		}
	}
	assert.NotEqual(t, one, storm(t))
}

func TestContextEndsAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := openFake(t, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		call := beside(nothing(func() error { return c.Transaction(ctx, func(*Tx) error { return nil }) }))
		for i := range 10 {
			f.start(i + 1)
			f.deny(f.end("T", i+1), EAGAIN)
		}
		synctest.Wait() // it pauses now
		cancel(errTest)
		assert.ErrorIs(t, receive(t, call).err, errTest)
		f.silent(c)
	})
}

// Only what another's change has caused is worth another try.
func TestOtherErrorsAreNotTriedAgain(t *testing.T) {
	for _, no := range []wire.Errno{ENOMEM, ENOSPC, EACCES} {
		c, f := openFake(t, nil)
		call := beside(nothing(func() error { return c.Transaction(t.Context(), func(*Tx) error { return nil }) }))
		f.start(1)
		f.deny(f.end("T", 1), no)
		assert.ErrorIs(t, receive(t, call).err, no)
		f.silent(c)
	}
	c, f := openFake(t, nil)
	call := beside(nothing(func() error {
		return c.Transaction(t.Context(), func(tx *Tx) error { _, err := tx.Read(t.Context(), "/a"); return err })
	}))
	f.start(1)
	f.deny(f.expect(wire.Read, "/a\x00"), EAGAIN)
	f.end("F", 1)
	assert.ErrorIs(t, receive(t, call).err, EAGAIN, "of a request within, not of the commit")
	f.silent(c)
}

func TestErrorOfTheBodyAborts(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		var old *Tx
		err := c.Transaction(t.Context(), func(tx *Tx) error {
			old = tx
			require.NoError(t, tx.Write(t.Context(), "/a", "b"))
			return fmt.Errorf("wrapped: %w", errTest)
		})
		require.ErrorIs(t, err, errTest)
		_, err = c.Read(t.Context(), "/a")
		assert.ErrorIs(t, err, ENOENT)
		_, err = old.Read(t.Context(), "/")
		assert.ErrorIs(t, err, ENOENT, "the store does not know the transaction any more")
	})
}

// A transaction ends on the store when its context does, wherever that happens.
func TestContextEndAborts(t *testing.T) {
	t.Run("in the body", func(t *testing.T) {
		c, f := openFake(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		call := beside(nothing(func() error {
			return c.Transaction(ctx, func(tx *Tx) error { _, err := tx.Read(ctx, "/a"); return err })
		}))
		f.start(5)
		f.expect(wire.Read, "/a\x00")
		cancel()
		f.end("F", 5)
		assert.ErrorIs(t, receive(t, call).err, context.Canceled, "without the store's answer")
	})
	t.Run("at the commit", func(t *testing.T) {
		c, f := openFake(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		call := beside(nothing(func() error { return c.Transaction(ctx, func(*Tx) error { return nil }) }))
		f.start(5)
		commit := f.end("T", 5)
		cancel()
		abort := f.end("F", 5)
		assert.ErrorIs(t, receive(t, call).err, context.Canceled)
		f.reply(commit, "OK\x00")
		f.deny(abort, ENOENT)
		usable(t, c, f)
	})
	t.Run("at the start", func(t *testing.T) {
		c, f := openFake(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		call := beside(func() (*Tx, error) { return c.Begin(ctx) })
		start := f.expect(wire.TransactionStart, "\x00")
		cancel()
		require.ErrorIs(t, receive(t, call).err, context.Canceled)
		f.reply(start, "77\x00") // late: nobody is there to end it
		f.reply(f.end("F", 77), "OK\x00")
		usable(t, c, f)
	})
}

// usable checks that a connection still serves, and that it awaits nothing.
func usable(t *testing.T, c *Client, f *fake) {
	t.Helper()
	call := beside(read(c, t.Context(), "/usable"))
	f.reply(f.expect(wire.Read, "/usable\x00"), "yes")
	require.Equal(t, outcome[string]{value: "yes"}, receive(t, call))
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	assert.Empty(t, c.conn.pending)
	assert.Zero(t, c.conn.abandoned)
}

func TestCommitDoesItsRequestsInOneRoundTrip(t *testing.T) {
	c, f := openFake(t, nil)
	begin := beside(func() (*Tx, error) { return c.Begin(t.Context()) })
	f.start(9)
	tx := receive(t, begin).value
	call := beside(nothing(func() error { return tx.Commit(t.Context(), WriteOp("/a", "1"), RemoveOp("/b")) }))
	for _, r := range []request{f.expect(wire.Write, "/a\x001"), f.expect(wire.Rm, "/b\x00"), f.end("T", 9)} {
		assert.Equal(t, uint32(9), r.TxID)
		f.reply(r, "OK\x00")
	}
	assert.NoError(t, receive(t, call).err)
}

// A request of the batch that fails does not keep the others back, and its error is the one that is told.
func TestCommitWithARequestThatFails(t *testing.T) {
	eachStore(t, func(t *testing.T, c *Client, _ string) {
		ctx := t.Context()
		tx, err := c.Begin(ctx)
		require.NoError(t, err)
		err = tx.Commit(ctx, WriteOp("/a", "1"), RemoveOp("/none/b"), WriteOp("/c", "2"))
		assert.EqualError(t, err, "xenstore: RM /none/b: no such node (ENOENT)")
		for path, want := range map[string]string{"/a": "1", "/c": "2"} {
			got, err := c.Read(ctx, path)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
	})
}

func TestCommitSaysFirstWhetherItHappened(t *testing.T) {
	c, f := openFake(t, nil)
	begin := beside(func() (*Tx, error) { return c.Begin(t.Context()) })
	f.start(9)
	tx := receive(t, begin).value
	call := beside(nothing(func() error { return tx.Commit(t.Context(), WriteOp("/a", "1")) }))
	f.deny(f.next(), ENOSPC)
	f.deny(f.next(), EAGAIN)
	assert.ErrorIs(t, receive(t, call).err, EAGAIN)
}

func TestCommitThatCannotBeSentAborts(t *testing.T) {
	c, f := openFake(t, nil)
	begin := beside(func() (*Tx, error) { return c.Begin(t.Context()) })
	f.start(9)
	tx := receive(t, begin).value
	assert.ErrorIs(t, tx.Commit(t.Context(), WriteOp("/a", "1"), ReadOp("/b/")), wire.ErrPath)
	f.reply(f.end("F", 9), "OK\x00")
	usable(t, c, f)
}

// A transaction is its connection's: after a reconnect it must not speak to the new one, where its id may be another's.
func TestTransactionDiesWithItsConnection(t *testing.T) {
	w := newFakes(t)
	c, f := w.open(nil)
	begin := beside(func() (*Tx, error) { return c.Begin(t.Context()) })
	f.start(9)
	tx := receive(t, begin).value
	call := beside(nothing(func() error { return tx.Commit(t.Context(), WriteOp("/a", "1")) }))
	f.expect(wire.Write, "/a\x001")
	require.NoError(t, f.conn.Close())
	assert.ErrorIs(t, receive(t, call).err, ErrDisconnected)
	again := w.next()
	assert.ErrorIs(t, tx.Write(t.Context(), "/a", "2"), ErrDisconnected)
	assert.ErrorIs(t, tx.Commit(t.Context()), ErrDisconnected)
	tx.Abort()
	again.silent(c)
}
