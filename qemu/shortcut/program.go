package shortcut

import "github.com/cilium/ebpf/asm"

// seat is a port's place in its NIC's slot: where frames for the guest go, and how long they may be.
func seat(index, mtu int) uint64 { return uint64(uint32(index)) | uint64(headerLen+mtu)<<32 }

const headerLen = 14

// guestProgram sends frames of a guest's port on.
func guestProgram(m maps, p Port, port, own int) asm.Instructions {
	c := &code{m: m, port: port}
	c.prologue()
	otherwise := "source"
	if p.Guard {
		otherwise = "guard"
	}
	c.from(p.MAC, otherwise)
	c.add(asm.LoadMem(frame, asm.R2, 0, asm.DWord))
	// A bridge that filters VLANs may drop a tagged frame before it learns the sender; another learns from every frame, also from one for a group.
	if p.VLAN != 0 {
		c.untagged()
	}
	c.sit(p, own)
	c.destination()
	if p.VLAN == 0 {
		c.untagged()
	}
	c.add(asm.LoadImm(asm.R1, int64(p.VLAN)<<48, asm.DWord), asm.StoreMem(asm.RFP, vlanAt, asm.R1, asm.DWord))
	c.find(p.Bridge, true)
	c.reach(p.Index)
	if p.VLAN != 0 {
		c.add(
			asm.And.Imm(asm.R9, flagTagged),
			asm.JEq.Imm(asm.R9, 0, "untagged"),
			asm.Mov.Reg(asm.R1, ctx),
			asm.Mov.Imm(asm.R2, 0x0081), // ETH_P_8021Q, big-endian
			asm.Mov.Imm(asm.R3, int32(p.VLAN)),
			asm.FnSkbVlanPush.Call(),
			asm.JNE.Imm(asm.R0, 0, "unknown"),
		)
		c.label("untagged")
	}
	c.redirect()
	c.ends("group", "unknown", "long", "vlan", otherwise, "learn", "runt")
	return c.ins
}

// untagged jumps where the frame has a VLAN's tag.
func (c *code) untagged() {
	c.add(asm.LoadMem(asm.R1, ctx, skbTag, asm.Word), asm.JNE.Imm(asm.R1, 0, "vlan"))
}

// sit has the guest sit at this port: its first frame here after it was at the other one, or nowhere, also goes to the bridge, so that it learns the
// same; and now and then another, so that it forgets nobody.
func (c *code) sit(p Port, own int) {
	c.add(
		asm.LoadMapValue(asm.R3, c.m.slots, uint32(own*slotSize)),
		asm.LoadMem(asm.R1, asm.R3, slotSeat, asm.DWord),
		asm.LoadImm(asm.R2, int64(seat(p.Index, p.MTU)), asm.DWord),
		asm.JEq.Reg(asm.R1, asm.R2, "seated"),
		asm.StoreMem(asm.R3, slotSeat, asm.R2, asm.DWord),
		asm.FnJiffies64.Call(),
		asm.StoreMem(state, portLast, asm.R0, asm.DWord),
		asm.Ja.Label("learn"),
	)
	c.label("seated")
	c.add(
		asm.FnJiffies64.Call(),
		asm.LoadMem(asm.R1, state, portLast, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.JLE.Imm(asm.R2, learnJiffies, "fresh"),
		asm.StoreMem(state, portLast, asm.R0, asm.DWord),
		asm.Ja.Label("learn"),
	)
	c.label("fresh")
}

// uplinkProgram sends frames from outside on to guests.
func uplinkProgram(m maps, p Port, port, sources int, filtering bool) asm.Instructions {
	c := &code{m: m, port: port}
	c.prologue()
	c.add(asm.LoadMem(frame, asm.R2, 0, asm.DWord))
	c.destination()
	c.source()
	c.add(
		asm.LSh.Imm(asm.R5, 32),
		asm.Or.Reg(asm.R4, asm.R5),
		asm.StoreMem(asm.RFP, -8, asm.R4, asm.DWord), // source
		asm.StoreMem(asm.RFP, sourceAt, asm.R4, asm.DWord),
		// The bridge drops what no station can have sent (linux: net/bridge/br_input.c br_handle_frame, is_valid_ether_addr).
		asm.JEq.Imm(asm.R4, 0, "source"),
		asm.And.Imm(asm.R4, 1),
		asm.JNE.Imm(asm.R4, 0, "source"),
	)
	if filtering {
		c.vlanOf(p, sources)
	} else {
		c.untagged()
		c.add(asm.StoreMem(asm.RFP, vlanAt, asm.R1, asm.DWord))
	}
	c.heard(p.Bridge, sources)
	c.find(p.Bridge, !filtering)
	c.reach(p.Index)
	c.add(asm.And.Imm(asm.R9, flagGuest), asm.JEq.Imm(asm.R9, 0, "unknown"))
	if filtering {
		c.add(
			asm.LoadMem(asm.R1, ctx, skbTag, asm.Word),
			asm.JEq.Imm(asm.R1, 0, "untagged"),
			asm.Mov.Reg(asm.R1, ctx),
			asm.FnSkbVlanPop.Call(),
			asm.JNE.Imm(asm.R0, 0, "unknown"),
		)
		c.label("untagged")
	}
	c.redirect()
	c.ends("group", "unknown", "long", "vlan", "source", "learn", "runt")
	return c.ins
}

// Memory of an uplink: which senders the bridge has been shown lately, a word each, and which VLANs are carried, a bit each.
const (
	sourcesSize = mostSources*8 + 4096/8
	vlansAt     = mostSources * 8
)

// vlanOf leaves the frame's VLAN on the stack, in its place of the key. It jumps where the uplink does not carry it.
func (c *code) vlanOf(p Port, sources int) {
	c.add(asm.Mov.Imm(asm.R1, int32(p.PVID)), asm.LoadMem(asm.R2, ctx, skbTag, asm.Word), asm.JEq.Imm(asm.R2, 0, "vid"))
	c.add(
		asm.LoadMem(asm.R2, ctx, skbTagKind, asm.Word),
		asm.JNE.Imm(asm.R2, 0x0081, "vlan"),
		asm.LoadMem(asm.R1, ctx, skbTCI, asm.Word),
		asm.And.Imm(asm.R1, 0xfff),
	)
	c.label("vid")
	c.add(
		asm.JEq.Imm(asm.R1, 0, "vlan"),
		asm.And.Imm(asm.R1, 0xfff),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.RSh.Imm(asm.R2, 3),
		asm.LoadMapValue(asm.R3, sources, vlansAt),
		asm.Add.Reg(asm.R3, asm.R2),
		asm.LoadMem(asm.R3, asm.R3, 0, asm.Byte),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, 7),
		asm.RSh.Reg(asm.R3, asm.R2),
		asm.And.Imm(asm.R3, 1),
		asm.JEq.Imm(asm.R3, 0, "vlan"),
		asm.LSh.Imm(asm.R1, 48),
		asm.StoreMem(asm.RFP, vlanAt, asm.R1, asm.DWord),
		// Where VLANs are learned apart, a sender in two of them is two.
		asm.RSh.Imm(asm.R1, 24),
		asm.LoadMem(asm.R4, asm.RFP, -8, asm.DWord),
		asm.Xor.Reg(asm.R4, asm.R1),
		asm.StoreMem(asm.RFP, -8, asm.R4, asm.DWord),
	)
}

// stampJiffies is the unit in which it is noted when the bridge was shown a sender; sixteen bits of it wrap after an hour at least.
const stampJiffies = 6 // as a shift: 64

// sourceAt is where on the stack an uplink's program has the sender.
const sourceAt = -48

// placeOf is where an uplink's memory has a sender, as heard computes it.
func placeOf(k key) int {
	w := k.low&(1<<48-1) ^ k.low>>48<<24
	return int((w>>40 ^ w>>30 ^ w>>24) % mostSources)
}

// heard passes a frame whose sender the bridge has not been shown lately, or is a guest of this host: the bridge may think that it has moved.
func (c *code) heard(bridge, sources int) {
	c.add(
		asm.LoadMem(asm.R4, asm.RFP, -8, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R4),
		asm.RSh.Imm(asm.R1, 40), // last byte
		asm.Mov.Reg(asm.R2, asm.R4),
		asm.RSh.Imm(asm.R2, 30), // last but one, two bits up
		asm.Xor.Reg(asm.R1, asm.R2),
		asm.Mov.Reg(asm.R2, asm.R4),
		asm.RSh.Imm(asm.R2, 24),
		asm.Xor.Reg(asm.R1, asm.R2),
		asm.And.Imm(asm.R1, mostSources-1),
		asm.LSh.Imm(asm.R1, 3),
		asm.LoadMapValue(slot, sources, 0),
		asm.Add.Reg(slot, asm.R1),
		asm.FnJiffies64.Call(),
		asm.RSh.Imm(asm.R0, stampJiffies),
		asm.And.Imm(asm.R0, 0xffff),
		asm.LoadMem(asm.R4, asm.RFP, -8, asm.DWord),
		asm.LSh.Imm(asm.R4, 16),
		asm.LoadMem(asm.R1, slot, 0, asm.DWord),
		asm.Xor.Reg(asm.R1, asm.R4),
		asm.JGT.Imm(asm.R1, 0xffff, "another"),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, 0xffff),
		asm.JLE.Imm(asm.R2, learnJiffies>>stampJiffies, "heard"),
	)
	c.label("another")
	c.add(
		asm.Or.Reg(asm.R4, asm.R0),
		asm.StoreMem(asm.RFP, -56, asm.R4, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, sourceAt, asm.DWord),
	)
	c.ask(bridge)
	c.add(
		asm.JEq.Imm(asm.R0, 0, "stranger"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.JGE.Imm(asm.R1, mostSlots, "learn"),
		asm.LSh.Imm(asm.R1, 4),
		asm.LoadMapValue(asm.R3, c.m.slots, 0),
		asm.Add.Reg(asm.R3, asm.R1),
		asm.LoadMem(asm.R1, asm.R3, slotFlags, asm.Word),
		asm.And.Imm(asm.R1, flagGuest),
		asm.JNE.Imm(asm.R1, 0, "learn"),
	)
	c.label("stranger")
	c.add(asm.LoadMem(asm.R4, asm.RFP, -56, asm.DWord), asm.StoreMem(slot, 0, asm.R4, asm.DWord), asm.Ja.Label("learn"))
	c.label("heard")
}

// entryProgram is what stands at a device for longer than the service lives: the guard, and the way on to the rest, which the kernel closes when the
// service ends, since then nobody holds the table of programs any more (linux: kernel/bpf/arraymap.c prog_array_map_clear).
func entryProgram(m maps, p Port, port int) asm.Instructions {
	c := &code{m: m, port: port}
	c.add(asm.Mov.Reg(ctx, asm.R1))
	var ends []string
	if p.Guard {
		c.ins = nil
		c.prologue()
		c.from(p.MAC, "guard")
		ends = []string{"unknown", "guard", "runt"}
	}
	if p.Redirect {
		c.add(asm.Mov.Reg(asm.R1, ctx), asm.LoadMapPtr(asm.R2, m.programs), asm.Mov.Imm(asm.R3, int32(port)), asm.FnTailCall.Call())
	}
	c.add(asm.Mov.Imm(asm.R0, verdictNext), asm.Return())
	c.ends(ends...)
	return c.ins
}
