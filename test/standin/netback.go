package standin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"vifplug/bridge/bridgetest"
	"vifplug/xenstore"
)

// Netback plays the kernel's xen-netback and the guests' netfronts until it is closed: it answers backend nodes with netdevs and goes through
// the xenbus states as they do (linux: drivers/net/xen-netback/xenbus.c). It works in the network namespace of the process.
type Netback struct {
	store  *xenstore.Client
	opt    NetbackOptions
	root   string
	watch  *xenstore.Watch
	cancel context.CancelFunc
	done   sync.WaitGroup
	// Err tells of what went wrong, at most once.
	Err chan error

	mu      sync.Mutex      // guards devices
	devices map[string]bool // backend directories whose netdev exists
}

// NetbackOptions are whose netback it is and what it is like. The zero value is dom0's, as Linux has it since 5.6.
type NetbackOptions struct {
	Backend     xenstore.DomID // whose backends
	NetdevFirst bool           // as before Linux 5.6: state 2 comes after the netdev
	Kernel      *Kernel        // gives the netdevs their parent device; nil: they have none
}

// StartNetback begins to play. store is its own connection.
func StartNetback(ctx context.Context, store *xenstore.Client) (*Netback, error) {
	return StartNetbackAs(ctx, store, NetbackOptions{})
}

// StartNetbackAs is StartNetback with options.
func StartNetbackAs(ctx context.Context, store *xenstore.Client, o NetbackOptions) (*Netback, error) {
	if o.Kernel == nil {
		o.Kernel = &Kernel{} // nobody asks it
	}
	run, cancel := context.WithCancel(context.Background())
	n := &Netback{store: store, opt: o, root: vifRoot(o.Backend), cancel: cancel, Err: make(chan error, 1), devices: map[string]bool{}}
	w, err := store.Watch(ctx, n.root, xenstore.WatchOptions{Key: n.deviceDir})
	if err != nil {
		cancel()
		return nil, err
	}
	n.watch = w
	n.done.Add(1)
	go n.runNetback(run)
	return n, nil
}

func vifRoot(backend xenstore.DomID) string {
	return fmt.Sprintf("/local/domain/%d/backend/vif", backend)
}

// Close ends the play. Devices stay.
func (n *Netback) Close() {
	n.cancel()
	n.done.Wait()
}

// deviceDir reduces an event to the device whose it is.
func (n *Netback) deviceDir(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, n.root+"/")
	if !ok {
		return path, path == n.root
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 2 {
		return path, true
	}
	if len(parts) == 3 && parts[2] != "state" && parts[2] != "online" && parts[2] != "hotplug-status" {
		return "", false
	}
	return n.root + "/" + parts[0] + "/" + parts[1], true
}

func (n *Netback) runNetback(ctx context.Context) {
	defer n.done.Done()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.watch.Ready():
		}
		for _, ev := range n.watch.Take() {
			dir, _ := n.deviceDir(ev.Path)
			if err := n.look(ctx, dir); err != nil && ctx.Err() == nil {
				select {
				case n.Err <- err:
				default:
				}
			}
		}
	}
}

// look does what netback and the guest would do next about a device.
func (n *Netback) look(ctx context.Context, dir string) error {
	front, dev, ok := n.numbers(dir)
	if !ok {
		return n.vanished(dir)
	}
	res, err := n.store.Pipeline(ctx, xenstore.ReadOp(dir+"/state"), xenstore.ReadOp(dir+"/online"), xenstore.ReadOp(dir+"/hotplug-status"))
	if err != nil {
		return err
	}
	state, online, status := res[0].Value, res[1].Value, res[2].Value
	switch {
	case isGone(res[0].Err):
		return n.vanished(dir)
	case state == "1":
		return n.probe(ctx, dir, front, dev)
	case state == "2" && status == "connected":
		return n.connect(ctx, dir, front, dev)
	case state == "5" && online == "0":
		return n.remove(ctx, dir, front, dev)
	}
	return nil
}

// probe writes the features, then state 2, then makes the netdev: in this order since Linux 5.6, so that state 2 tells nothing of the netdev.
func (n *Netback) probe(ctx context.Context, dir string, front, dev int) error {
	for _, f := range []string{"feature-sg", "feature-gso-tcpv4", "feature-rx-copy", "feature-ctrl-ring"} {
		if err := n.store.Write(ctx, dir+"/"+f, "1"); err != nil {
			return err
		}
	}
	steps := []func() error{func() error { return n.setState(ctx, dir, "2") }, func() error { return n.makeNetdev(dir, front, dev) }}
	if n.opt.NetdevFirst {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Netback) makeNetdev(dir string, front, dev int) error {
	n.mu.Lock()
	n.devices[dir] = true
	n.mu.Unlock()
	if err := n.opt.Kernel.Make(VIF(front, dev), front, dev); err != nil {
		return err
	}
	return bridgetest.SetUp(GuestEnd(front, dev))
}

// Unbind plays `echo vif-FRONT-DEV > unbind` in sysfs: hotplug-status and the netdev go, the other nodes stay as they are.
func (n *Netback) Unbind(ctx context.Context, front, dev int) error {
	err := n.store.Remove(ctx, fmt.Sprintf("%s/%d/%d/hotplug-status", n.root, front, dev))
	return errors.Join(err, bridgetest.Delete(GuestEnd(front, dev)))
}

// Bind plays the driver being bound again: state 2, and a netdev with another index.
func (n *Netback) Bind(ctx context.Context, front, dev int) error {
	return n.probe(ctx, fmt.Sprintf("%s/%d/%d", n.root, front, dev), front, dev)
}

// connect is the guest's netfront going to 4, and netback following now that hotplug-status says connected.
func (n *Netback) connect(ctx context.Context, dir string, front, dev int) error {
	if err := n.setState(ctx, fmt.Sprintf("/local/domain/%d/device/vif/%d", front, dev), "4"); err != nil {
		return err
	}
	return n.changeState(ctx, dir, "2", "4")
}

// remove is the guest closing and netback unregistering: hotplug-status goes, then the netdev, then state 6.
func (n *Netback) remove(ctx context.Context, dir string, front, dev int) error {
	if err := n.store.Remove(ctx, dir+"/hotplug-status"); err != nil && !isGone(err) {
		return err
	}
	if err := n.vanished(dir); err != nil {
		return err
	}
	if err := n.setState(ctx, fmt.Sprintf("/local/domain/%d/device/vif/%d", front, dev), "6"); err != nil {
		return err
	}
	return n.setState(ctx, dir, "6")
}

// vanished takes away the netdev of a device, or of all devices below a directory.
func (n *Netback) vanished(dir string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for d := range n.devices {
		if d != dir && !strings.HasPrefix(d, dir+"/") {
			continue
		}
		if _, err := n.store.Read(context.Background(), d+"/frontend-id"); d != dir && err == nil {
			continue
		}
		delete(n.devices, d)
		front, dev, _ := n.numbers(d)
		errs = append(errs, bridgetest.Delete(GuestEnd(front, dev)))
	}
	return errors.Join(errs...)
}

// setState writes a xenbus state only while the node is there, as the kernel does.
func (n *Netback) setState(ctx context.Context, dir, state string) error {
	return n.changeState(ctx, dir, "", state)
}

// changeState is setState for a device that still is in a state; "" is any. A removal that has begun meanwhile is not undone.
func (n *Netback) changeState(ctx context.Context, dir, from, state string) error {
	err := n.store.Transaction(ctx, func(tx *xenstore.Tx) error {
		now, err := tx.Read(ctx, dir+"/state")
		if err != nil || from != "" && now != from {
			return err
		}
		return tx.Write(ctx, dir+"/state", state)
	})
	if isGone(err) {
		return nil
	}
	return err
}

func isGone(err error) bool { return errors.Is(err, xenstore.ENOENT) }

// numbers reads the domid and device id of a backend directory.
func (n *Netback) numbers(dir string) (front, dev int, ok bool) {
	a, b, found := strings.Cut(strings.TrimPrefix(dir, n.root+"/"), "/")
	front, err1 := strconv.Atoi(a)
	dev, err2 := strconv.Atoi(b)
	return front, dev, found && err1 == nil && err2 == nil
}

// VIF is the name of dom0's end.
func VIF(front, dev int) string { return fmt.Sprintf("vif%d.%d", front, dev) }

// GuestEnd is the name of the guest's end.
func GuestEnd(front, dev int) string { return fmt.Sprintf("g%d.%d", front, dev) }
