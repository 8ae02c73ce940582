package toolstack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vifplug/hotplug"
	"vifplug/xenstore"
)

// ErrOpen says that a guest does not close its side of a NIC.
var ErrOpen = errors.New("toolstack: the guest keeps the NIC open")

// Detach takes a NIC away as libxl does (xen: libxl_device.c libxl__initiate_device_generic_remove): it asks the guest to close its side, waits until
// it has, and removes the nodes. A guest that does not close in time keeps the NIC, on its way out, unless force takes it away.
func (t *Toolstack) Detach(ctx context.Context, k hotplug.Key, force bool) error {
	d, store := dirsOf(t.host.Self(), k), t.host.Store()
	w, err := store.Watch(ctx, d.back+"/state", xenstore.WatchOptions{})
	if err != nil {
		return wrap(err, k, "detach")
	}
	defer w.Close(context.WithoutCancel(ctx)) //nolint:errcheck // a connection that broke took it along
	if err := t.transaction(ctx, func(tx *xenstore.Tx) error { return ask(ctx, tx, d) }); err != nil {
		return wrap(err, k, "detach")
	}
	err = t.closed(ctx, w, d)
	if errors.Is(err, ErrOpen) && force {
		// netback takes a frontend without a state for one that is gone, and its device away.
		err = t.transaction(ctx, func(tx *xenstore.Tx) error { return remove(ctx, tx, d.front) })
	}
	if errors.Is(err, ErrOpen) {
		return &refusal{ErrOpen, fmt.Sprintf("the guest has not closed %s within %v: its driver does not answer, or it has none. Say --force to take the NIC away all the same",
			k, t.Closing)}
	}
	if err == nil {
		err = t.transaction(ctx, func(tx *xenstore.Tx) error { return Erase(ctx, tx, t.host.Self(), k) })
	}
	return wrap(err, k, "detach")
}

// ask writes that the NIC is to go. A backend that is gone, with the rest still there, needs no asking.
func ask(ctx context.Context, tx *xenstore.Tx, d dirs) error {
	state, err := tx.Read(ctx, d.back+"/state")
	if errors.Is(err, xenstore.ENOENT) {
		_, err = tx.Read(ctx, d.libxl+"/backend")
		return err
	}
	if err == nil {
		err = tx.Write(ctx, d.back+"/online", "0")
	}
	if err == nil && state != closed {
		err = tx.Write(ctx, d.back+"/state", closing)
	}
	return err
}

// The states of a device that goes (xen: xen/include/public/io/xenbus.h).
const (
	closing = "5"
	closed  = "6"
)

// closed waits until both sides have closed, or the backend is gone.
func (t *Toolstack) closed(ctx context.Context, w *xenstore.Watch, d dirs) error {
	late := time.NewTimer(t.Closing)
	defer late.Stop()
	for {
		state, err := t.host.Store().Read(ctx, d.back+"/state")
		switch {
		case errors.Is(err, xenstore.ENOENT), err == nil && state == closed:
			return nil
		case err != nil && !errors.Is(err, xenstore.ErrDisconnected):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			return ErrOpen
		case <-w.Ready():
			w.Take()
		}
	}
}
