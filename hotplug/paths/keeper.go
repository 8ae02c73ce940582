package paths

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/firewall"
	"vifplug/qemu/shortcut"
)

// Kernel is the part of the kernel that is read. [bridge.Conn] is the real one.
type Kernel interface {
	Link(index int) (bridge.Link, error)
	BridgePort(index int) (bridge.BridgePort, error)
	BridgePorts(bridgeIndex int) ([]bridge.BridgePort, error)
	Switch(index int) (bridge.Switch, error)
	PortVLANs(index int) ([]bridge.PortVLAN, error)
	Classifiers(index int) (bridge.Classifiers, error)
	FDB(bridgeIndex int) ([]bridge.FDBEntry, error)
}

// Programs puts programs on ports. [shortcut.Manager] is the real one.
type Programs interface {
	Mode() shortcut.Mode
	Set(shortcut.Port) error
	Remove(index int) error
	Learn(bridgeIndex int, mac shortcut.MAC, vlan, port int) error
	Forget(bridgeIndex int, mac shortcut.MAC, vlan int) error
	Adopt() ([]int, error)
	Foreign(index int) ([]string, error)
	Counters(index int) (shortcut.Counters, error)
	Close() error
}

// Monitor tells of changes that may concern a path. [bridge.PathMonitor] is the real one.
type Monitor interface {
	Receive() (bridge.PathChange, error)
	Close() error
}

// Rules reads which rules bridged frames meet, and waits for others. [Netfilter] is the real one.
type Rules interface {
	Read() (firewall.State, error)
	Wait() error // returns when rules have changed, or with an error after Close
	Close() error
}

// Config is what a Keeper works with. Nothing is opened before the first port asks for more than the bridge.
type Config struct {
	Kernel   Kernel
	Programs func() (Programs, error)
	Monitor  func() (Monitor, error)
	Rules    func() (Rules, error)
	Changed  func(port string, s State) // called after a port's path has changed, by one goroutine
	Logger   *slog.Logger
	Dir      string // where guards are pinned that outlive the service
}

// Keeper has every port's frames take the path that [Choose] gives. It owns its goroutines from New to Close.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup // the run… goroutines
	wake    chan struct{}
	closers []func() error // guarded by mu

	mu     sync.Mutex // guards all following fields
	ended  bool
	wishes map[string]Wish
	ports  map[int]string // of wishes, by index
	states map[string]State
	marks  marks

	// programs is taken for each change of programs; the worker and whoever guards a port meet there.
	programs sync.Mutex
	attach   Programs              // nil: not opened
	broken   error                 // why it cannot be
	on       map[int]shortcut.Port // what stands, by index
	adopted  map[int]bool          // guards of an earlier life that nobody has asked for yet

	worker
}

// marks are what the worker has yet to look at.
type marks struct {
	all     bool // everything: rules have changed, events were lost
	ports   map[string]bool
	indexes map[int]bool // devices that may be bridges or uplinks
	fdb     []bridge.FDBEvent
	waiters []chan struct{} // closed when all of this has been looked at
}

// mostEvents bounds the addresses that wait: beyond, the tables are read anew.
const mostEvents = 4096

// New makes a keeper and starts it.
func New(cfg Config) *Keeper {
	k := &Keeper{cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), wishes: map[string]Wish{}, ports: map[int]string{}, states: map[string]State{}, on: map[int]shortcut.Port{}}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	k.marks, k.bridges, k.adopted = newMarks(), map[int]*overlay{}, map[int]bool{}
	k.at, k.switches = map[int]int{}, map[int]bridge.Switch{}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.workers.Add(1)
	go k.run()
	return k
}

func newMarks() marks { return marks{ports: map[string]bool{}, indexes: map[int]bool{}} }

// Close ends the keeper. Frames then take the bridge; guards stay.
func (k *Keeper) Close() error {
	k.cancel()
	var errs []error
	for _, c := range k.takeClosers() {
		errs = append(errs, c())
	}
	k.workers.Wait()
	k.programs.Lock()
	defer k.programs.Unlock()
	if k.attach != nil {
		errs = append(errs, k.attach.Close())
	}
	return errors.Join(errs...)
}

func (k *Keeper) takeClosers() []func() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.closers
	k.closers, k.ended = nil, true
	return c
}

// closeLater has Close end what was opened. Where Close has been called meanwhile it is ended at once, or whoever waits there would wait for ever.
func (k *Keeper) closeLater(c func() error) {
	k.mu.Lock()
	ended := k.ended
	if !ended {
		k.closers = append(k.closers, c)
	}
	k.mu.Unlock()
	if ended {
		_ = c()
	}
}

// Want tells of a plugged port, and what is asked of its path. It never blocks, and the same again costs nothing.
func (k *Keeper) Want(w Wish) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, known := k.wishes[w.Port]
	if known && old == w {
		return
	}
	if known && old.Index != w.Index {
		k.drop(old)
	}
	k.wishes[w.Port], k.ports[w.Index] = w, w.Port
	k.marks.ports[w.Port] = true
	k.wakeUp()
}

// Unwant tells that a port is no longer plugged. A guard on a device that is still there stays until that goes.
func (k *Keeper) Unwant(port string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, known := k.wishes[port]
	if !known {
		return
	}
	delete(k.wishes, port)
	delete(k.states, port)
	k.drop(w)
	k.wakeUp()
}

// drop has the worker take the programs off a device. The caller holds mu.
func (k *Keeper) drop(w Wish) {
	if k.ports[w.Index] == w.Port {
		delete(k.ports, w.Index)
	}
	k.marks.indexes[w.Index] = true
}

// Look has every port looked at again: what cannot be watched may have changed, or what could not be opened may be there now.
func (k *Keeper) Look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.marks.all = true
	k.wakeUp()
}

// wakeUp has the worker run. The caller holds mu.
func (k *Keeper) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// State is a port's path; false: none is known yet.
func (k *Keeper) State(port string) (State, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.states[port]
	return s, ok
}

// Counters are what the programs on a port have counted; false: there are none.
func (k *Keeper) Counters(port string) (shortcut.Counters, bool) {
	k.mu.Lock()
	w, known := k.wishes[port]
	k.mu.Unlock()
	k.programs.Lock()
	defer k.programs.Unlock()
	if _, on := k.on[w.Index]; !known || !on {
		return shortcut.Counters{}, false
	}
	c, err := k.attach.Counters(w.Index)
	return c, err == nil
}

// Guarded says that a device's frames are held to a MAC address.
func (k *Keeper) Guarded(index int, mac bridge.MAC) bool {
	k.programs.Lock()
	defer k.programs.Unlock()
	p, on := k.on[index]
	return on && p.Guard && p.MAC == shortcut.MAC(mac) || !on && k.adopted[index]
}

// Guard holds a device's frames to the guest's MAC address from now on. It is done when it returns.
func (k *Keeper) Guard(w Wish) error {
	if w.MAC == (bridge.MAC{}) {
		return fmt.Errorf("paths: guard %s: the backend node names no MAC address of the guest", w.Name)
	}
	if err := k.open(); err != nil {
		return fmt.Errorf("paths: guard %s: %w", w.Name, err)
	}
	k.programs.Lock()
	defer k.programs.Unlock()
	p := shortcut.Port{Index: w.Index, Bridge: w.Bridge, MTU: w.MTU, NIC: w.NIC, MAC: shortcut.MAC(w.MAC), Guard: true}
	if was, on := k.on[w.Index]; on && was.MAC == p.MAC {
		p, p.Guard = was, true
	}
	return k.set(p)
}

// set has the programs of a port be as p says. The caller holds programs.
func (k *Keeper) set(p shortcut.Port) error {
	if err := k.attach.Set(p); err != nil {
		return err
	}
	k.on[p.Index] = p
	delete(k.adopted, p.Index)
	return nil
}

// remove takes the programs off a device. The caller holds programs.
func (k *Keeper) remove(index int) {
	if _, on := k.on[index]; !on && !k.adopted[index] {
		return
	}
	if err := k.attach.Remove(index); err != nil {
		k.log.Warn("cannot take the programs off a port", "index", index, "err", err)
	}
	delete(k.on, index)
	delete(k.adopted, index)
}

// open opens the programs where they are not yet. What failed is tried again by Look.
func (k *Keeper) open() error {
	k.programs.Lock()
	defer k.programs.Unlock()
	if k.attach != nil || k.broken != nil {
		return k.broken
	}
	began := time.Now()
	a, err := k.cfg.Programs()
	if err != nil {
		k.broken = err
		return err
	}
	adopted, err := a.Adopt()
	if err != nil {
		k.log.Warn("cannot take over the guards of an earlier life", "err", err)
	}
	k.attach = a
	for _, i := range adopted {
		k.adopted[i] = true
	}
	k.log.Info("packet paths", "mode", string(a.Mode()), "adopted", len(adopted), "after", time.Since(began).Round(time.Microsecond).String())
	return nil
}
