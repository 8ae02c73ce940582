package view

import (
	"fmt"
	"io"
)

// Measures of the picture, pixels.
const (
	margin     = 24
	titleLine  = 34
	headLine   = 84  // baseline of the columns' headings
	content    = 104 // the uppermost box
	columnGap  = 62
	bandInset  = 14
	mostSingle = 44 // guests' ports that get a line each; of more, each network's are set in a panel
)

var (
	titleFont = font{19, true}
	headFont  = font{12, true}
	factFont  = font{12, false}
)

// picture is the logical view while it is drawn.
type picture struct {
	canvas
	v      Logical
	cards  []*card // in the order of the nodes
	byKey  map[string]*card
	panels []*panel
	grid   grid
	eths   map[string]string // by device: its name within the guest
	edges  []*wire
	layout layout
	lefts  []float64 // where the columns begin
	right  []float64 // where they end
	width  float64
}

// wire is an edge of the picture.
type wire struct {
	from, to *card
	panel    *panel // in place of to
	loose    bool
	way      []*spot
	y1, y2   float64
}

// SVG draws who stands on whom, in columns from the wire to the guest.
func (v Logical) SVG(w io.Writer) error {
	p := newPicture(v, ports(v) > mostSingle)
	if len(p.panels) == 0 && tangled(&p.layout) {
		p = newPicture(v, true)
	}
	return p.draw(w)
}

func ports(v Logical) (n int) {
	for i := range v.Nodes {
		if v.Nodes[i].Layer == LayerNIC {
			n++
		}
	}
	return n
}

// tangled says that guests have NICs on so many networks that lines to them would cross all over.
func tangled(l *layout) bool {
	if len(l.layers) <= LayerNIC.column() {
		return false
	}
	nics := l.layers[LayerNIC.column()]
	return crossingsAfter(nics) > 2*len(nics)
}

// newPicture lays the view out: guests one by one, or in panels.
func newPicture(v Logical, panels bool) *picture {
	p := &picture{v: v, byKey: map[string]*card{}, eths: map[string]string{}}
	var nics []*Node
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.Layer == LayerNIC {
			p.eths[n.Key] = n.Eth
			nics = append(nics, n)
		}
		if panels && (n.Layer == LayerNIC || n.Layer == LayerGuest) {
			continue
		}
		c := newCard(n)
		p.cards, p.byKey[n.Key] = append(p.cards, c), c
		p.addEths(c)
	}
	for _, c := range p.cards {
		c.spot = p.layout.add(c.node.Layer.column(), c.height(), family(c.node))
	}
	if panels {
		p.addPanels(nics)
	}
	p.connect()
	p.layout.arrange()
	return p
}

// family holds the ports of a bond together, and the guests of a network.
func family(n *Node) string {
	switch n.Layer {
	case LayerWire, LayerNIC, LayerGuest:
		return string(n.Layer) + fmt.Sprint(n.Networks)
	}
	return ""
}

// addEths gives a guest a line for each of its NICs, with the one or two devices of each.
func (p *picture) addEths(c *card) {
	if c.node.Layer != LayerGuest {
		return
	}
	lines := map[string]int{}
	for _, s := range c.node.On {
		eth := p.eths[s.Key]
		i, ok := lines[eth]
		if !ok {
			i = len(c.eths)
			lines[eth] = i
			c.eths = append(c.eths, nil)
		}
		c.eths[i] = append(c.eths[i], s.Key)
	}
}

// addPanels gathers the guests' ports by what they are on.
func (p *picture) addPanels(nics []*Node) {
	by := map[string]*panel{}
	for _, n := range nics {
		key := ""
		if len(n.On) > 0 {
			key = n.On[0].Key
		}
		if by[key] == nil {
			by[key] = &panel{networks: n.Networks}
			if c := p.byKey[key]; c != nil {
				by[key].over = c.node
			}
			p.panels = append(p.panels, by[key])
		}
		by[key].nics = append(by[key].nics, n)
	}
	p.grid = newGrid(p.panels)
	for _, q := range p.panels {
		q.spot = p.layout.add(LayerNIC.column(), q.height(p.grid), "")
	}
}

// connect makes the edges.
func (p *picture) connect() {
	for _, c := range p.cards {
		for _, s := range c.node.On {
			if from := p.byKey[s.Key]; from != nil {
				p.edges = append(p.edges, &wire{from: from, to: c, loose: s.Missing, way: p.layout.join(from.spot, c.spot)})
			}
		}
	}
	for _, q := range p.panels {
		if q.over != nil {
			from := p.byKey[q.over.Key]
			p.edges = append(p.edges, &wire{from: from, panel: q, way: p.layout.join(from.spot, q.spot)})
		}
	}
}

// draw sets the columns, then draws from the ground up: bands, edges, boxes, legend.
func (p *picture) draw(out io.Writer) error {
	bottom := p.layout.top(content)
	p.columns()
	facts := facts(p.v)
	width := max(p.width, 640, titleFont.width(titleFont.elide(p.v.title(), 900))+2*margin, factFont.width(facts)+2*margin)
	p.text("name", titleFont, margin, titleLine, titleFont.elide(p.v.title(), 900))
	p.text("faint", factFont, margin, titleLine+21, facts)
	for i, x := range p.lefts {
		if p.right[i] > x {
			p.rect("band", x-bandInset, headLine-19, p.right[i]-x+2*bandInset, bottom-headLine+19+bandInset, 8)
			p.text("faint", headFont, x, headLine, p.heading(i))
		}
	}
	p.ends()
	for _, e := range p.edges {
		p.edge(e)
	}
	for _, c := range p.cards {
		c.draw(&p.canvas, p.eths)
	}
	for _, q := range p.panels {
		q.draw(&p.canvas, p.grid)
	}
	height := p.legend(bottom+bandInset+30, width)
	return p.finish(out, p.v.title(), facts+". Columns from left to right: port, bond, segment, bridge, guest NIC, guest. A line says that the right one stands on the left one.", width, height)
}

func (p *picture) heading(column int) string {
	if len(p.panels) > 0 && column == LayerNIC.column() {
		return "Guests, by network"
	}
	return layers[column].heading
}

// columns gives every column its place and its boxes their common width. A column without boxes takes none.
func (p *picture) columns() {
	widths := make([]float64, len(layers))
	for _, c := range p.cards {
		i := c.node.Layer.column()
		widths[i] = max(widths[i], c.width())
	}
	if len(p.panels) > 0 {
		widths[LayerNIC.column()] = p.grid.w
	}
	x := float64(margin + bandInset)
	for i, w := range widths {
		if w > 0 {
			w = max(w, headFont.width(p.heading(i)))
		}
		p.lefts, p.right = append(p.lefts, x), append(p.right, x+w)
		if w > 0 {
			x += w + columnGap
		}
	}
	last := 0.0
	for _, c := range p.cards {
		i := c.node.Layer.column()
		c.x, c.w = p.lefts[i], p.right[i]-p.lefts[i]
		last = max(last, p.right[i])
	}
	for _, q := range p.panels {
		q.x = p.lefts[LayerNIC.column()]
		last = max(last, q.x+p.grid.w)
	}
	p.width = last + bandInset + margin
}
