package xsk_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu"
	"vifplug/qemu/xsk"
)

// BenchmarkSend compares what a frame costs that is sent through a veth by AF_XDP, with so many a kick, to one written into a tap. The candidates take
// turns in short rounds, so that whatever else the machine does meets them all, and medians count: ns a frame, and the tap's as a multiple of it.
// The frames go nowhere (no bridge, no reader): it is the sending that is measured. b.N is of no consequence.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchmarkSend(b, size) })
	}
}

func benchmarkSend(b *testing.B, size int) {
	dev := needVeth(b)
	s := open(b, xsk.Options{Index: dev, RingSize: 2048}) // as QEMU has it
	tap, err := qemu.CreateTap(qemu.Options{Name: "tap0"})
	require.NoError(b, err)
	b.Cleanup(func() { _ = tap.Close() })
	quiet(b, "tap0")
	require.NoError(b, bridgetest.SetUp("tap0"))
	f := frame(1, size)
	names := []string{"tap", "kick1", "kick4", "kick32"}
	each := map[string]func() error{
		"tap": func() error { _, err := tap.Queues[0].Write(f); return err },
	}
	per := map[string]int{"tap": 1, "kick1": 1, "kick4": 4, "kick32": 32}
	for _, name := range names[1:] {
		lengths := make([]int, per[name])
		each[name] = func() error {
			for i, buffer := range s.Reserve(len(lengths)) {
				lengths[i] = copy(buffer, f)
			}
			if err := s.Submit(lengths); err != nil {
				return err
			}
			return s.Kick()
		}
	}
	const round, rounds = 4096, 41
	took := map[string][]float64{}
	for b.Loop() {
		for range rounds {
			for _, name := range names {
				do := each[name]
				began := time.Now()
				for range round / per[name] {
					if err := do(); err != nil {
						b.Fatal(err)
					}
				}
				took[name] = append(took[name], float64(time.Since(began).Nanoseconds())/round)
			}
		}
	}
	for _, name := range names {
		slices.Sort(took[name])
		median := took[name][len(took[name])/2]
		b.ReportMetric(median, name+"-ns/frame")
		b.ReportMetric(took["tap"][len(took["tap"])/2]/median, "tap/"+name)
	}
	b.ReportMetric(0, "ns/op")
}
