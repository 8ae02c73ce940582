package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// What a program at tcx answers (linux: include/uapi/linux/bpf.h enum tcx_action_base).
const (
	tcxNext = -1
	tcxDrop = 2
)

// Where the members of struct __sk_buff lie (linux: include/uapi/linux/bpf.h).
const (
	skbLen     = 0
	skbIfindex = 40
	skbData    = 76
	skbDataEnd = 80
)

// drop drops every frame: with it a tap's write costs what it must.
func drop() asm.Instructions { return asm.Instructions{asm.Mov.Imm(asm.R0, tcxDrop), asm.Return()} }

// redirect sends every frame out of a device, and knows nothing: what a shortcut must cost at least.
func redirect(index int) asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R1, int32(index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return()}
}

// onWire is the far side: it counts and drops, or sends back, the frames of the benchmark, and passes others to the kernel there.
func onWire(counters int) asm.Instructions {
	i := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R8, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, portAt+2),
		asm.JGT.Reg(asm.R2, asm.R8, "pass"),
		asm.LoadMem(asm.R3, asm.R7, protocolAt, asm.Half),
		asm.JNE.Imm(asm.R3, networkOrder(0x0800), "pass"),
		asm.LoadMem(asm.R3, asm.R7, portAt, asm.Half),
		asm.JEq.Imm(asm.R3, networkOrder(dropPort), "count"),
		asm.JEq.Imm(asm.R3, networkOrder(echoPort), "echo"),
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("pass"),
		asm.Return(),

		asm.StoreImm(asm.RFP, -4, 0, asm.Word).WithSymbol("count"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counters),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
	}
	i = append(i, add(0, asm.Instructions{asm.Mov.Imm(asm.R2, 1)})...)
	i = append(i, add(8, asm.Instructions{asm.LoadMem(asm.R2, asm.R6, skbLen, asm.Word)})...)
	i = append(i, asm.Mov.Imm(asm.R0, tcxDrop).WithSymbol("drop"), asm.Return())

	// the addresses change places: six bytes are a word and a half
	i = append(i, asm.LoadMem(asm.R2, asm.R7, 0, asm.Word).WithSymbol("echo"))
	i = append(i, asm.Instructions{
		asm.LoadMem(asm.R3, asm.R7, 4, asm.Half), asm.LoadMem(asm.R4, asm.R7, 6, asm.Word), asm.LoadMem(asm.R5, asm.R7, 10, asm.Half),
		asm.StoreMem(asm.R7, 6, asm.R2, asm.Word), asm.StoreMem(asm.R7, 10, asm.R3, asm.Half),
		asm.StoreMem(asm.R7, 0, asm.R4, asm.Word), asm.StoreMem(asm.R7, 4, asm.R5, asm.Half),
		asm.LoadMem(asm.R1, asm.R6, skbIfindex, asm.Word), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
	}...)
	return i
}

// add adds R2, which value loads, to the member at an offset of what R0 points to.
func add(at int16, value asm.Instructions) asm.Instructions {
	return append(value, asm.LoadMem(asm.R1, asm.R0, at, asm.DWord), asm.Add.Reg(asm.R1, asm.R2), asm.StoreMem(asm.R0, at, asm.R1, asm.DWord))
}

// networkOrder is a number as it is found when two bytes of a frame are read as the machine does.
func networkOrder(n uint16) int32 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return int32(binary.NativeEndian.Uint16(b[:]))
}

// attach has a program see what comes in at a device of the calling thread's network namespace.
func attach(index int, what asm.Instructions) (link.Link, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bench", Type: ebpf.SchedCLS, Instructions: what, License: "GPL"})
	if err != nil {
		return nil, fmt.Errorf("load a program of the benchmark: %w", err)
	}
	defer p.Close() //nolint:errcheck // the link has it
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("attach a program of the benchmark to device %d: %w", index, err)
	}
	return l, nil
}

// wireCounter is what the far side counts.
type wireCounter struct {
	counters *ebpf.Map
	link     link.Link
}

type tally struct{ Frames, Bytes uint64 }

func countOnWire(index int) (*wireCounter, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make the far side's counters: %w", err)
	}
	l, err := attach(index, onWire(m.FD()))
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &wireCounter{m, l}, nil
}

func (c *wireCounter) read() (sum tally, err error) {
	var each []tally
	if err := c.counters.Lookup(uint32(0), &each); err != nil {
		return sum, fmt.Errorf("read the far side's counters: %w", err)
	}
	for _, t := range each {
		sum.Frames += t.Frames
		sum.Bytes += t.Bytes
	}
	return sum, nil
}

func (c *wireCounter) close() error { return errors.Join(c.link.Close(), c.counters.Close()) }
