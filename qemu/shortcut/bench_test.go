package shortcut

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

// bench runs a program again and again on a frame, and reports what one run costs inside the kernel, without what sends the frame on.
func bench(b *testing.B, prog *ebpf.Program, frame []byte) {
	b.Helper()
	const repeat = 100_000
	var least float64
	for b.Loop() {
		ret, took, err := prog.Benchmark(frame, repeat, nil)
		require.NoError(b, err)
		require.EqualValues(b, verdictRedirect, ret)
		if ns := float64(took.Nanoseconds()); least == 0 || ns < least {
			least = ns
		}
	}
	b.ReportMetric(least, "ns/frame")
}

// BenchmarkProgram measures the programs of a guest's port: the redirect alone, what the shortcut adds to it, and what the guard's way into it adds to that.
func BenchmarkProgram(b *testing.B) {
	r := newRig(b)
	p := r.guest("1")
	p.Guard = true
	require.NoError(b, r.Set(p))
	require.NoError(b, r.Set(r.uplink()))
	require.NoError(b, r.Learn(p.Bridge, macs["w"], 0, r.index["up"]))
	a := r.ports[p.Index]
	frame := make([]byte, 64)
	to := macs["w"]
	copy(frame, to[:])
	copy(frame[6:], p.MAC[:])
	binary.BigEndian.PutUint16(frame[12:], 0x88b5)

	loaded := func(b *testing.B, ins asm.Instructions) *ebpf.Program {
		prog, err := load("bench", ins)
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, prog.Close()) })
		return prog
	}
	bare := asm.Instructions{asm.Mov.Imm(asm.R1, int32(r.index["up"])), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return()}
	// The first frame goes to the bridge, and one now and then later: so often does the program's memory say that it has just been shown one.
	fresh := func(b *testing.B, prog *ebpf.Program) {
		_, _, err := prog.Test(frame)
		require.NoError(b, err)
	}
	b.Run("bare", func(b *testing.B) { bench(b, loaded(b, bare), frame) })
	b.Run("program", func(b *testing.B) {
		prog := loaded(b, guestProgram(r.maps(), p, a.id, r.nics[nicKey{p.Bridge, p.NIC}].slot))
		fresh(b, prog)
		bench(b, prog, frame)
	})
	b.Run("uplink", func(b *testing.B) {
		back := bytes.Clone(frame)
		copy(back, p.MAC[:])
		copy(back[6:], to[:])
		up := r.ports[r.index["up"]]
		prog := loaded(b, uplinkProgram(r.maps(), up.port, up.id, up.sources.m.FD(), false))
		fresh(b, loaded(b, guestProgram(r.maps(), p, a.id, r.nics[nicKey{p.Bridge, p.NIC}].slot))) // the guest has spoken
		_, _, err := prog.Test(back)
		require.NoError(b, err)
		bench(b, prog, back)
	})
	b.Run("guarded", func(b *testing.B) {
		prog := loaded(b, entryProgram(r.maps(), p, a.id))
		fresh(b, prog)
		bench(b, prog, frame)
	})
}
