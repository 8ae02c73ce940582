package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// result is a measure with what every candidate did.
type result struct {
	measure measure
	series  []*series
	lost    []string // what could not be accounted for
}

func (r *result) of(candidate string) *series {
	for _, s := range r.series {
		if s.candidate == candidate {
			return s
		}
	}
	return nil
}

// print writes a table of at most 100 columns.
func (r *result) print(out io.Writer) {
	k := r.measure.kind
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s (%s)\n", r.measure.title, r.measure.name)
	fmt.Fprintf(&b, "  %s\n", k.words)
	fmt.Fprintf(&b, "%-15s", "")
	for _, c := range k.columns {
		fmt.Fprintf(&b, "%8s", c.title)
	}
	if !k.alone {
		fmt.Fprintf(&b, "%8s%5s", "/bridge", "/br0")
	}
	if k.costs() {
		fmt.Fprintf(&b, "%8s%5s%6s", "CPU/br.", "/br0", "share")
	}
	fmt.Fprintf(&b, "%4s\n", "+-%")
	for _, s := range r.series {
		r.row(&b, s)
	}
	for _, l := range r.lost {
		fmt.Fprintf(&b, "  NOT ACCOUNTED FOR: %s\n", l)
	}
	_, _ = io.WriteString(out, b.String())
}

// costs says whether there is a cost besides the rate.
func (k kind) costs() bool { return !k.alone && k.cost != "p50" }

func (r *result) row(b *strings.Builder, s *series) {
	k := r.measure.kind
	fmt.Fprintf(b, "%-15s", s.candidate)
	for _, c := range k.columns {
		fmt.Fprintf(b, "%8s", number(s.of(c.key), c.format))
	}
	spread := s.spread(k.cost)
	if !k.alone {
		fmt.Fprintf(b, "%8s%5s", number(s.over(r.of(yardBridge), k.rate, false), "2"), number(s.over(r.of(yardBridge0), k.rate, false), "2"))
	}
	if k.costs() {
		fmt.Fprintf(b, "%8s%5s%6s", number(s.over(r.of(yardBridge), k.cost, true), "2"), number(s.over(r.of(yardBridge0), k.cost, true), "2"), number(100*r.share(s), "%"))
	}
	fmt.Fprintf(b, "%4s\n", number(min(100*spread, 999), "0"))
}

// share is [share] against the bridge with br_netfilter.
func (r *result) share(s *series) float64 {
	bridge, floor := r.of(yardBridge), r.of(yardFloor)
	if bridge == nil || floor == nil || s == floor {
		return math.NaN()
	}
	cost := r.measure.kind.cost
	return share(s.of(cost), bridge.of(cost), floor.of(cost))
}

// number writes one: with so many digits after the point, in thousands ("k"), or as a percentage.
func number(v float64, format string) string {
	switch {
	case !finite(v):
		return "-"
	case format == "k":
		return fmt.Sprintf("%.0f", v/1e3)
	case format == "%":
		return fmt.Sprintf("%.0f%%", v)
	}
	digits, _ := strconv.Atoi(format)
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func describe(s setup, size int) string {
	if s.guests == 1 {
		return strconv.Itoa(size)
	}
	return fmt.Sprintf("%d-%dguests", size, s.guests)
}

func words(s setup, size int) string {
	if s.guests == 1 {
		return fmt.Sprintf(", %d bytes", size)
	}
	return fmt.Sprintf(", %d bytes, %d guests", size, s.guests)
}
