package shortcut

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

// Offsets in struct __sk_buff of what a test and its program tell each other by (linux: include/uapi/linux/bpf.h).
const (
	skbMark = 8
	skbCB   = 48
)

// traced is a program that says in cb where it sends a frame on, and with which tag, rather than do so: a test run of the kernel does not tell.
func traced(ins asm.Instructions) asm.Instructions {
	var out asm.Instructions
	for _, i := range ins {
		if !i.IsBuiltinCall() || asm.BuiltinFunc(i.Constant) != asm.FnRedirect {
			out = append(out, i)
			continue
		}
		out = append(out,
			asm.StoreMem(ctx, skbCB, asm.R1, asm.Word),
			asm.LoadMem(asm.R1, ctx, skbTag, asm.Word),
			asm.StoreMem(ctx, skbCB+4, asm.R1, asm.Word),
			asm.LoadMem(asm.R1, ctx, skbTCI, asm.Word),
			asm.StoreMem(ctx, skbCB+8, asm.R1, asm.Word),
			asm.Mov.Imm(asm.R0, verdictRedirect),
		)
	}
	return out
}

const verdictRedirect = 7 // TC_ACT_REDIRECT

// tagger puts the tag that the mark asks for on a frame, as the kernel has it at ingress, and goes on to the program under test.
func tagger(programs int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMem(asm.R2, ctx, skbMark, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "go"),
		asm.Mov.Reg(asm.R3, asm.R2),
		asm.And.Imm(asm.R3, 0xffff),
		asm.RSh.Imm(asm.R2, 16),
		asm.Mov.Reg(asm.R1, ctx),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Reg(asm.R1, ctx).WithSymbol("go"),
		asm.LoadMapPtr(asm.R2, programs),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, verdictDrop+100),
		asm.Return(),
	}
}

// rig runs the programs of ports on frames, in test runs of the kernel.
type rig struct {
	*host
	programs *ebpf.Map
	tag      *ebpf.Program
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{host: newHost(t)}
	var err error
	r.programs, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	require.NoError(t, err)
	r.tag, err = load("tagger", tagger(r.programs.FD()))
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = r.programs.Close(), r.tag.Close() })
	return r
}

// under puts the program of a port under test.
func (r *rig) under(t *testing.T, p Port) {
	t.Helper()
	a := r.ports[p.Index]
	ins := entryProgram(r.maps(), p, a.id)
	switch {
	case p.Redirect && p.Uplink:
		ins = uplinkProgram(r.maps(), p, a.id, a.sources.m.FD(), p.PVID != 0 || len(p.Tagged) > 0)
	case p.Redirect:
		ins = guestProgram(r.maps(), p, a.id, r.nics[nicKey{p.Bridge, p.NIC}].slot)
	}
	prog, err := load("traced", traced(ins))
	require.NoError(t, err)
	require.NoError(t, r.programs.Put(uint32(0), prog))
	require.NoError(t, prog.Close())
}

// skb is struct __sk_buff, as far as a test run takes it.
type skb struct {
	Len, PktType, Mark, Queue         uint32
	Protocol, VLANPresent, TCI, VLAN  uint32
	Priority, IngressIfindex, Ifindex uint32
	TCIndex                           uint32
	CB                                [5]uint32
	Hash, TCClassid, Data, DataEnd    uint32
	NAPI, Family, RIP4, LIP4          uint32
	RIP6, LIP6                        [4]uint32
	RemotePort, LocalPort, DataMeta   uint32
	FlowKeys, Tstamp                  uint64
	WireLen, GSOSegs                  uint32
	SK                                uint64
	GSOSize                           uint32
	TstampType, _, _, _               uint8
	Hwtstamp                          uint64
}

// run is what the program under test does with a frame.
func (r *rig) run(t *testing.T, f Frame) Verdict {
	t.Helper()
	var in, out skb
	if f.TPID != 0 {
		var be [2]byte
		binary.BigEndian.PutUint16(be[:], f.TPID)
		in.Mark = uint32(binary.NativeEndian.Uint16(be[:]))<<16 | uint32(f.TCI)
	}
	if f.GSO {
		in.GSOSize, in.GSOSegs = 1000, 2
	}
	ret, err := r.tag.Run(&ebpf.RunOptions{Data: f.Data, Context: in, ContextOut: &out})
	require.NoError(t, err)
	switch int32(ret) {
	case verdictNext:
		return Verdict{}
	case verdictDrop:
		return Verdict{Action: Drop}
	case verdictRedirect:
		v := Verdict{Action: Redirect, To: int(out.CB[0])}
		if out.CB[1] != 0 {
			v.Tag = int(out.CB[2] & 0xfff)
		}
		return v
	}
	t.Fatalf("the program answers %d", int32(ret))
	return Verdict{}
}

// dice makes choices from what the fuzzer gives, so that it can vary each.
type dice struct{ *rand.Rand }

func roll[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

// world is a bridge with two guests, of which the first has two ports, and an uplink; in kind and in the model.
type world struct {
	bridge   int
	vlan     int // 0: the bridge does not filter
	guests   [3]Port
	uplink   Port
	stations map[Address]*Seat
	shown    map[int]bool
	heard    [mostSources]Address
}

// Where a test finds who sends and who receives.
var strangers = []MAC{
	{2, 0, 0, 0, 0, 9},
	{2, 0, 0, 0, 0, 10},
	{0x52, 0x54, 0, 1, 2, 3},
	{0x52, 0x54, 0, 1, 3, 2},
	{},
	{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	{1, 0, 0x5e, 0, 0, 1},
	{0x33, 0x33, 0, 0, 0, 1},
	{1, 0x80, 0xc2, 0, 0, 0},
	{2, 0, 0, 0, 0, 1},
	{2, 0, 0, 0, 0, 2},
}

func (d dice) world(r *rig) *world {
	w := &world{bridge: r.index["br"], vlan: roll(d, 0, 0, 7, 100), stations: map[Address]*Seat{}, shown: map[int]bool{}}
	for i, n := range []string{"1", "1", "2"} {
		w.guests[i] = Port{
			Index: r.index[[]string{"p1", "q1", "p2"}[i]], Bridge: w.bridge, MTU: roll(d, 1500, 1500, 576, 9000), NIC: n + ".0",
			MAC: macs["g"+n], Guard: d.IntN(2) == 0, Redirect: d.IntN(8) != 0, VLAN: w.vlan,
		}
	}
	w.uplink = Port{Index: r.index["up"], Bridge: w.bridge, MTU: roll(d, 1500, 1500, 9000), Uplink: true, Redirect: d.IntN(8) != 0}
	if w.vlan != 0 {
		w.uplink.PVID = roll(d, 0, 1, 7)
		w.uplink.Tagged = roll(d, []int{100, 4094}, []int{7, 100}, []int{100, 8})
	}
	for i, p := range w.guests {
		if p.Redirect || i < 2 && (w.guests[0].Redirect || w.guests[1].Redirect) {
			if a := (Address{p.MAC, p.VLAN}); w.stations[a] == nil {
				w.stations[a] = &Seat{Guest: true}
			}
		}
	}
	return w
}

// learn has the bridge learn a station behind the uplink, in the model and in kind.
func (w *world) learn(t *testing.T, r *rig, mac MAC, vlan int) {
	require.NoError(t, r.Learn(w.bridge, mac, vlan, w.uplink.Index))
	a := Address{mac, vlan}
	if s := w.stations[a]; s != nil && s.Guest {
		s.Port = 0
		return
	}
	w.stations[a] = &Seat{Port: w.uplink.Index, MTU: w.uplink.MTU, Tagged: vlan != 0 && vlan != w.uplink.PVID}
}

func (w *world) forget(t *testing.T, r *rig, mac MAC, vlan int) {
	require.NoError(t, r.Forget(w.bridge, mac, vlan))
	switch s := w.stations[Address{mac, vlan}]; {
	case s == nil:
	case s.Guest:
		s.Port = 0
	default:
		delete(w.stations, Address{mac, vlan})
		w.heard[placeOf(keyOf(0, mac, vlan))] = Address{}
	}
}

func (d dice) frame(w *world, p Port) Frame {
	f := Frame{Data: make([]byte, roll(d, 14, 15, 60, 590, 591, 1514, 1515, 3000)), GSO: d.IntN(4) == 0}
	for i := range f.Data {
		f.Data[i] = byte(d.Uint32())
	}
	to, from := roll(d, strangers...), roll(d, strangers...)
	if !p.Uplink && d.IntN(8) != 0 {
		from = p.MAC
	}
	copy(f.Data, to[:])
	copy(f.Data[6:], from[:])
	binary.BigEndian.PutUint16(f.Data[12:], roll(d, uint16(0x0800), 0x86dd, 0x0806, 0x0026, 0x88b5)) // IPv4, IPv6, ARP, a length, one for experiments
	if len(f.Data) < 60 {
		binary.BigEndian.PutUint16(f.Data[12:], 0x88b5) // the kernel's test run wants a whole IP header (linux: net/bpf/test_run.c)
	}
	if d.IntN(3) == 0 {
		f.TPID, f.TCI = roll(d, uint16(0x8100), 0x8100, 0x88a8), roll(d, uint16(0), 1, 7, 100, 101, 4094, 0xe064)
	}
	return f
}

// state is what the model decides on at a port.
func (w *world) state(p Port) *State {
	return &State{Port: p, Stations: w.stations, Shown: w.shown[p.Index], Heard: &w.heard}
}

// seatOf is where the table has a station, as the model says it.
func (r *rig) seatOf(t *testing.T, bridge int, a Address) *Seat {
	var slot uint32
	err := r.table.Lookup(keyOf(bridge, a.MAC, a.VLAN), &slot)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	require.NoError(t, err)
	var b [slotSize]byte
	_, err = r.slots.v.ReadAt(b[:], int64(slot*slotSize))
	require.NoError(t, err)
	s := binary.NativeEndian.Uint64(b[slotSeat:])
	flags := binary.NativeEndian.Uint32(b[slotFlags:])
	out := &Seat{Port: int(uint32(s)), Guest: flags&flagGuest != 0, Tagged: flags&flagTagged != 0}
	if s != 0 {
		out.MTU = int(s>>32) - headerLen
	}
	return out
}

func (c Counters) of(n counter) uint64 {
	return [...]uint64{
		c.Redirected, c.Bytes, c.Passed.Group, c.Passed.Unknown, c.Passed.Long, c.Passed.VLAN, c.Passed.Source, c.Passed.Learn, c.Dropped, c.Runts,
	}[n]
}

// check has the kernel and the model decide on one frame, and compares what they answer and what they have written.
func (w *world) check(t *testing.T, r *rig, p Port, f Frame) {
	t.Helper()
	s := w.state(p)
	want := Decide(s, f)
	w.shown[p.Index] = s.Shown
	before, err := r.Counters(p.Index)
	require.NoError(t, err)
	got := r.run(t, f)
	after, err := r.Counters(p.Index)
	require.NoError(t, err)
	why := want.count
	want.count = 0
	require.Equal(t, want, got, "%+v, head % x, tag %x %x, GSO %v, %d bytes", p, f.Data[:14], f.TPID, f.TCI, f.GSO, len(f.Data))
	if p.Redirect || want.Action == Drop {
		require.Equal(t, before.of(why)+1, after.of(why), "counter %d", why)
	}
	for _, m := range strangers {
		for _, vlan := range []int{0, 1, 7, 100} {
			a := Address{m, vlan}
			model, kernel := w.stations[a], r.seatOf(t, w.bridge, a)
			if model == nil || kernel == nil {
				require.Equal(t, model == nil, kernel == nil, "%v", a)
				continue
			}
			if model.Port == 0 {
				require.Zero(t, kernel.Port, "%v", a)
				continue
			}
			require.Equal(t, model, kernel, "%v", a)
		}
	}
}

// staleAfter is the time that a case may take at most: after it the programs show the bridge a frame again, of which the model does not know
// (learnJiffies, where a second has 1000).
const staleAfter = 700 * time.Millisecond

// FuzzProgram has programs and model decide on the same frames in the same states.
func FuzzProgram(f *testing.F) {
	for i := range uint64(40) {
		f.Add(i, i*i)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		d := dice{rand.New(rand.NewPCG(a, b))}
		r := newRig(t)
		w := d.world(r)
		for _, p := range append(w.guests[:], w.uplink) {
			require.NoError(t, r.Set(p))
		}
		began := time.Now()
		for range 60 {
			p := roll(d, append(w.guests[:], w.uplink)...)
			r.under(t, p)
			for range 6 {
				if mac := roll(d, strangers...); mac[0]&1 == 0 && mac != (MAC{}) {
					switch vlan := roll(d, 0, w.vlan, w.uplink.PVID); d.IntN(6) {
					case 0, 1:
						w.learn(t, r, mac, vlan)
					case 2:
						w.forget(t, r, mac, vlan)
					}
				}
				f := d.frame(w, p)
				if time.Since(began) > staleAfter {
					return // rather than be wrong about what the bridge was shown
				}
				w.check(t, r, p, f)
			}
		}
	})
}
