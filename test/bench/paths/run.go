package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"time"
)

// plan is how much is measured.
type plan struct {
	rounds int
	time   time.Duration // one candidate's in one round
	slice  time.Duration // of that, in one go
	only   *regexp.Regexp
}

// chosen says whether a candidate takes part in a measure. Yardsticks do where anyone does.
func (p plan) chosen(m measure, c *candidate) bool {
	return m.takes(c) && c.takes(m.setup) && (yardstick(c) || p.only.MatchString(m.name+" "+c.name))
}

func yardstick(c *candidate) bool {
	return c.name == yardBridge || c.name == yardBridge0 || c.name == yardFloor || c.name == yardBare
}

// part is what is measured with one set-up, in one set of worlds.
type part struct {
	setup    setup
	measures []measure
}

// parts are the measures that somebody takes part in.
func (p plan) parts(list []measure, cs []*candidate) (out []part) {
	for _, m := range list {
		wanted := false
		for _, c := range cs {
			wanted = wanted || m.takes(c) && c.takes(m.setup) && p.only.MatchString(m.name+" "+c.name)
		}
		switch {
		case !wanted:
		case len(out) > 0 && out[len(out)-1].setup == m.setup:
			out[len(out)-1].measures = append(out[len(out)-1].measures, m)
		default:
			out = append(out, part{m.setup, []measure{m}})
		}
	}
	return out
}

// estimate is how long it will take.
func (p plan) estimate(parts []part, cs []*candidate) (d time.Duration) {
	for _, part := range parts {
		d += 2 * time.Second // for making the worlds
		for _, m := range part.measures {
			for _, c := range cs {
				if p.chosen(m, c) {
					d += time.Duration(p.rounds) * (p.time + p.time/5)
				}
			}
		}
	}
	return d
}

// bench is one run.
type bench struct {
	plan
	out     io.Writer
	results []*result
	notes   []string
	calls   []float64 // ns of a system call, as measured between the rounds
}

func (b *bench) run(cs []*candidate) error {
	debug.SetGCPercent(-1) // the collector runs between the rounds
	parts := b.parts(measures(), cs)
	fmt.Fprintf(b.out, "This takes about %.0f minutes: %d rounds of %s for each path, in turns of %s.\n", b.estimate(parts, cs).Minutes()+0.5, b.rounds, b.time, b.slice)
	fmt.Fprintf(b.out, "Load before: %s\n", load())
	for _, c := range cs {
		fmt.Fprintf(b.out, "  %-16s %s\n", c.name, c.words)
	}
	for _, p := range parts {
		if err := b.part(p, cs); err != nil {
			return err
		}
	}
	for _, r := range b.results {
		if len(r.lost) > 0 {
			return errLost
		}
	}
	return nil
}

// errLost says that figures are of frames that nobody knows the end of.
var errLost = errors.New("not all frames are accounted for: see the tables")

// part makes the worlds of one set-up, measures in them, and removes them.
func (b *bench) part(p part, cs []*candidate) (err error) {
	worlds := map[*candidate]*world{}
	defer func() {
		for _, w := range worlds {
			err = errors.Join(err, w.close())
		}
	}()
	for _, c := range cs {
		wanted := false
		for _, m := range p.measures {
			wanted = wanted || b.chosen(m, c)
		}
		if !wanted {
			continue
		}
		w, err := makeWorld(c, p.setup)
		switch {
		case errors.Is(err, errNoNetfilter) || errors.Is(err, errCannot):
			b.notes = append(b.notes, err.Error())
			continue
		case err != nil:
			return err
		}
		worlds[c] = w
	}
	for _, m := range p.measures {
		r, err := b.measure(m, cs, worlds)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		b.results = append(b.results, r)
		r.print(b.out)
	}
	return nil
}

// errCannot says that a candidate is not possible here.
var errCannot = errors.New("not possible here")

// measure has the candidates do a measure in turns: in each round every one has its time, in slices, and each round another begins.
func (b *bench) measure(m measure, cs []*candidate, worlds map[*candidate]*world) (*result, error) {
	r := &result{measure: m}
	var in []*candidate
	for _, c := range cs {
		if worlds[c] != nil && b.chosen(m, c) {
			in = append(in, c)
			r.series = append(r.series, &series{candidate: c.name})
			if err := worlds[c].refresh(); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	for round := range b.rounds {
		runtime.GC()
		b.calls = append(b.calls, float64(systemCall().Nanoseconds()))
		sums := make([]sample, len(in))
		for left := b.time; left > 0; {
			d := min(left, b.slice)
			if m.whole {
				d = left
			}
			left -= d
			for i := range in {
				i = (i + round) % len(in)
				s, err := m.run(worlds[in[i]], d)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", in[i].name, err)
				}
				if s.lost() != 0 && s.sent > 0 {
					r.lost = append(r.lost, fmt.Sprintf("%s, round %d: %d of %d sent frames (%d arrived, %d known drops)", in[i].name, round+1, s.lost(), s.sent, s.got, s.known))
				}
				sums[i].add(s)
			}
		}
		for i := range in {
			r.series[i].rounds = append(r.series[i].rounds, m.kind.figures(sums[i]).known())
		}
	}
	return r, nil
}

// refresh has every table know every address again.
func (w *world) refresh() error {
	if w.candidate.floor {
		return nil
	}
	for _, g := range w.guests {
		if err := w.prime(g, patience); err != nil {
			return err
		}
		if err := g.drain(); err != nil {
			return err
		}
	}
	return nil
}
