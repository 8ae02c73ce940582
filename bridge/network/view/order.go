package view

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// untangle puts what is not connected one below the other, by the order of its making, and within each part restores that order where no
// more edges cross for it: readers look for network 2 below network 1.
func (l *layout) untangle() {
	parts := l.parts()
	for _, layer := range l.layers {
		slices.SortStableFunc(layer, func(a, b *spot) int { return cmp.Compare(parts[a], parts[b]) })
	}
	l.number()
	for range sweeps {
		for _, layer := range l.layers {
			for i := 1; i < len(layer); i++ {
				a, b := layer[i-1], layer[i]
				if a.rank > b.rank && parts[a] == parts[b] && crossed(b, a) <= crossed(a, b) {
					layer[i-1], layer[i] = b, a
					a.pos, b.pos = i, i-1
				}
			}
		}
	}
}

// parts numbers what is connected, ascending by the order of its making.
func (l *layout) parts() map[*spot]int {
	parts := map[*spot]int{}
	for _, layer := range l.order() {
		slices.SortFunc(layer, func(a, b *spot) int { return cmp.Compare(a.rank, b.rank) })
		for _, s := range layer {
			if _, ok := parts[s]; !ok {
				gather(s, s.rank, parts)
			}
		}
	}
	return parts
}

// compact moves what is connected up as a whole, to what is above it.
func (l *layout) compact() {
	members := map[int][]*spot{}
	for s, part := range l.parts() {
		members[part] = append(members[part], s)
	}
	above := make([]*spot, len(l.layers)) // the lowest spot of each layer so far
	for i, part := range slices.Sorted(maps.Keys(members)) {
		all := members[part]
		slices.SortFunc(all, func(a, b *spot) int { return cmp.Or(cmp.Compare(a.layer, b.layer), cmp.Compare(a.pos, b.pos)) })
		room := math.Inf(1)
		for _, s := range all {
			if a := above[s.layer]; a != nil {
				room = min(room, (s.y-s.height/2)-(a.y+a.height/2)-gap(a, s))
			}
		}
		for _, s := range all {
			if i > 0 && !math.IsInf(room, 0) {
				s.y -= room
			}
			above[s.layer] = s
		}
	}
}

// gather marks all that is connected with a spot.
func gather(s *spot, part int, parts map[*spot]int) {
	parts[s] = part
	for _, n := range slices.Concat(s.before, s.after) {
		if _, ok := parts[n]; !ok {
			gather(n, part, parts)
		}
	}
}

// crossed counts the crossings of the edges of two spots of a layer, the first above the second.
func crossed(a, b *spot) (n int) {
	for _, side := range [][2][]*spot{{a.before, b.before}, {a.after, b.after}} {
		for _, x := range side[0] {
			for _, y := range side[1] {
				if x.pos > y.pos {
					n++
				}
			}
		}
	}
	return n
}

func (l *layout) number() {
	for _, layer := range l.layers {
		for i, s := range layer {
			s.pos = i
		}
	}
}
