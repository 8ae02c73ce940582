package shortcut

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// What a program answers at the ingress of a device (linux: include/uapi/linux/pkt_cls.h, bpf.h). Not to decide lets others look, and the bridge have it.
const (
	verdictNext = -1 // TC_ACT_UNSPEC, TCX_NEXT
	verdictDrop = 2  // TC_ACT_SHOT, TCX_DROP
)

// Offsets in struct __sk_buff (linux: include/uapi/linux/bpf.h).
const (
	skbLen     = 0
	skbProto   = 16 // big-endian
	skbTag     = 20 // vlan_present
	skbTCI     = 24
	skbTagKind = 28 // vlan_proto, big-endian
	skbData    = 76
	skbDataEnd = 80
	skbGSOSize = 176
)

// Registers of a program. R0 to R5 are lost in a call.
const (
	ctx   = asm.R6
	state = asm.R7 // the port's memory
	frame = asm.R8 // its first 8 bytes: destination in the low 48 bits
	slot  = asm.R9 // destination's
)

// maps are the descriptors that a program works with.
type maps struct{ slots, ports, table, globals, programs int }

// code is a program under way.
type code struct {
	m    maps
	port int // its place in the ports' memory
	ins  asm.Instructions
	next string // label of the instruction that comes
}

func (c *code) add(ins ...asm.Instruction) {
	for _, i := range ins {
		if c.next != "" {
			i, c.next = i.WithSymbol(c.next), ""
		}
		c.ins = append(c.ins, i)
	}
}

func (c *code) label(name string) {
	if c.next != "" {
		panic(fmt.Sprintf("shortcut: labels %s and %s on one instruction", c.next, name))
	}
	c.next = name
}

// prologue has the registers of the port's memory and of the frame's first bytes. A frame whose header does not lie in one piece is passed.
func (c *code) prologue() {
	c.add(
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMapValue(state, c.m.ports, uint32(c.port*portSize)),
		asm.LoadMem(asm.R0, ctx, skbLen, asm.Word),
		asm.JLT.Imm(asm.R0, 14, "runt"),
		asm.LoadMem(asm.R2, ctx, skbData, asm.Word),
		asm.LoadMem(asm.R3, ctx, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "unknown"),
	)
}

// source leaves the source's bytes in R4 (4 bytes) and R5 (2 bytes).
func (c *code) source() {
	c.add(asm.LoadMem(asm.R4, asm.R2, 6, asm.Word), asm.LoadMem(asm.R5, asm.R2, 10, asm.Half))
}

// from jumps where the source is not m.
func (c *code) from(m MAC, otherwise string) {
	c.source()
	low := m.low()
	c.add(asm.JNE.Imm32(asm.R4, int32(uint32(low)), otherwise), asm.JNE.Imm32(asm.R5, int32(low>>32), otherwise))
}

// destination leaves the address that the frame is for in the upper 48 bits of its register, and jumps where it is a group's. The register has the frame's
// first 8 bytes before.
func (c *code) destination() {
	c.add(
		asm.Mov.Reg(asm.R1, frame),
		asm.And.Imm(asm.R1, 1),
		asm.JNE.Imm(asm.R1, 0, "group"),
		asm.LSh.Imm(frame, 16),
	)
}

// vlanAt is where on the stack a frame's VLAN lies, shifted into its place of the key.
const vlanAt = -32

// find leaves the destination's slot in its register: from the port's memory, else from the table.
func (c *code) find(bridge int, cached bool) {
	if cached {
		c.add(
			asm.FnJiffies64.Call(),
			asm.LoadMapValue(asm.R3, c.m.globals, 0),
			asm.LoadMem(asm.R3, asm.R3, 0, asm.Word), // generation
			asm.LoadMem(asm.R4, state, portCheck, asm.DWord),
			asm.Mov.Reg(asm.R5, asm.R4),
			asm.RSh.Imm(asm.R5, 32),
			asm.JNE.Reg(asm.R5, asm.R3, "ask"),
			asm.Mov.Reg(asm.R5, asm.R0),
			asm.Sub.Reg32(asm.R5, asm.R4),
			asm.JGT.Imm(asm.R5, cacheJiffies, "ask"),
			asm.LoadMem(slot, state, portWord, asm.DWord),
			asm.Xor.Reg(slot, frame),
			asm.JLT.Imm(slot, mostSlots, "found"),
		)
		c.label("ask")
		c.add(
			asm.LSh.Imm(asm.R3, 32),
			asm.Mov.Reg32(asm.R0, asm.R0),
			asm.Or.Reg(asm.R3, asm.R0),
			asm.StoreMem(asm.RFP, -24, asm.R3, asm.DWord), // what portCheck is to be
		)
	}
	c.add(asm.Mov.Reg(asm.R1, frame), asm.RSh.Imm(asm.R1, 16))
	c.ask(bridge)
	c.add(
		asm.JEq.Imm(asm.R0, 0, "unknown"),
		asm.LoadMem(slot, asm.R0, 0, asm.Word),
		asm.JGE.Imm(slot, mostSlots, "unknown"),
	)
	if cached {
		c.add(
			asm.Mov.Reg(asm.R1, frame),
			asm.Or.Reg(asm.R1, slot),
			asm.StoreMem(state, portWord, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.RFP, -24, asm.DWord),
			asm.StoreMem(state, portCheck, asm.R1, asm.DWord),
		)
		c.label("found")
	}
}

// ask looks up the address in R1, of the VLAN on the stack. R0 then points to its slot's number, or is 0.
func (c *code) ask(bridge int) {
	c.add(
		asm.LoadMem(asm.R2, asm.RFP, vlanAt, asm.DWord),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.StoreMem(asm.RFP, -16, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R1, int32(bridge)),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, c.m.table),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -16),
		asm.FnMapLookupElem.Call(),
	)
}

// reach leaves in R8 the index of the port where the slot's owner sits, and in R9 the slot's flags. It jumps where nobody sits there, where it is the
// port itself, and where the frame is too long.
func (c *code) reach(own int) {
	c.add(
		asm.LoadMapValue(asm.R3, c.m.slots, 0),
		asm.LSh.Imm(slot, 4),
		asm.Add.Reg(asm.R3, slot),
		asm.LoadMem(asm.R4, asm.R3, slotSeat, asm.DWord),
		asm.LoadMem(asm.R9, asm.R3, slotFlags, asm.Word),
		asm.Mov.Reg32(asm.R8, asm.R4),
		asm.JEq.Imm(asm.R8, 0, "unknown"),
		asm.JEq.Imm(asm.R8, int32(own), "unknown"),
		asm.RSh.Imm(asm.R4, 32),
		asm.LoadMem(asm.R2, ctx, skbLen, asm.Word),
		asm.JLE.Reg(asm.R2, asm.R4, "fits"),
		asm.LoadMem(asm.R1, ctx, skbGSOSize, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "long"),
	)
	c.label("fits")
	c.add(asm.StoreMem(asm.RFP, -40, asm.R2, asm.DWord)) // a tag that is pushed would count
}

// redirect sends the frame to the port in R8.
func (c *code) redirect() {
	c.count(cRedirected, one())
	c.count(cBytes, asm.LoadMem(asm.R1, asm.RFP, -40, asm.DWord))
	c.add(asm.Mov.Reg(asm.R1, asm.R8), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return())
}

// count adds to a counter of the port's. It spoils R1 and R2.
func (c *code) count(n counter, by asm.Instruction) {
	c.add(by, asm.AddAtomic.Mem(state, asm.R1, asm.DWord, int16(portCount+8*int(n))))
}

func one() asm.Instruction { return asm.Mov.Imm(asm.R1, 1) }

// ends are the ways out, each with its counter.
func (c *code) ends(names ...string) {
	for _, e := range []struct {
		name    string
		count   counter
		verdict int32
	}{
		{"group", cGroup, verdictNext},
		{"unknown", cUnknown, verdictNext},
		{"long", cLong, verdictNext},
		{"vlan", cVLAN, verdictNext},
		{"source", cSource, verdictNext},
		{"learn", cLearn, verdictNext},
		{"guard", cGuard, verdictDrop},
		{"runt", cRunt, verdictDrop},
	} {
		used := false
		for _, n := range names {
			used = used || n == e.name
		}
		if !used {
			continue
		}
		c.label(e.name)
		c.count(e.count, one())
		c.add(asm.Mov.Imm(asm.R0, e.verdict), asm.Return())
	}
}
