package shortcut

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Mode is how programs are attached to a device.
type Mode string

// The modes.
const (
	TCX    Mode = "tcx"    // by a link of their own (Linux 6.6)
	Clsact Mode = "clsact" // as a classifier of tc
)

// Classifier attaches a program as a classifier of tc at a device's ingress. [vifplug/bridge.Conn] is the real one.
type Classifier interface {
	AttachClassifier(index, progFD int, name string) error // in place of ours, if there is one, in one step
	DetachClassifier(index int, name string) error         // one that is gone is fine
}

// classifierName is what our classifiers are called.
const classifierName = "vifplug-shortcut"

// Config is what a Manager works with.
type Config struct {
	Dir        string     // in a bpffs: where guards that outlive the service are pinned; "": they end with it
	Classifier Classifier // for kernels without TCX; nil: those have no shortcut
	Mode       Mode       // "": TCX where the kernel has it
	Logger     *slog.Logger
}

// Manager puts the programs of one network namespace on ports, and keeps their tables. It may be used by several goroutines.
type Manager struct {
	cfg  Config
	log  *slog.Logger
	mode Mode

	mu       sync.Mutex // guards all following fields
	slots    *memory
	memories *memory
	globals  *memory
	table    *ebpf.Map
	programs *ebpf.Map
	gen      uint32
	ports    map[int]*attached // by index
	nics     map[nicKey]*nic
	claims   map[key]map[*nic]bool // who is to have a row: of two with one address neither has it
	learned  map[key]int           // entries of stations behind uplinks: by which
	freeSlot pool
	freePort pool
	adopted  map[int]link.Link
	closed   bool
}

// nicKey is a guest's NIC on a bridge.
type nicKey struct {
	bridge int
	nic    string
}

// nic is the slot of a guest's NIC, for as long as one of its ports is there.
type nic struct {
	slot  int
	ports map[int]bool // by index
	entry key          // the row that it claims
	known bool         // it claims one
}

// attached is a port with its programs.
type attached struct {
	port    Port
	id      int // of its memory
	link    link.Link
	pinned  bool
	taken   bool    // the link is one of an earlier life, and has its program still
	stands  bool    // with clsact: our classifier is there
	sources *memory // of an uplink: what it has heard, and its VLANs
	plain   int     // an uplink's slot for frames without a tag
	tagged  int     // and with one
}

// pool hands out numbers, the one that has been free longest first.
type pool []int

func newPool(n int) pool {
	p := make(pool, n)
	for i := range p {
		p[i] = i
	}
	return p
}

func (p *pool) take() (int, error) {
	if len(*p) == 0 {
		return 0, errors.New("the tables are full")
	}
	n := (*p)[0]
	*p = (*p)[1:]
	return n, nil
}

func (p *pool) give(n int) { *p = append(*p, n) }

// memory is a map of one value that programs and the service both have in their memory.
type memory struct {
	m *ebpf.Map
	v *ebpf.Memory
}

func newMemory(name string, size int) (*memory, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1, Flags: bpfMmapable})
	if err != nil {
		return nil, err
	}
	v, err := m.Memory()
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &memory{m, v}, nil
}

// bpfMmapable is BPF_F_MMAPABLE (linux: include/uapi/linux/bpf.h).
const bpfMmapable = 1 << 10

func (m *memory) close() error { return m.m.Close() }

// Open makes the tables, and finds out by loading and attaching which way programs can be had. The error says why they cannot.
func Open(cfg Config) (*Manager, error) {
	m := &Manager{
		cfg: cfg, log: cfg.Logger, gen: 1, ports: map[int]*attached{}, nics: map[nicKey]*nic{}, claims: map[key]map[*nic]bool{},
		learned: map[key]int{}, adopted: map[int]link.Link{},
		freeSlot: newPool(mostSlots), freePort: newPool(mostPorts),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if err := rlimit.RemoveMemlock(); err != nil { // older kernels count maps there
		return nil, fmt.Errorf("shortcut: %w", err)
	}
	if err := m.makeTables(); err != nil {
		m.closeTables()
		return nil, fmt.Errorf("shortcut: this kernel, or what vifplugd may do, has no eBPF: %w", err)
	}
	mode, err := m.probe()
	if err != nil {
		m.closeTables()
		return nil, err
	}
	m.mode = mode
	return m, nil
}

func (m *Manager) makeTables() (err error) {
	if m.slots, err = newMemory("vifplug_slots", mostSlots*slotSize); err != nil {
		return err
	}
	if m.memories, err = newMemory("vifplug_ports", mostPorts*portSize); err != nil {
		return err
	}
	if m.globals, err = newMemory("vifplug_global", 8); err != nil {
		return err
	}
	if m.table, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "vifplug_macs", Type: ebpf.Hash, KeySize: keySize, ValueSize: 4, MaxEntries: mostMACs, Flags: bpfNoPrealloc,
	}); err != nil {
		return err
	}
	if m.programs, err = ebpf.NewMap(&ebpf.MapSpec{Name: "vifplug_progs", Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: mostPorts}); err != nil {
		return err
	}
	return m.setGeneration()
}

// bpfNoPrealloc is BPF_F_NO_PREALLOC: a host has a few hundred stations, not mostMACs.
const bpfNoPrealloc = 1 << 0

func (m *Manager) closeTables() {
	for _, x := range []*memory{m.slots, m.memories, m.globals} {
		if x != nil {
			_ = x.close()
		}
	}
	for _, x := range []*ebpf.Map{m.table, m.programs} {
		if x != nil {
			_ = x.Close()
		}
	}
}

// Mode is how programs are attached.
func (m *Manager) Mode() Mode { return m.mode }

func (m *Manager) maps() maps {
	return maps{slots: m.slots.m.FD(), ports: m.memories.m.FD(), table: m.table.FD(), globals: m.globals.m.FD(), programs: m.programs.FD()}
}

// setGeneration tells the kernel's side which generation of the tables this is.
func (m *Manager) setGeneration() error {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], m.gen)
	_, err := m.globals.v.WriteAt(b[:], 0)
	return err
}

// changed has every port forget what it found in the table.
func (m *Manager) changed() error {
	m.gen++
	if m.gen == 0 {
		m.gen = 1 // 0 is the generation of a port that has found nothing yet
	}
	return m.setGeneration()
}

// Set has a port's programs be as p says: attached, or replaced in one step. Its cost does not depend on how many other ports there are. After an error the
// port is as it was, or without programs where it had none.
func (m *Manager) Set(p Port) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("shortcut: port %d: %w", p.Index, err)
	}
	a := m.ports[p.Index]
	if a != nil && (a.port.Uplink != p.Uplink || a.port.Bridge != p.Bridge || a.port.NIC != p.NIC) {
		// Another port under the same device: its place is made anew, its program replaced.
		m.vacate(a)
	}
	if err := m.set(p, a); err != nil {
		return fmt.Errorf("shortcut: attach to port %d: %w", p.Index, err)
	}
	return nil
}

var errClosed = errors.New("shortcut: the manager is closed")

func (p Port) check() error {
	switch {
	case p.Index <= 0 || p.Bridge <= 0:
		return errors.New("a port has an index, and its bridge too")
	case p.MTU < 68 || p.MTU > 65535:
		return fmt.Errorf("MTU %d is none", p.MTU)
	case p.Uplink && p.Guard:
		return errors.New("an uplink has no guard, for it has no address of its own")
	case !p.Uplink && p.NIC == "":
		return errors.New("a guest's port has a NIC")
	case !p.Uplink && (p.MAC[0]&1 != 0 || p.MAC == MAC{}):
		return fmt.Errorf("the guest's address %v is none that a station can have", p.MAC)
	case p.VLAN < 0 || p.VLAN > 4094 || p.PVID < 0 || p.PVID > 4094:
		return errors.New("a VLAN is from 1 to 4094")
	}
	for _, v := range p.Tagged {
		if v < 1 || v > 4094 {
			return fmt.Errorf("VLAN %d is none", v)
		}
	}
	return nil
}

func (m *Manager) set(p Port, a *attached) (err error) {
	fresh := a == nil
	if fresh {
		a = &attached{id: -1, plain: -1, tagged: -1}
		if a.id, err = m.freePort.take(); err != nil {
			return err
		}
		if _, err = m.memories.v.WriteAt(make([]byte, portSize), int64(a.id*portSize)); err != nil {
			m.freePort.give(a.id)
			return err
		}
	}
	old := a.port
	a.port = p
	if err = m.place(a); err == nil {
		err = m.attach(a)
	}
	if err == nil {
		m.ports[p.Index] = a
		err = m.enter(a)
	}
	switch {
	case err == nil:
		return nil
	case fresh:
		return errors.Join(err, m.undo(a))
	}
	a.port = old
	return errors.Join(err, m.place(a))
}

// undo has a port that came to nothing be without programs again, or with the guard of an earlier life that it had.
func (m *Manager) undo(a *attached) (err error) {
	if a.taken {
		m.adopted[a.port.Index], a.link = a.link, nil
	}
	if a.link != nil || a.stands {
		err = m.detach(a)
	} else if del := m.programs.Delete(uint32(a.id)); !errors.Is(del, ebpf.ErrKeyNotExist) {
		err = del
	}
	m.vacate(a)
	delete(m.ports, a.port.Index)
	m.freePort.give(a.id)
	return err
}

// place gives a port its slots.
func (m *Manager) place(a *attached) (err error) {
	p := a.port
	if !p.Uplink {
		k := nicKey{p.Bridge, p.NIC}
		n := m.nics[k]
		if n == nil {
			n = &nic{ports: map[int]bool{}}
			if n.slot, err = m.freeSlot.take(); err != nil {
				return err
			}
			if err = m.writeSlot(n.slot, 0, flagGuest); err != nil {
				return err
			}
			m.nics[k] = n
		}
		n.ports[p.Index] = true
		return nil
	}
	if a.sources == nil {
		if a.sources, err = newMemory("vifplug_heard", sourcesSize); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		slot  *int
		flags uint32
	}{{&a.plain, 0}, {&a.tagged, flagTagged}} {
		if *s.slot < 0 {
			if *s.slot, err = m.freeSlot.take(); err != nil {
				*s.slot = -1
				return err
			}
		}
		if err = m.writeSlot(*s.slot, seat(p.Index, p.MTU), s.flags); err != nil {
			return err
		}
	}
	vlans := make([]byte, sourcesSize-vlansAt)
	for _, v := range append([]int{p.PVID}, p.Tagged...) {
		if v != 0 {
			vlans[v/8] |= 1 << (v % 8)
		}
	}
	_, err = a.sources.v.WriteAt(vlans, vlansAt)
	return err
}

func (m *Manager) writeSlot(slot int, seat uint64, flags uint32) error {
	var b [slotSize]byte
	binary.NativeEndian.PutUint64(b[slotSeat:], seat)
	binary.NativeEndian.PutUint32(b[slotFlags:], flags)
	_, err := m.slots.v.WriteAt(b[:], int64(slot*slotSize))
	return err
}

// vacate gives a port's slots back; what was learned behind an uplink is forgotten.
func (m *Manager) vacate(a *attached) {
	p := a.port
	if !p.Uplink {
		k := nicKey{p.Bridge, p.NIC}
		n := m.nics[k]
		if n == nil {
			return
		}
		m.unseat(n, p.Index)
		delete(n.ports, p.Index)
		if len(n.ports) == 0 {
			_ = m.strike(n)
			delete(m.nics, k)
			m.freeSlot.give(n.slot)
		}
		return
	}
	any := false
	for k, port := range m.learned {
		if port == p.Index {
			_ = m.table.Delete(k)
			delete(m.learned, k)
			any = true
		}
	}
	for _, s := range []*int{&a.plain, &a.tagged} {
		if *s >= 0 {
			_ = m.writeSlot(*s, 0, 0)
			m.freeSlot.give(*s)
			*s = -1
		}
	}
	if any {
		_ = m.changed()
	}
	if a.sources != nil {
		_ = a.sources.close()
		a.sources = nil
	}
}

// Remove takes the programs off a port. One that has none, or is gone, is fine.
func (m *Manager) Remove(index int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.adopted[index]; l != nil {
		delete(m.adopted, index)
		return errors.Join(l.Unpin(), l.Close())
	}
	a := m.ports[index]
	if a == nil {
		if m.mode == Clsact && !m.closed { // of an earlier life
			return m.cfg.Classifier.DetachClassifier(index, classifierName)
		}
		return nil
	}
	err := m.detach(a)
	m.vacate(a)
	delete(m.ports, index)
	m.freePort.give(a.id)
	if err != nil {
		return fmt.Errorf("shortcut: detach from port %d: %w", index, err)
	}
	return nil
}

// Counters are what has been counted of the frames that came in at a port.
func (m *Manager) Counters(index int) (Counters, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.ports[index]
	if a == nil || m.closed {
		return Counters{}, fmt.Errorf("shortcut: port %d has no programs", index)
	}
	b := make([]byte, portSize)
	if _, err := m.memories.v.ReadAt(b, int64(a.id*portSize)); err != nil {
		return Counters{}, fmt.Errorf("shortcut: read the counters of port %d: %w", index, err)
	}
	return countersOf(b), nil
}

// Close ends the shortcut: frames take the bridge. Guards stay, where there is a place to pin them.
func (m *Manager) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	var errs []error
	for _, a := range m.ports {
		if a.link != nil {
			errs = append(errs, a.link.Close())
		}
		if m.mode == Clsact && !a.port.Guard {
			errs = append(errs, m.cfg.Classifier.DetachClassifier(a.port.Index, classifierName))
		}
		if a.sources != nil {
			errs = append(errs, a.sources.close())
		}
	}
	for _, l := range m.adopted {
		errs = append(errs, l.Close())
	}
	m.closeTables()
	return errors.Join(errs...)
}

// load has the kernel verify a program.
func load(name string, ins asm.Instructions) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, Instructions: ins, License: "Dual MIT/GPL"})
}
