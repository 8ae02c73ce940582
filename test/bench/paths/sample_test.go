package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// rounds makes a series of one figure.
func rounds(name, key string, values ...float64) *series {
	s := &series{candidate: name}
	for _, v := range values {
		s.rounds = append(s.rounds, figures{key: v})
	}
	return s
}

func TestMedianAndQuantile(t *testing.T) {
	assert.True(t, math.IsNaN(median(nil)))
	assert.InDelta(t, 3, median([]float64{9, 1, 3}), 0)
	assert.InDelta(t, 2.5, median([]float64{4, 1, 2, 3}), 0)
	trips := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	assert.EqualValues(t, 6, quantile(trips, 0.5))
	assert.EqualValues(t, 11, quantile(trips, 0.99))
	assert.Zero(t, quantile([]time.Duration(nil), 0.5))
}

// What slows a whole round down slows the yardstick too, so that the ratio stays.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	yard := rounds("bridge", "cost", 1000, 4000, 2000)
	assert.InDelta(t, 2, rounds("x", "cost", 500, 2000, 1000).over(yard, "cost", true), 1e-9)
	assert.InDelta(t, 0.5, rounds("x", "cost", 500, 2000, 1000).over(yard, "cost", false), 1e-9)
	assert.True(t, math.IsNaN(yard.over(nil, "cost", true)))
	assert.True(t, math.IsNaN(yard.over(rounds("y", "other", 1), "cost", true)), "what was not measured is no ratio")
	assert.InDelta(t, 0.75, yard.spread("cost"), 1e-9)
}

func TestRatiosProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(1, 1e9), 1, 9).Draw(t, "rounds")
		factor := rapid.Float64Range(0.01, 100).Draw(t, "factor")
		var times []float64
		for _, x := range v {
			times = append(times, x*factor)
		}
		assert.InEpsilon(t, factor, rounds("a", "k", times...).over(rounds("b", "k", v...), "k", false), 1e-9)
		assert.InEpsilon(t, 1/factor, rounds("a", "k", times...).over(rounds("b", "k", v...), "k", true), 1e-9)
	})
}

// The prototype's figures, of which the study says 46 % (tap-fast-path.md, section 12).
func TestShareOfThePossible(t *testing.T) {
	assert.InDelta(t, 0.469, share(2300, 2803, 1730), 1e-3)
	assert.InDelta(t, 1, share(1730, 2803, 1730), 1e-9)
	assert.Negative(t, share(4000, 2803, 1730))
	assert.True(t, math.IsNaN(share(1, 2, 3)), "there is nothing to gain")
}

func TestFiguresOfSamples(t *testing.T) {
	s := sample{
		wall: time.Second, sent: 1000, got: 900, known: 100, bytes: 125e6, device: 2 * time.Millisecond, forwarder: time.Millisecond,
		softirq: time.Millisecond, sender: 3 * time.Millisecond,
	}
	assert.Zero(t, s.lost())
	assert.Equal(t, figures{"rate": 900, "device": 2000, "forwarder": 1000, "softirq": 1000, "cost": 4000, "gbit": 1, "bound": 5e5}, outward.figures(s))
	in := inward.figures(s)
	assert.InDelta(t, 4000, in["path"], 1e-9)
	assert.InDelta(t, 2e6/900, in["device"], 1e-9)
	assert.InDelta(t, 10, in["drops"], 1e-9)
	assert.NotContains(t, inward.figures(sample{sent: 5, wall: 1}).known(), "device", "what never happened has no cost")
	both := s
	both.add(s)
	assert.Equal(t, outward.figures(s)["cost"], outward.figures(both)["cost"]) //nolint:testifylint // the same
	assert.InDelta(t, 900, outward.figures(both)["rate"], 1e-9)
}

func TestGoalsAreJudged(t *testing.T) {
	m := measure{name: "out-64", kind: outward}
	r := &result{measure: m, series: []*series{
		rounds(yardBridge, "cost", 2700, 2800), rounds(yardBridge0, "cost", 2200, 2200), rounds(yardBare, "cost", 1800, 1800),
		rounds(nameTCX, "cost", 1850, 1850), rounds(nameClsact, "cost", 2150, 2150),
	}}
	var words []string
	for _, v := range judge([]*result{r}, goals()) {
		words = append(words, v.Goal+": "+map[bool]string{true: "met", false: "missed"}[v.Met])
	}
	assert.Equal(t, []string{
		"shortcut over bridge: met", "shortcut over bridge0: met", "shortcut above bare redirect, ns: met",
		"clsact over bridge: met", "clsact over bridge0: missed",
	}, words)
}

func TestTheBestCandidateCounts(t *testing.T) {
	low := goal{"m", []string{"a", "b"}, "low", figure("x"), 10, true, "0"}
	r := &result{series: []*series{rounds("a", "x", 30), rounds("b", "x", 9)}}
	v, ok := low.best(r)
	assert.True(t, ok && v.Met && v.Candidate == "b", v)
	high := goal{"m", []string{"a", "b"}, "high", figure("x"), 10, false, "0"}
	v, ok = high.best(r)
	assert.True(t, ok && v.Met && v.Candidate == "a", v)
	_, ok = goal{"m", []string{"c"}, "none", figure("x"), 10, false, "0"}.best(r)
	assert.False(t, ok)
}

// A table is for a terminal of 100 columns, and says what it could not account for.
func TestTable(t *testing.T) {
	row := func(name string, rate, cost float64) *series {
		f := figures{"rate": rate, "cost": cost, "device": cost, "forwarder": 0, "softirq": 0, "gbit": 12.3}
		return &series{candidate: name, rounds: []figures{f, f}}
	}
	r := &result{measure: outMeasure(setup{guests: 50}, 1514), lost: []string{"shortcut, round 1: 3 of 10 sent frames"}, series: []*series{
		row(yardBridge, 350e3, 2800), row(yardBridge0, 400e3, 2500), row(yardFloor, 1e6, 1000), row(nameClsact, 500e3, 2000),
	}}
	var b bytes.Buffer
	r.print(&b)
	assert.Equal(t, `
Guest to wire, 1514 bytes, 50 guests (out-1514-50guests)
  QEMU, forw., ksoft., total: ns of CPU a frame
                  kfr/s  Gbit/s    QEMU   forw.  ksoft.   total /bridge /br0 CPU/br. /br0 share +-%
bridge              350    12.3    2800       0       0    2800    1.00 0.88    1.00 0.89    0%   0
bridge0             400    12.3    2500       0       0    2500    1.14 1.00    1.12 1.00   17%   0
floor              1000    12.3    1000       0       0    1000    2.86 2.50    2.80 2.50     -   0
shortcut/clsact     500    12.3    2000       0       0    2000    1.43 1.25    1.40 1.25   44%   0
  NOT ACCOUNTED FOR: shortcut, round 1: 3 of 10 sent frames
`, b.String())
}

func TestEveryMeasureFitsTheScreen(t *testing.T) {
	for _, m := range measures() {
		var b bytes.Buffer
		r := &result{measure: m, series: []*series{{candidate: nameClsact, rounds: []figures{m.kind.figures(sample{sent: 1, got: 1, wall: 1, bytes: 1})}}}}
		r.print(&b)
		for _, line := range strings.Split(b.String(), "\n") {
			assert.LessOrEqual(t, len(line), 100, line)
		}
	}
}

func TestOnlyChoosesAndYardsticksJoin(t *testing.T) {
	p := plan{rounds: 5, time: time.Second, only: regexp.MustCompile(`^out-64 shortcut$`)}
	cs := candidates()
	parts := p.parts(measures(), cs)
	require.Len(t, parts, 1)
	require.Len(t, parts[0].measures, 1)
	var in []string
	for _, c := range cs {
		if p.chosen(parts[0].measures[0], c) {
			in = append(in, c.name)
		}
	}
	assert.Equal(t, []string{yardBridge, yardBridge0, yardFloor, yardBare, nameTCX}, in)
	assert.Greater(t, p.estimate(parts, cs), 25*time.Second)
	p.only = regexp.MustCompile(`nothing like that`)
	assert.Empty(t, p.parts(measures(), cs))
}

// JSON knows no infinity: a figure that cannot be told is left out.
func TestJSON(t *testing.T) {
	b := &bench{plan: plan{rounds: 1}, calls: []float64{200}, results: []*result{{measure: outMeasure(setup{guests: 1}, 64), series: []*series{
		{candidate: yardBridge, rounds: []figures{outward.figures(sample{}).known()}},
	}}}}
	path := filepath.Join(t.TempDir(), "figures")
	require.NoError(t, b.writeJSON(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var d document
	require.NoError(t, json.Unmarshal(text, &d))
	assert.InDelta(t, 200, d.SystemCallNS, 0)
	assert.Equal(t, "out-64", d.Rows[0].Measure)
	assert.Empty(t, d.Rows[0].Median)
}
