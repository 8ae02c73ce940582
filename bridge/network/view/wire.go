package view

import (
	"cmp"
	"slices"
)

// ends sets where the edges leave and enter their boxes: on each side in the order of the other ends, so that edges of one box do not cross.
func (p *picture) ends() {
	leaving, entering := map[*card][]*wire{}, map[*card][]*wire{}
	for _, e := range p.edges {
		leaving[e.from] = append(leaving[e.from], e)
		if e.to != nil {
			entering[e.to] = append(entering[e.to], e)
		} else {
			e.y2 = e.panel.spot.y
		}
	}
	for c, all := range leaving {
		slices.SortStableFunc(all, func(a, b *wire) int { return cmp.Compare(a.way[1].y, b.way[1].y) })
		for i, e := range all {
			e.y1 = c.port(i, len(all))
		}
	}
	for c, all := range entering {
		slices.SortStableFunc(all, func(a, b *wire) int { return cmp.Compare(a.way[len(a.way)-2].y, b.way[len(b.way)-2].y) })
		for i, e := range all {
			e.y2 = c.port(i, len(all))
			if len(c.eths) > 0 {
				e.y2 = c.ethPort(e.from.node.Key)
			}
		}
	}
}

// edge draws one, in the colour of what stands on the other.
func (p *picture) edge(e *wire) {
	points := [][2]float64{{e.from.x + e.from.w, e.y1}}
	for _, s := range e.way[1 : len(e.way)-1] {
		points = append(points, [2]float64{p.lefts[s.layer], s.y}, [2]float64{p.right[s.layer], s.y})
	}
	networks, x := []int(nil), 0.0
	if e.to != nil {
		networks, x = e.to.node.Networks, e.to.x
		if e.to.node.Layer == LayerGuest {
			networks = e.from.node.Networks
		}
	} else {
		networks, x = e.panel.networks, e.panel.x
	}
	class := colourOf("s", networks)
	if e.loose {
		class += " loose"
	}
	p.curve(class, append(points, [2]float64{x, e.y2}))
}
