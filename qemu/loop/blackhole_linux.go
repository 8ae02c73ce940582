package loop

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// BlackholeName is what a classifier with the program of [NewBlackhole] is called.
const BlackholeName = "vifplug_blackhole"

// NewBlackhole loads a program for tc that drops every frame, to be attached where the hidden end receives. The loop's sockets see frames before it
// does. Without it the host's own stack would take broadcasts there a second time, and answer for addresses that are elsewhere.
func NewBlackhole() (*ebpf.Program, error) {
	const shot = 2 // linux: include/uapi/linux/pkt_cls.h TC_ACT_SHOT
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: BlackholeName, Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, shot), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("loop: load the program that drops: %w. It needs CAP_BPF and CAP_NET_ADMIN", err)
	}
	return p, nil
}
