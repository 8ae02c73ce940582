package toolstack

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
	"vifplug/xenstore"
)

// Host is what a Toolstack knows the host by. [hotplug.Engine] is the real one.
type Host interface {
	Store() *xenstore.Client
	Self() xenstore.DomID // whose backends the NICs are
	Networks() hotplug.Networks
	Bridges() ([]bridge.Link, error)
	LeftTo(script string) bool // whether NICs with this script are left to it
}

// Toolstack changes the NICs of running guests.
type Toolstack struct {
	host Host
	// Closing bounds how long a guest may take to close its side of a NIC that is detached (xen: libxl_internal.h LIBXL_DESTROY_TIMEOUT).
	Closing time.Duration
}

// New makes a toolstack for a host.
func New(h Host) *Toolstack { return &Toolstack{host: h, Closing: 10 * time.Second} }

// Place is where a NIC is to be.
type Place struct {
	Network string `json:"network"`        // a declared network's name or id, or a bridge
	VLAN    int    `json:"vlan,omitempty"` // on a network that filters VLANs; 0: as the bridge gives it
}

// device is the bridge of a place. What the engine would refuse is refused here, before anything is written.
func (t *Toolstack) device(p Place) (string, error) {
	if p.Network == "" {
		return "", argument("no network is named. Say --network NAME")
	}
	n := t.host.Networks().Find(p.Network)
	if n == nil {
		return t.undeclared(p)
	}
	r := n.Refusal()
	if r == nil && p.VLAN != 0 {
		r = n.NoVLAN(p.VLAN)
	}
	if r != nil {
		return "", r
	}
	return string(n.ID), nil
}

// undeclared is a bridge that exists and that nobody declared.
func (t *Toolstack) undeclared(p Place) (string, error) {
	all, err := t.host.Bridges()
	if err != nil {
		return "", err
	}
	var names []string
	for _, n := range t.host.Networks() {
		if n.Guests {
			names = append(names, n.Name)
		}
	}
	for _, b := range all {
		switch {
		case string(b.Name) != p.Network:
			names = append(names, string(b.Name))
		case p.VLAN != 0 && !b.Filtering:
			return "", argument("the bridge %s does not filter VLANs, so that a NIC cannot have VLAN %d there", b.Name, p.VLAN)
		default:
			return p.Network, nil
		}
	}
	if near := network.Nearest(p.Network, names); near != "" {
		return "", unknown("no network and no bridge is called %q. Did you mean %s?", p.Network, near)
	}
	return "", unknown("no network and no bridge is called %q: there is none for guests. Declare one, or make a bridge", p.Network)
}

// Attach writes a new NIC of a guest, named by its name or id, in one transaction. The engine plugs it when netback has made its device.
func (t *Toolstack) Attach(ctx context.Context, domain string, n NIC) (hotplug.Key, error) {
	nodes, err := n.nodes()
	if err != nil {
		return hotplug.Key{}, err
	}
	if nodes.Bridge, err = t.device(Place{Network: n.Network, VLAN: n.VLAN}); err != nil {
		return hotplug.Key{}, err
	}
	g, err := t.guest(ctx, domain)
	if err != nil {
		return hotplug.Key{}, err
	}
	taken, err := t.addresses(ctx)
	if err != nil {
		return hotplug.Key{}, fmt.Errorf("attach a NIC to %s: %w", domain, err)
	}
	if nodes.MAC, err = pick(nodes.MAC, taken); err != nil {
		return hotplug.Key{}, err
	}
	nodes.Backend, nodes.Key.Front = t.host.Self(), g.id
	err = t.transaction(ctx, func(tx *xenstore.Tx) error {
		// What is written into the directory of a domain that has gone meanwhile would stay for ever.
		if _, err := tx.Read(ctx, fmt.Sprintf("/local/domain/%d/name", g.id)); err != nil {
			return err
		}
		nodes.Key.Device, err = next(ctx, tx, nodes.Backend, g.id)
		if err != nil {
			return err
		}
		return nodes.Write(ctx, tx)
	})
	if errors.Is(err, xenstore.ENOENT) {
		return hotplug.Key{}, unknown("guest %s has just gone", domain)
	}
	if err != nil {
		return hotplug.Key{}, fmt.Errorf("attach a NIC to %s: %w", domain, err)
	}
	return nodes.Key, nil
}

// disturbed bounds how often a transaction is begun anew in which the store has answered nonsense.
const disturbed = 8

// transaction is the store's, begun anew where it was disturbed: C xenstored of Xen 4.17 was seen to answer EINVAL to a removal, in a transaction beside
// which others had committed changes of the same directories.
func (t *Toolstack) transaction(ctx context.Context, body func(*xenstore.Tx) error) (err error) {
	for range disturbed {
		if err = t.host.Store().Transaction(ctx, body); !errors.Is(err, xenstore.EINVAL) {
			return err
		}
	}
	return err
}

// next is the number of a domain's next NIC: one above all that there are, as libxl counts. A number that was left out may still be an ethN of the guest.
func next(ctx context.Context, tx *xenstore.Tx, backend, front xenstore.DomID) (uint32, error) {
	free := uint64(0)
	for _, dir := range parents(backend, front) {
		names, err := tx.Directory(ctx, dir)
		if err != nil && !errors.Is(err, xenstore.ENOENT) {
			return 0, err
		}
		for _, name := range names {
			if n, err := strconv.ParseUint(name, 10, 31); err == nil && n >= free {
				free = n + 1
			}
		}
	}
	return uint32(free), nil
}

// Move writes another bridge into a NIC's nodes, in one transaction. The engine moves the port. The NIC gets the VLAN of its new place or none:
// a VLAN's number means something on one network alone.
func (t *Toolstack) Move(ctx context.Context, k hotplug.Key, to Place) error {
	vlan, err := vlanText(to.VLAN)
	if err != nil {
		return err
	}
	device, err := t.device(to)
	if err != nil {
		return err
	}
	d := dirsOf(t.host.Self(), k)
	err = t.transaction(ctx, func(tx *xenstore.Tx) error {
		if err := t.movable(ctx, tx, k, d); err != nil {
			return err
		}
		var ops []xenstore.Op
		for _, dir := range t.copies(ctx, tx, d) {
			ops = append(ops, xenstore.WriteOp(dir+"/bridge", device))
			if vlan != "" {
				ops = append(ops, xenstore.WriteOp(dir+"/vlan", vlan))
			} else if err := remove(ctx, tx, dir+"/vlan"); err != nil {
				return err
			}
		}
		return all(tx.Pipeline(ctx, ops...))
	})
	return wrap(err, k, "move")
}

// SetPath writes which path a NIC's frames are to take, vifplug's own key; "" leaves it to its network and the host. Only the backend has it: it goes
// with the NIC.
func (t *Toolstack) SetPath(ctx context.Context, k hotplug.Key, p paths.Path) error {
	if p != "" {
		if _, err := paths.Parse(string(p)); err != nil {
			return argument("path %q %v", network.Clip(string(p)), err)
		}
	}
	d := dirsOf(t.host.Self(), k)
	err := t.transaction(ctx, func(tx *xenstore.Tx) error {
		if err := t.movable(ctx, tx, k, d); err != nil {
			return err
		}
		if p == "" {
			return remove(ctx, tx, d.back+"/path")
		}
		return tx.Write(ctx, d.back+"/path", string(p))
	})
	return wrap(err, k, "set the path of")
}

// copies are the directories that have a NIC's values: the backend, and libxl's copy where there is one.
func (t *Toolstack) copies(ctx context.Context, tx *xenstore.Tx, d dirs) []string {
	if _, err := tx.Read(ctx, d.libxl+"/backend"); err != nil {
		return []string{d.back}
	}
	return []string{d.back, d.libxl}
}

// movable judges a NIC's present nodes.
func (t *Toolstack) movable(ctx context.Context, tx *xenstore.Tx, k hotplug.Key, d dirs) error {
	res, err := tx.Pipeline(ctx, xenstore.ReadOp(d.back+"/frontend-id"), xenstore.ReadOp(d.back+"/online"), xenstore.ReadOp(d.back+"/script"))
	switch {
	case err != nil:
		return err
	case res[0].Err != nil:
		return res[0].Err
	case res[1].Value == "0":
		return argument("%s is being removed", k)
	case t.host.LeftTo(res[2].Value):
		return argument("%s is plugged by its own script %s, not by vifplug. Detach it and attach another", k, res[2].Value)
	}
	return nil
}

// wrap says what could not be done to which NIC.
func wrap(err error, k hotplug.Key, what string) error {
	var r *refusal
	switch {
	case err == nil || errors.As(err, &r):
		return err
	case errors.Is(err, xenstore.ENOENT):
		return unknown("there is no NIC %s", k)
	}
	return fmt.Errorf("%s %s: %w", what, k, err)
}
