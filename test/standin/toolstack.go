package standin

import (
	"context"
	"fmt"

	"vifplug/hotplug"
	"vifplug/hotplug/toolstack"
	"vifplug/xenstore"
	"vifplug/xenstore/wire"
)

// Toolstack creates and destroys domains and NICs in the store as libxl does (xen: tools/libs/light/libxl_device.c, libxl_nic.c).
type Toolstack struct {
	Store   *xenstore.Client
	Backend xenstore.DomID // whose backends the NICs get: dom0's, or a driver domain's
}

// NIC is one vif line of a guest's configuration.
type NIC struct {
	Bridge, MAC, VIFName, Script, Type string
	VLAN                               string // "": none written
	MTU                                int    // 0: none written
	State                              string // of the backend; "": 1, as libxl leaves it to netback
}

// BackendDir is where a NIC's backend nodes are.
func (t *Toolstack) BackendDir(id xenstore.DomID, dev int) string {
	return fmt.Sprintf("%s/%d/%d", vifRoot(t.Backend), id, dev)
}

// CreateDomain makes a domain's nodes and introduces it to the store.
func (t *Toolstack) CreateDomain(ctx context.Context, id xenstore.DomID, name, uuid string) error {
	dom := fmt.Sprintf("/local/domain/%d", id)
	err := t.Store.Transaction(ctx, func(tx *xenstore.Tx) error {
		// The guest owns its device directory, and may not write its own name.
		err := protect(ctx, tx, map[string][]wire.Perm{dom: perms(0, id)})
		if err == nil {
			err = protect(ctx, tx, map[string][]wire.Perm{dom + "/device": perms(id, 0)})
		}
		if err != nil {
			return err
		}
		return all(tx.Pipeline(ctx,
			xenstore.WriteOp(dom+"/vm", "/vm/"+uuid), xenstore.WriteOp(dom+"/name", name), xenstore.WriteOp(dom+"/domid", fmt.Sprint(id)),
			xenstore.WriteOp("/vm/"+uuid+"/name", name), xenstore.WriteOp("/vm/"+uuid+"/uuid", uuid),
			xenstore.MkdirOp(dom+"/device/vif")))
	})
	if err != nil {
		return fmt.Errorf("standin: create domain %d: %w", id, err)
	}
	return t.Store.Introduce(ctx, id, 1, uint32(id))
}

// perms gives owner everything and reader the right to read.
func perms(owner, reader xenstore.DomID) []wire.Perm {
	return []wire.Perm{{Letter: 'n', DomID: wire.DomID(owner)}, {Letter: 'r', DomID: wire.DomID(reader)}}
}

// Attach writes a NIC's nodes in one transaction, as `xl create` and `xl network-attach` do.
func (t *Toolstack) Attach(ctx context.Context, id xenstore.DomID, dev int, n NIC) error {
	err := t.Store.Transaction(ctx, func(tx *xenstore.Tx) error { return t.write(ctx, tx, id, dev, n) })
	if err != nil {
		return fmt.Errorf("standin: attach vif%d.%d: %w", id, dev, err)
	}
	return nil
}

// AttachIn writes the first NICs of many domains in a transaction of the caller's: they appear at once.
func (t *Toolstack) AttachIn(ctx context.Context, tx *xenstore.Tx, ids []xenstore.DomID, n func(i int) NIC) error {
	for i, id := range ids {
		if err := t.write(ctx, tx, id, 0, n(i)); err != nil {
			return err
		}
	}
	return nil
}

func (t *Toolstack) write(ctx context.Context, tx *xenstore.Tx, id xenstore.DomID, dev int, n NIC) error {
	return toolstack.Nodes{
		Key: hotplug.Key{Front: id, Device: uint32(dev)}, Backend: t.Backend,
		MAC: n.MAC, Bridge: n.Bridge, VIFName: n.VIFName, Script: n.Script, Type: n.Type, MTU: n.MTU, VLAN: n.VLAN, State: n.State,
	}.Write(ctx, tx)
}

// protect makes directories with their rights.
func protect(ctx context.Context, tx *xenstore.Tx, dirs map[string][]wire.Perm) error {
	for dir, p := range dirs {
		if err := tx.Mkdir(ctx, dir); err != nil {
			return err
		}
		if err := tx.SetPerms(ctx, dir, p); err != nil {
			return err
		}
	}
	return nil
}

// all is the first error of a pipeline.
func all(res []xenstore.Result, err error) error {
	for _, r := range res {
		if err == nil {
			err = r.Err
		}
	}
	return err
}

// Detach asks for a NIC's removal: online = 0, state = 5. Netback and the guest then close.
func (t *Toolstack) Detach(ctx context.Context, id xenstore.DomID, dev int) error {
	b := t.BackendDir(id, dev)
	return t.Store.Transaction(ctx, func(tx *xenstore.Tx) error {
		if _, err := tx.Read(ctx, b+"/state"); err != nil {
			return err
		}
		if err := tx.Write(ctx, b+"/online", "0"); err != nil {
			return err
		}
		return tx.Write(ctx, b+"/state", "5")
	})
}

// Erase removes a NIC's nodes, the last act of a removal.
func (t *Toolstack) Erase(ctx context.Context, id xenstore.DomID, dev int) error {
	return t.Store.Transaction(ctx, func(tx *xenstore.Tx) error {
		return toolstack.Erase(ctx, tx, t.Backend, hotplug.Key{Front: id, Device: uint32(dev)})
	})
}

// DestroyDomain removes a domain's nodes, its empty backend directory too, and releases it.
func (t *Toolstack) DestroyDomain(ctx context.Context, id xenstore.DomID, uuid string) error {
	for _, path := range []string{fmt.Sprintf("%s/%d", vifRoot(t.Backend), id), fmt.Sprintf("/local/domain/%d", id), "/vm/" + uuid, fmt.Sprintf("/libxl/%d", id)} {
		if err := t.Store.Remove(ctx, path); err != nil && !isGone(err) {
			return err
		}
	}
	return t.Store.Release(ctx, id)
}
