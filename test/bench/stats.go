package main

import (
	"fmt"
	"sort"
	"time"
)

// sample is the times of one candidate.
type sample []time.Duration

func (s sample) sorted() sample {
	out := append(sample(nil), s...)
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
}

// at is the quantile q, 0 to 1.
func (s sample) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	o := s.sorted()
	return o[int(q*float64(len(o)-1)+0.5)]
}

func (s sample) median() time.Duration { return s.at(0.5) }

// line prints a candidate beside the yardstick.
func (s sample) line(name string, yard sample) string {
	ratio := ""
	if len(yard) > 0 {
		ratio = fmt.Sprintf("%8.1fx", float64(yard.median())/float64(s.median()))
	}
	return fmt.Sprintf("%-44s %10s %10s %10s %6d %9s", name, ms(s.median()), ms(s.at(0.1)), ms(s.at(0.9)), len(s), ratio)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond)) }
