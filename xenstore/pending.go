package xenstore

import (
	"context"

	"vifplug/xenstore/wire"
)

// Pending is requests that have been sent: who has other work meanwhile calls Wait after it.
type Pending struct {
	conn *conn
	b    *batch
	err  error // nothing was sent
}

// start sends requests without waiting for replies.
func (c *conn) start(ctx context.Context, tx uint32, ops []Op) *Pending {
	for _, o := range ops {
		if err := o.check(c.limit); err != nil {
			return &Pending{err: err}
		}
	}
	p := &Pending{conn: c, b: newBatch(ops)}
	if len(ops) == 0 {
		close(p.b.done)
	} else if err := c.send(ctx, tx, p.b); err != nil {
		p.err = ops[0].fail(err)
	}
	return p
}

// Wait gives what [Client.Pipeline] would have given. It may be left out: then the replies are dropped.
func (p *Pending) Wait(ctx context.Context) ([]Result, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.conn.await(ctx, p.b)
}

// Send is [Client.Pipeline] that does not wait.
func (c *Client) Send(ctx context.Context, ops ...Op) *Pending { return c.current().start(ctx, 0, ops) }

// Send is [Tx.Pipeline] that does not wait.
func (tx *Tx) Send(ctx context.Context, ops ...Op) *Pending { return tx.conn.start(ctx, tx.id, ops) }

// Opening is a transaction that the store has been asked to open.
type Opening struct{ pending *Pending }

// StartBegin is [Client.Begin] that does not wait. It must be followed by Tx or Drop.
func (c *Client) StartBegin(ctx context.Context) *Opening {
	return &Opening{c.current().start(ctx, 0, []Op{{kind: wire.TransactionStart, payload: []byte{0}}})}
}

// Tx waits for the transaction. Where ctx ends first, the transaction is given up.
func (o *Opening) Tx(ctx context.Context) (*Tx, error) {
	res, err := o.pending.Wait(ctx)
	if err == nil {
		err = res[0].Err
	}
	if err != nil {
		return nil, err
	}
	id, err := transactionID([]byte(res[0].Value))
	if err != nil {
		return nil, Op{kind: wire.TransactionStart}.fail(err)
	}
	return &Tx{conn: o.pending.conn, id: id}, nil
}

// Drop gives the transaction up, whether the store has opened it yet or not. It does not wait.
func (o *Opening) Drop() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if tx, err := o.Tx(ended); err == nil {
		tx.Abort()
	}
}
