package main

import (
	"maps"
	"math"
	"slices"
	"time"
)

// sample is what one candidate did in one round: the sum of the slices of that round.
type sample struct {
	wall             time.Duration
	sent, got, bytes uint64          // frames sent, frames that arrived, and bytes that did
	known            uint64          // frames of which some counter says that they were dropped
	device           time.Duration   // CPU of the device model's threads
	forwarder        time.Duration   // CPU of the loop's process
	softirq          time.Duration   // CPU of ksoftirqd
	sender           time.Duration   // CPU of whoever sends from the far side, or receives there
	trips            []time.Duration // round trips
	mallocs          uint64          // of the loop's process
	idle, idleWall   time.Duration   // CPU of that process while nothing came, and for how long
}

func (s *sample) add(o sample) {
	s.wall += o.wall
	s.sent += o.sent
	s.got += o.got
	s.bytes += o.bytes
	s.known += o.known
	s.device += o.device
	s.forwarder += o.forwarder
	s.softirq += o.softirq
	s.sender += o.sender
	s.trips = append(s.trips, o.trips...)
	s.mallocs += o.mallocs
	s.idle += o.idle
	s.idleWall += o.idleWall
}

// lost says how many frames nobody has an explanation for. More explained than lost is one too: a counter counts something else.
func (s sample) lost() int64 { return int64(s.sent) - int64(s.got) - int64(s.known) }

// figures are what is told of a sample.
type figures map[string]float64

// known leaves out what cannot be told, such as the cost of a frame that arrived where none did.
func (f figures) known() figures {
	maps.DeleteFunc(f, func(_ string, v float64) bool { return !finite(v) })
	return f
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// kind says what is told of a measure.
type kind struct {
	name    string
	figures func(sample) figures
	rate    string // of these, what is to be high
	cost    string // and what is to be low
	columns []column
	words   string // what the columns are
	alone   bool   // no yardstick has the like
}

type column struct {
	key, title, format string
}

func per(d time.Duration, n uint64) float64 {
	return float64(d.Nanoseconds()) / float64(n)
}

// outward is guest to wire: by frame sent, as every frame's way begins with the guest. The bound is what the busiest thread alone would allow, had it a
// CPU of its own: frames/s without what other processes take.
var outward = kind{
	name: "out", rate: "rate", cost: "cost",
	figures: func(s sample) figures {
		return figures{
			"rate": float64(s.got) / s.wall.Seconds(), "device": per(s.device, s.sent), "forwarder": per(s.forwarder, s.sent),
			"bound":   1e9 / per(max(s.device, s.forwarder), s.sent),
			"softirq": per(s.softirq, s.sent), "cost": per(s.device+s.forwarder+s.softirq, s.sent), "gbit": 8 * float64(s.bytes) / s.wall.Seconds() / 1e9,
		}
	},
	columns: []column{{"rate", "kfr/s", "k"}, {"gbit", "Gbit/s", "1"}, {"device", "QEMU", "0"}, {"forwarder", "forw.", "0"}, {"softirq", "ksoft.", "0"}, {"cost", "total", "0"}},
	words:   "QEMU, forw., ksoft., total: ns of CPU a frame",
}

// inward is wire to guest: the sender's CPU has the path in it, and is told by frame sent; the guest's side by frame that arrived.
// The bound is what the busier of the two CPUs would allow.
var inward = kind{
	name: "in", rate: "rate", cost: "path",
	figures: func(s sample) figures {
		return figures{
			"rate": float64(s.got) / s.wall.Seconds(), "path": per(s.sender+s.softirq, s.sent), "device": per(s.device, s.got), "forwarder": per(s.forwarder, s.got),
			"bound":   1e9 / max(per(s.sender+s.softirq, s.sent), per(s.device+s.forwarder, s.got)),
			"softirq": per(s.softirq, s.sent), "gbit": 8 * float64(s.bytes) / s.wall.Seconds() / 1e9, "drops": 100 * (1 - float64(s.got)/float64(s.sent)),
		}
	},
	columns: []column{{"rate", "kfr/s", "k"}, {"gbit", "Gbit/s", "1"}, {"device", "QEMU", "0"}, {"forwarder", "forw.", "0"}, {"drops", "drop%", "0"}, {"path", "path", "0"}},
	words:   "QEMU, forw.: ns of CPU a frame that arrived; path: ns of sender, path and ksoftirqd a frame sent",
}

// super is guest to wire by frames longer than any MTU.
var super = kind{
	name: "super", rate: "gbit", cost: "cost",
	figures: func(s sample) figures {
		f := outward.figures(s)
		f["cost"], f["device"] = f["cost"]/1e3, f["device"]/1e3
		return f
	},
	columns: []column{{"rate", "kfr/s", "k"}, {"gbit", "Gbit/s", "1"}, {"device", "QEMU", "1"}, {"cost", "total", "1"}},
	words:   "QEMU, total: us of CPU a frame of 60 kB",
}

// stream is TCP.
var stream = kind{
	name: "tcp", rate: "gbit", cost: "cost",
	figures: func(s sample) figures {
		gb := float64(s.bytes) / 1e9
		return figures{
			"gbit": 8 * gb / s.wall.Seconds(), "device": s.device.Seconds() / gb, "forwarder": s.forwarder.Seconds() / gb, "softirq": s.softirq.Seconds() / gb,
			"cost": (s.device + s.forwarder + s.softirq + s.sender).Seconds() / gb,
		}
	},
	columns: []column{{"gbit", "Gbit/s", "2"}, {"device", "QEMU", "2"}, {"forwarder", "forw.", "2"}, {"softirq", "ksoft.", "2"}, {"cost", "total", "2"}},
	words:   "QEMU, forw., ksoft., total (with both TCPs): s of CPU a GB",
}

// trip is a round trip of one frame at a time.
var trip = kind{
	name: "rtt", rate: "speed", cost: "p50",
	figures: func(s sample) figures {
		slices.Sort(s.trips)
		at := func(q float64) float64 { return float64(quantile(s.trips, q).Nanoseconds()) / 1e3 }
		return figures{
			"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "speed": 1e6 / at(0.5),
			"device": per(s.device, s.sent) / 1e3, "forwarder": per(s.forwarder, s.sent) / 1e3,
		}
	},
	columns: []column{{"p50", "p50", "1"}, {"p99", "p99", "1"}, {"p999", "p99.9", "1"}, {"device", "QEMU", "1"}, {"forwarder", "forw.", "1"}},
	words:   "us; QEMU, forw.: us of CPU a round trip",
}

// loopCost is what the packet loop's process costs besides.
var loopCost = kind{
	name: "loop", rate: "frames", cost: "idle", alone: true,
	figures: func(s sample) figures {
		return figures{"frames": float64(s.sent), "allocs": float64(s.mallocs) / float64(s.sent), "idle": 100 * s.idle.Seconds() / s.idleWall.Seconds()}
	},
	columns: []column{{"frames", "frames", "0"}, {"allocs", "allocs", "4"}, {"idle", "idle%", "3"}},
	words:   "allocs: allocations of the loop a frame, both ways; idle%: of a core, while nothing comes",
}

// quantile is that of sorted times.
func quantile[T any](sorted []T, q float64) (zero T) {
	if len(sorted) == 0 {
		return zero
	}
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	switch n := len(s); {
	case n == 0:
		return math.NaN()
	case n%2 == 0:
		return (s[n/2-1] + s[n/2]) / 2
	default:
		return s[n/2]
	}
}

// series is one candidate's rounds of one measure.
type series struct {
	candidate string
	rounds    []figures
}

// of is the median of one figure.
func (s *series) of(key string) float64 { return median(s.all(key)) }

func (s *series) all(key string) (v []float64) {
	for _, r := range s.rounds {
		if f, ok := r[key]; ok {
			v = append(v, f)
		}
	}
	return v
}

// medians are those of all figures.
func (s *series) medians() figures {
	m := figures{}
	for _, r := range s.rounds {
		for key := range r {
			m[key] = s.of(key)
		}
	}
	return m
}

// spread is half of what lies between the lowest and the highest round, of the median.
func (s *series) spread(key string) float64 {
	v := s.all(key)
	if len(v) == 0 {
		return math.NaN()
	}
	return (slices.Max(v) - slices.Min(v)) / 2 / median(v)
}

// over is how many times better this is than a yardstick: the median of the rounds' own ratios, as what the machine did in a round it did to both.
func (s *series) over(yard *series, key string, low bool) float64 {
	if yard == nil {
		return math.NaN()
	}
	var v []float64
	for i := range min(len(s.rounds), len(yard.rounds)) {
		a, have := s.rounds[i][key]
		b, has := yard.rounds[i][key]
		switch {
		case !have || !has:
		case low:
			v = append(v, b/a)
		default:
			v = append(v, a/b)
		}
	}
	return median(v)
}

// share is how much of what could be gained over a yardstick is gained, by cost: 1 is the floor. Where the floor is not below the yardstick there is
// nothing to gain.
func share(candidate, yard, floor float64) float64 {
	if !(floor < yard) {
		return math.NaN()
	}
	return (yard - candidate) / (yard - floor)
}
