package view

import (
	"math"
	"slices"
)

// spot is a place in a layered layout: of a box, or of an edge that passes a column.
type spot struct {
	layer         int
	height, y     float64 // y: of its middle
	pos           int     // within its layer
	rank          int     // by its making: what readers expect
	family        string  // neighbours of one family stand closer together
	before, after []*spot
}

// layout is spots in layers, from left to right. Edges go to higher layers alone.
type layout struct {
	layers [][]*spot
	made   int
}

// Gaps between spots of one layer, pixels.
const (
	gapFamily = 7
	gapOther  = 14
)

func (l *layout) add(layer int, height float64, family string) *spot {
	for len(l.layers) <= layer {
		l.layers = append(l.layers, nil)
	}
	l.made++
	s := &spot{layer: layer, height: height, pos: len(l.layers[layer]), family: family, rank: l.made}
	l.layers[layer] = append(l.layers[layer], s)
	return s
}

// join leads an edge through the layers between, and gives its spots, both ends included.
func (l *layout) join(a, b *spot) []*spot {
	way := []*spot{a}
	for layer := a.layer + 1; layer < b.layer; layer++ {
		way = append(way, l.add(layer, 4, ""))
	}
	way = append(way, b)
	for i := 1; i < len(way); i++ {
		way[i-1].after = append(way[i-1].after, way[i])
		way[i].before = append(way[i].before, way[i-1])
	}
	return way
}

// sweeps are how often the layers are gone through, to and fro; more change nothing for hosts with hundreds of guests.
const sweeps = 12

// arrange orders each layer so that few edges cross (barycenters, to and fro, the best order kept), then sets the spots' heights.
func (l *layout) arrange() {
	best, order := l.crossings(), l.order()
	for i := range sweeps {
		l.sweep(i%2 == 0, func(layer []*spot, neighbours func(*spot) []*spot) { sortByCenters(layer, neighbours) })
		if n := l.crossings(); n < best {
			best, order = n, l.order()
		}
	}
	l.layers = order
	l.untangle()
	for _, layer := range l.layers {
		spread(layer, func(s *spot) float64 { return s.y })
	}
	for i := range 2 * sweeps {
		l.sweep(i%2 == 0, func(layer []*spot, neighbours func(*spot) []*spot) {
			spread(layer, func(s *spot) float64 { return middle(s, neighbours(s)) })
		})
	}
	for range sweeps {
		for _, layer := range l.layers {
			spread(layer, func(s *spot) float64 { return middle(s, slices.Concat(s.before, s.after)) })
		}
	}
	for i := len(l.layers) - 2; i >= 0; i-- {
		if i < LayerNIC.column() {
			spread(l.layers[i], func(s *spot) float64 { return middle(s, s.after) })
		}
	}
	l.compact()
}

// sweep visits the layers to the right by what stands before each, or to the left by what stands after.
func (l *layout) sweep(right bool, visit func([]*spot, func(*spot) []*spot)) {
	for i := range l.layers {
		if right {
			visit(l.layers[i], func(s *spot) []*spot { return s.before })
		} else {
			visit(l.layers[len(l.layers)-1-i], func(s *spot) []*spot { return s.after })
		}
	}
}

func (l *layout) order() [][]*spot {
	out := make([][]*spot, len(l.layers))
	for i, layer := range l.layers {
		out[i] = slices.Clone(layer)
	}
	return out
}

// sortByCenters orders a layer by the mean position of neighbours; a spot without any keeps its place.
func sortByCenters(layer []*spot, neighbours func(*spot) []*spot) {
	center := map[*spot]float64{}
	for _, s := range layer {
		center[s] = float64(s.pos)
		if all := neighbours(s); len(all) > 0 {
			sum := 0.0
			for _, n := range all {
				sum += float64(n.pos)
			}
			center[s] = sum / float64(len(all))
		}
	}
	slices.SortStableFunc(layer, func(a, b *spot) int {
		switch d := center[a] - center[b]; {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
	for i, s := range layer {
		s.pos = i
	}
}

// crossings counts the pairs of edges that cross between neighbouring layers.
func (l *layout) crossings() (n int) {
	for _, layer := range l.layers {
		n += crossingsAfter(layer)
	}
	return n
}

func crossingsAfter(layer []*spot) (n int) {
	var ends []int // where the edges of the spots so far end
	for _, s := range layer {
		for _, to := range s.after {
			for _, end := range ends {
				if end > to.pos {
					n++
				}
			}
		}
		for _, to := range s.after {
			ends = append(ends, to.pos)
		}
	}
	return n
}

// middle is the mean height of neighbours; of a spot without any, its own.
func middle(s *spot, neighbours []*spot) float64 {
	if len(neighbours) == 0 {
		return s.y
	}
	sum := 0.0
	for _, n := range neighbours {
		sum += n.y
	}
	return sum / float64(len(neighbours))
}

// spread sets a layer's heights as near as it can to where each spot wants to be, without overlap, in the layer's order. It minimizes the sum
// of squares (pool adjacent violators): spots that would collide become a block, which stands where its members want on the average.
func spread(layer []*spot, want func(*spot) float64) {
	type block struct {
		sum   float64 // of what members want, less their offsets
		first int
		count int
	}
	offsets := make([]float64, len(layer))
	var blocks []block
	for i, s := range layer {
		if i > 0 {
			offsets[i] = offsets[i-1] + (layer[i-1].height+s.height)/2 + gap(layer[i-1], s)
		}
		blocks = append(blocks, block{want(s) - offsets[i], i, 1})
		for k := len(blocks) - 1; k > 0; k-- {
			a, b := blocks[k-1], blocks[k]
			if a.sum/float64(a.count) <= b.sum/float64(b.count) {
				break
			}
			blocks[k-1] = block{a.sum + b.sum, a.first, a.count + b.count}
			blocks = blocks[:k]
		}
	}
	for _, b := range blocks {
		for i := b.first; i < b.first+b.count; i++ {
			layer[i].y = b.sum/float64(b.count) + offsets[i]
		}
	}
}

func gap(a, b *spot) float64 {
	if a.family != "" && a.family == b.family {
		return gapFamily
	}
	return gapOther
}

// top moves everything so that the uppermost edge of a spot is at y, and gives the lowest.
func (l *layout) top(y float64) (lowest float64) {
	highest := math.Inf(1)
	for _, layer := range l.layers {
		for _, s := range layer {
			highest = min(highest, s.y-s.height/2)
		}
	}
	lowest = y
	for _, layer := range l.layers {
		for _, s := range layer {
			s.y += y - highest
			lowest = max(lowest, s.y+s.height/2)
		}
	}
	return lowest
}
