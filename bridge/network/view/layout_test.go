package view

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// Two pairs of edges that cross as they were made do not when they are arranged.
func TestArrangeUncrosses(t *testing.T) {
	var l layout
	a, b := l.add(0, 20, ""), l.add(0, 20, "")
	c, d := l.add(1, 20, ""), l.add(1, 20, "")
	l.join(a, d)
	l.join(b, c)
	root := l.add(2, 20, "")
	l.join(c, root)
	l.join(d, root)
	assert.Equal(t, 1, l.crossings())
	l.arrange()
	assert.Equal(t, 0, l.crossings())
	assert.Less(t, a.y, b.y, "the order of making is kept where it costs nothing")
}

// What is not connected stands in the order of its making, without a void between.
func TestArrangeClosesUp(t *testing.T) {
	var l layout
	var roots []*spot
	for range 5 {
		root := l.add(0, 30, "")
		roots = append(roots, root)
		for range 6 {
			l.join(root, l.add(1, 30, ""))
		}
	}
	l.arrange()
	for i := 1; i < len(roots); i++ {
		assert.Greater(t, roots[i].y, roots[i-1].y)
	}
	leaves := l.layers[1]
	for i := 1; i < len(leaves); i++ {
		assert.InDelta(t, 30+gapOther, leaves[i].y-leaves[i-1].y, 0.01)
	}
	assert.InDelta(t, 100+30*30+29*gapOther, l.top(100), 0.01)
}

// A long edge passes the layers between in places of its own.
func TestJoinPassesLayers(t *testing.T) {
	var l layout
	a, b := l.add(0, 20, ""), l.add(3, 20, "")
	way := l.join(a, b)
	assert.Len(t, way, 4)
	assert.Equal(t, 2, way[2].layer)
	assert.Len(t, l.layers[1], 1)
}

func TestSpotsNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l layout
		var all []*spot
		for range rapid.IntRange(1, 40).Draw(t, "spots") {
			all = append(all, l.add(rapid.IntRange(0, 5).Draw(t, "layer"), rapid.Float64Range(4, 90).Draw(t, "height"), rapid.SampledFrom([]string{"", "a"}).Draw(t, "family")))
		}
		for range rapid.IntRange(0, 60).Draw(t, "edges") {
			a, b := rapid.SampledFrom(all).Draw(t, "from"), rapid.SampledFrom(all).Draw(t, "to")
			if a.layer < b.layer {
				l.join(a, b)
			}
		}
		before := l.crossings()
		l.arrange()
		assert.LessOrEqual(t, l.crossings(), before)
		lowest := l.top(10)
		for _, layer := range l.layers {
			for i, s := range layer {
				assert.GreaterOrEqual(t, s.y-s.height/2, 9.99)
				assert.LessOrEqual(t, s.y+s.height/2, lowest+0.01)
				if i > 0 {
					assert.GreaterOrEqual(t, (s.y-s.height/2)-(layer[i-1].y+layer[i-1].height/2), gap(layer[i-1], s)-0.01)
				}
			}
		}
	})
}

// spread does least harm: two that want the same place share the way.
func TestSpread(t *testing.T) {
	layer := []*spot{{height: 10}, {height: 10}, {height: 10}}
	wants := map[*spot]float64{layer[0]: 0, layer[1]: 100, layer[2]: 100}
	spread(layer, func(s *spot) float64 { return wants[s] })
	half := (10.0 + gapOther) / 2
	assert.InDelta(t, 0, layer[0].y, 0.01)
	assert.InDelta(t, 100-half, layer[1].y, 0.01)
	assert.InDelta(t, 100+half, layer[2].y, 0.01)
}
