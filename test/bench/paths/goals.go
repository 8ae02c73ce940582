package main

import (
	"fmt"
	"io"
	"math"
)

// goal is what a path is to reach in a measure. A run's verdict on it is for people: no test waits for a time.
type goal struct {
	measure    string
	candidates []string // the best of them counts
	words      string   // what is told
	value      func(r *result, s *series) float64
	want       float64
	most       bool // the value is to be want at most, else at least
	format     string
}

// verdict is a goal with what a run says to it.
type verdict struct {
	Goal, Measure, Candidate string
	Want, Got                float64
	Met                      bool
	format                   string
	most                     bool
}

func overRate(yard string) func(*result, *series) float64 {
	return func(r *result, s *series) float64 { return s.over(r.of(yard), r.measure.kind.rate, false) }
}

// overBound is [overRate] by what the busiest CPU allows, as what other processes take falls hardest on those who need two.
func overBound(yard string) func(*result, *series) float64 {
	return func(r *result, s *series) float64 { return s.over(r.of(yard), "bound", false) }
}

func overCost(yard string) func(*result, *series) float64 {
	return func(r *result, s *series) float64 { return s.over(r.of(yard), r.measure.kind.cost, true) }
}

func figure(key string) func(*result, *series) float64 {
	return func(_ *result, s *series) float64 { return s.of(key) }
}

// aboveBare is what a program costs a frame more than one that knows nothing: the median of the rounds' differences.
func aboveBare(r *result, s *series) float64 {
	bare := r.of(yardBare)
	if bare == nil {
		return math.NaN()
	}
	var v []float64
	for i := range min(len(s.rounds), len(bare.rounds)) {
		v = append(v, s.rounds[i][r.measure.kind.cost]-bare.rounds[i][r.measure.kind.cost])
	}
	return median(v)
}

// goals are the project's. For paths without a process of their own, frames/s are told by CPU: that is the same where one thread does all the work, and
// what else the machine does is not in it.
func goals() (list []goal) {
	for _, m := range []string{"out-64", "out-1514"} {
		list = append(
			list,
			goal{m, []string{nameTCX}, "shortcut over bridge", overCost(yardBridge), 1.22, false, "2"},
			goal{m, []string{nameTCX}, "shortcut over bridge0", overCost(yardBridge0), 1.10, false, "2"},
			goal{m, []string{nameTCX}, "shortcut above bare redirect, ns", aboveBare, 100, true, "0"},
			goal{m, []string{nameClsact}, "clsact over bridge", overCost(yardBridge), 1.17, false, "2"},
			goal{m, []string{nameClsact}, "clsact over bridge0", overCost(yardBridge0), 1.05, false, "2"},
		)
	}
	sockets := []string{"socket/packet", "socket/xdp"}
	return append(
		list,
		goal{"in-64", []string{nameTCX}, "shortcut inward, ns a frame", figure("path"), 800, true, "0"},
		goal{"in-64", []string{nameTCX}, "shortcut inward over bridge0", overCost(yardBridge0), 1.16, false, "2"},
		goal{"gso-out", []string{nameTCX}, "60 kB frames over bridge0", overCost(yardBridge0), 1, false, "2"},
		goal{"out-64", sockets, "socket out, frames/s over bridge", overRate(yardBridge), 1.3, false, "2"},
		goal{"out-64", sockets, "socket out, by its busiest CPU", overBound(yardBridge), 1.3, false, "2"},
		goal{"in-64", sockets, "socket in, frames/s over bridge", overRate(yardBridge), 2, false, "2"},
		goal{"in-64", sockets, "socket in, by its busiest CPU", overBound(yardBridge), 2, false, "2"},
		goal{"loop", sockets, "socket, allocations a frame", figure("allocs"), 0.001, true, "4"},
		goal{"loop", sockets, "socket idle, % of a core", figure("idle"), 0.1, true, "3"},
		goal{"rtt-sleep", sockets, "socket round trip p50, us", figure("p50"), 40, true, "1"},
		goal{"out-64", []string{"af-xdp/32"}, "af-xdp out, frames/s over bridge", overRate(yardBridge), 5, false, "2"},
		goal{"out-64", []string{"af-xdp/32"}, "af-xdp out, by its busiest CPU", overBound(yardBridge), 5, false, "2"},
	)
}

// judge gives a verdict on each goal whose measure was run.
func judge(results []*result, list []goal) (out []verdict) {
	for _, g := range list {
		for _, r := range results {
			if r.measure.name != g.measure {
				continue
			}
			if v, ok := g.best(r); ok {
				out = append(out, v)
			}
		}
	}
	return out
}

func (g goal) best(r *result) (best verdict, ok bool) {
	for _, name := range g.candidates {
		s := r.of(name)
		if s == nil {
			continue
		}
		got := g.value(r, s)
		if math.IsNaN(got) || ok && (got < best.Got) != g.most {
			continue
		}
		best, ok = verdict{g.words, g.measure, name, g.want, got, got >= g.want, g.format, g.most}, true
		if g.most {
			best.Met = got <= g.want
		}
	}
	return best, ok
}

// print writes the verdicts as a table.
func printVerdicts(out io.Writer, list []verdict) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%-36s%-11s%-18s%10s%10s\n", "Goals (section 13)", "measure", "path", "wanted", "got")
	for _, v := range list {
		sign, word := ">=", "met"
		if v.most {
			sign = "<="
		}
		if !v.Met {
			word = "missed"
		}
		fmt.Fprintf(out, "%-36s%-11s%-18s%10s%10s  %s\n", v.Goal, v.Measure, v.Candidate, sign+" "+number(v.Want, v.format), number(v.Got, v.format), word)
	}
}
