package hotplug

import (
	"context"
	"errors"
	"strconv"
	"time"

	"vifplug/xenstore"
)

// connect tells the guest its MTU and netback that the port is usable, in one transaction that reads the backend node first: a write to an
// erased node would resurrect it, and libxl would find a device that nobody has.
//
// The frontend's mtu is the guest's to read and dom0's to write; the rest of the frontend is the guest's own, so its absence or a quarrel
// about it (a guest that rewrites it all the time) costs the guest the hint, never the NIC its status.
func (e *Engine) connect(ctx context.Context, k Key, f *Facts) error {
	err := e.cfg.Store.Transaction(ctx, func(tx *xenstore.Tx) error {
		return e.connectTx(ctx, tx, k, f, true)
	})
	if errors.Is(err, xenstore.EAGAIN) {
		err = e.cfg.Store.Transaction(ctx, func(tx *xenstore.Tx) error { return e.connectTx(ctx, tx, k, f, false) })
	}
	if err == nil {
		f.Node.Status, f.Node.Error = statusConnected, ""
	}
	return err
}

// connectTx is the body. It writes before it knows what it read, to save a round trip, and gives the transaction up when that was wrong.
func (e *Engine) connectTx(ctx context.Context, tx *xenstore.Tx, k Key, f *Facts, tellGuest bool) error {
	dir, front, mtu := e.paths.backend(k), frontendPath(k), strconv.Itoa(f.Link.MTU)
	ops := []xenstore.Op{xenstore.ReadOp(dir + "/frontend-id"), xenstore.WriteOp(dir+"/hotplug-status", statusConnected)}
	if tellGuest {
		ops = append(ops, xenstore.ReadOp(front+"/backend-id"), xenstore.ReadOp(front+"/mtu"))
	}
	if f.Node.Error != "" {
		ops = append(ops, xenstore.RemoveOp(dir+"/hotplug-error"))
	}
	res, err := tx.Pipeline(ctx, ops...)
	switch {
	case err != nil:
		return err
	case errors.Is(res[0].Err, xenstore.ENOENT):
		return errNoNode
	case res[0].Err != nil:
		return res[0].Err
	case res[1].Err != nil:
		return res[1].Err
	}
	if tellGuest && res[2].Err == nil && (res[3].Err != nil || res[3].Value != mtu) {
		return tx.Write(ctx, front+"/mtu", mtu)
	}
	return nil
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
