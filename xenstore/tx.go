package xenstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"vifplug/xenstore/wire"
)

// Tx is a transaction under way. It is for one goroutine, within the function that [Client.Transaction] calls.
type Tx struct {
	conn *conn
	id   uint32
}

// transactionAttempts bounds how often a transaction is tried that others keep disturbing. oxenstored is known for storms of EAGAIN.
const transactionAttempts = 24

// Transaction runs body in a transaction and commits it: all its writes happen, or none. Where another client changed what body read, body
// is run again from the start, so it must have no effects of its own. An error of body's gives the transaction up and is returned. When
// the attempts run out the error is EAGAIN.
func (c *Client) Transaction(ctx context.Context, body func(*Tx) error) error {
	for attempt := range transactionAttempts {
		err := c.attempt(ctx, body)
		var e *Error
		if !errors.As(err, &e) || e.Op != wire.TransactionEnd.String() || !errors.Is(err, wire.EAGAIN) || attempt == transactionAttempts-1 {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
	return nil
}

// pause spaces attempts: the first few at once, then longer and at random, so that two clients get out of each other's way.
func pause(ctx context.Context, attempt int) error {
	if attempt < 3 {
		return nil
	}
	longest := time.Millisecond << min(attempt-3, 6)
	t := time.NewTimer(rand.N(longest))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("xenstore: transaction: %w", context.Cause(ctx))
	case <-t.C:
		return nil
	}
}

func (c *Client) attempt(ctx context.Context, body func(*Tx) error) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	if err := body(tx); err != nil {
		tx.Abort()
		return err
	}
	return tx.Commit(ctx)
}

// Begin opens a transaction for who must do other things between its reads and its commit; [Client.Transaction] is for everybody else. It must
// end, by Commit or Abort, and soon: an open transaction holds up a live update of the store.
func (c *Client) Begin(ctx context.Context) (*Tx, error) {
	return c.StartBegin(ctx).Tx(ctx)
}

// Commit does the last requests and commits, all in one round trip. EAGAIN says that something that the transaction has read was changed
// meanwhile, and that nothing was done. A request of ops that fails does not keep the others from being committed; its error is returned. When
// the connection is lost or ctx ends, whether the transaction was committed is unknown.
func (tx *Tx) Commit(ctx context.Context, ops ...Op) error {
	res, err := tx.conn.pipeline(ctx, tx.id, append(append(make([]Op, 0, len(ops)+1), ops...), endOp("T")))
	if err != nil {
		tx.Abort()
		return err
	}
	if err := res[len(ops)].Err; err != nil {
		return err
	}
	for _, r := range res[:len(ops)] {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// Abort gives the transaction up. It does not wait for the store, whose answer changes nothing; a connection that breaks aborts by itself.
func (tx *Tx) Abort() { tx.conn.post(tx.id, endOp("F")) }

// endOp ends a transaction: T commits, F does not.
func endOp(how string) Op { return stringsOp(wire.TransactionEnd, "", how) }

// Pipeline is [Client.Pipeline] within the transaction.
func (tx *Tx) Pipeline(ctx context.Context, ops ...Op) ([]Result, error) {
	return tx.conn.pipeline(ctx, tx.id, ops)
}

// Read is [Client.Read] within the transaction.
func (tx *Tx) Read(ctx context.Context, path string) (string, error) {
	r, err := tx.conn.one(ctx, tx.id, ReadOp(path))
	return r.Value, err
}

// Write is [Client.Write] within the transaction.
func (tx *Tx) Write(ctx context.Context, path, value string) error {
	_, err := tx.conn.one(ctx, tx.id, WriteOp(path, value))
	return err
}

// Mkdir is [Client.Mkdir] within the transaction.
func (tx *Tx) Mkdir(ctx context.Context, path string) error {
	_, err := tx.conn.one(ctx, tx.id, MkdirOp(path))
	return err
}

// Remove is [Client.Remove] within the transaction.
func (tx *Tx) Remove(ctx context.Context, path string) error {
	_, err := tx.conn.one(ctx, tx.id, RemoveOp(path))
	return err
}

// Directory is [Client.Directory] within the transaction.
func (tx *Tx) Directory(ctx context.Context, path string) ([]string, error) {
	return tx.conn.directory(ctx, tx.id, path)
}

// Perms is [Client.Perms] within the transaction.
func (tx *Tx) Perms(ctx context.Context, path string) ([]wire.Perm, error) {
	return tx.conn.perms(ctx, tx.id, path)
}

// SetPerms is [Client.SetPerms] within the transaction.
func (tx *Tx) SetPerms(ctx context.Context, path string, perms []wire.Perm) error {
	_, err := tx.conn.one(ctx, tx.id, permsOp(path, perms))
	return err
}
