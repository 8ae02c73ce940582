package hotplug

import (
	"context"
	"errors"
	"strconv"
	"time"

	"vifplug/xenstore"
)

// connection is the transaction that tells the guest its MTU and netback that the port is usable. It reads the backend node before it writes: a
// write to an erased node would resurrect it, and libxl would find a device that nobody has.
//
// It is opened and does its reads while the kernel works on the port: the store is asked before a step and heard after it, since a round trip
// costs as much as a step. The commit fails if what was read has changed since.
//
// The frontend's mtu is the guest's to read and dom0's to write; the rest of the frontend is the guest's own, so its absence or a quarrel
// about it (a guest that rewrites it all the time) costs the guest the hint, never the NIC its status.
type connection struct {
	e       *Engine
	key     Key
	opening *xenstore.Opening // nil when the following three are set
	tx      *xenstore.Tx
	reads   *xenstore.Pending
	err     error
}

// prepareConnect asks for the transaction. The caller ends it.
func (e *Engine) prepareConnect(ctx context.Context, k Key) *connection {
	return &connection{e: e, key: k, opening: e.cfg.Store.StartBegin(ctx)}
}

// advance asks for the reads once the transaction is open.
func (c *connection) advance(ctx context.Context) {
	if c == nil || c.opening == nil {
		return
	}
	c.tx, c.err = c.opening.Tx(ctx)
	c.opening = nil
	if c.err == nil {
		c.reads = c.tx.Send(ctx, c.ops(true)...)
	}
}

// ops are the reads: whether the backend is there, and, where the guest is to be told, whether its frontend is and what MTU it has been told.
func (c *connection) ops(tellGuest bool) []xenstore.Op {
	dir, front := c.e.paths.backend(c.key), frontendPath(c.key)
	ops := []xenstore.Op{xenstore.ReadOp(dir + "/frontend-id")}
	if tellGuest {
		ops = append(ops, xenstore.ReadOp(front+"/backend-id"), xenstore.ReadOp(front+"/mtu"))
	}
	return ops
}

// end gives up a transaction that was not committed.
func (c *connection) end() {
	switch {
	case c.opening != nil:
		c.opening.Drop()
	case c.tx != nil:
		c.tx.Abort()
	}
}

// connect writes and commits. Where others have disturbed the transaction it is done over, at last without the guest's part.
func (c *connection) connect(ctx context.Context, f *Facts) error {
	c.advance(ctx)
	err := c.err
	if err == nil {
		var reads []xenstore.Result
		if reads, err = c.reads.Wait(ctx); err == nil {
			tx := c.tx
			c.tx = nil // the commit ends it
			err = c.commit(ctx, tx, reads, f)
		}
	}
	for attempt := 1; errors.Is(err, xenstore.EAGAIN) && attempt <= connectAttempts; attempt++ {
		err = c.over(ctx, f, attempt < connectAttempts)
	}
	if err == nil {
		f.Node.Status, f.Node.Error = statusConnected, ""
	}
	return err
}

// connectAttempts bounds the tries with the guest's part; one more goes without.
const connectAttempts = 8

func (c *connection) over(ctx context.Context, f *Facts, tellGuest bool) error {
	tx, err := c.e.cfg.Store.Begin(ctx)
	if err != nil {
		return err
	}
	reads, err := tx.Pipeline(ctx, c.ops(tellGuest)...)
	if err != nil {
		tx.Abort()
		return err
	}
	return c.commit(ctx, tx, reads, f)
}

func (c *connection) commit(ctx context.Context, tx *xenstore.Tx, reads []xenstore.Result, f *Facts) error {
	if err := reads[0].Err; err != nil {
		tx.Abort()
		if errors.Is(err, xenstore.ENOENT) {
			return errNoNode
		}
		return err
	}
	dir, mtu := c.e.paths.backend(c.key), strconv.Itoa(f.Link.MTU)
	ops := []xenstore.Op{xenstore.WriteOp(dir+"/hotplug-status", statusConnected)}
	if f.Node.Error != "" {
		ops = append(ops, xenstore.RemoveOp(dir+"/hotplug-error"))
	}
	hint := frontendPath(c.key) + "/mtu"
	if len(reads) > 1 && reads[1].Err == nil && (reads[2].Err != nil || reads[2].Value != mtu) {
		ops = append(ops, xenstore.WriteOp(hint, mtu))
	}
	err := tx.Commit(ctx, ops...)
	var refused *xenstore.Error
	if errors.As(err, &refused) && refused.Path == hint {
		return nil // a driver domain may not write there; the rest is committed
	}
	return err
}

// writeFailure says in the node why a NIC is not plugged, in the very words of the event: libxl logs hotplug-error, and netback keeps the
// guest waiting until the status is connected. Nothing is written where it stands there already.
func (e *Engine) writeFailure(k Key, f Facts, r *Reason) {
	if f.Node == nil || f.Node.Status == "error" && f.Node.Error == r.Error() {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, 5*time.Second)
	defer cancel()
	dir := e.paths.backend(k)
	err := e.cfg.Store.Transaction(ctx, func(tx *xenstore.Tx) error {
		res, err := tx.Pipeline(ctx, xenstore.ReadOp(dir+"/frontend-id"),
			xenstore.WriteOp(dir+"/hotplug-error", r.Error()), xenstore.WriteOp(dir+"/hotplug-status", "error"))
		if err != nil {
			return err
		}
		for _, one := range res {
			if one.Err != nil {
				return one.Err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, xenstore.ENOENT) {
		e.log.Warn("cannot write hotplug-error", "vif", k.VIF(), "err", err)
	}
}
