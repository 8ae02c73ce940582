package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// finish prints what is told of the whole run.
func (b *bench) finish() {
	printVerdicts(b.out, judge(b.results, goals()))
	fmt.Fprintf(b.out, "\nA system call (getppid) costs %.0f ns here. The goals were set where it cost 1030 ns: where calls are cheap, paths that save calls\n", median(b.calls))
	fmt.Fprintln(b.out, "gain less (socket, af-xdp), and those that shorten the kernel's part gain more (shortcut).")
	if len(softirqPIDs) == 0 {
		fmt.Fprintln(b.out, "ksoftirqd is not to be seen from here: its CPU is in no figure.")
	}
	for _, n := range b.notes {
		fmt.Fprintf(b.out, "Left out: %s\n", n)
	}
	fmt.Fprintf(b.out, "Load after: %s\n", load())
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// document is what -json writes.
type document struct {
	Kernel       string
	CPUs         int
	SystemCallNS float64
	Rounds       int
	RoundSeconds float64
	Rows         []row
	Goals        []verdict
	Unaccounted  []string // frames that are neither delivered nor counted as dropped
	LeftOut      []string
}

// row is one path in one measure.
type row struct {
	Measure, Path string
	Median        figures
	Rounds        []figures
	OverBridge    *float64 `json:",omitempty"` // by rate
	OverBridge0   *float64 `json:",omitempty"`
}

func (b *bench) document() document {
	d := document{
		CPUs: runtime.NumCPU(), SystemCallNS: median(b.calls), Rounds: b.rounds, RoundSeconds: b.time.Seconds(),
		Goals: judge(b.results, goals()), LeftOut: b.notes,
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		d.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	for _, r := range b.results {
		for _, s := range r.series {
			rate := r.measure.kind.rate
			d.Rows = append(d.Rows, row{
				r.measure.name, s.candidate, s.medians(), s.rounds, known(s.over(r.of(yardBridge), rate, false)), known(s.over(r.of(yardBridge0), rate, false)),
			})
		}
		for _, l := range r.lost {
			d.Unaccounted = append(d.Unaccounted, r.measure.name+": "+l)
		}
	}
	return d
}

// known is a number that JSON can have.
func known(v float64) *float64 {
	if !finite(v) {
		return nil
	}
	return &v
}

func (b *bench) writeJSON(path string) error {
	text, err := json.MarshalIndent(b.document(), "", "  ")
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
