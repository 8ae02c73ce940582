package view

import (
	"math"
	"strconv"
)

// panel is the guests of one network in rows and columns, where a picture has too many for a line each.
type panel struct {
	over     *Node // the bridge; nil: of no network
	networks []int
	nics     []*Node
	spot     *spot
	x        float64
}

// Measures of the panels, pixels.
const (
	panelHead  = 22
	panelInset = 8
	cellHeight = 22
	cellGap    = 6
	nicWidest  = 210
	tall       = 1050 // what the panels shall not be higher than together, where more columns help
)

// grid is how the cells of all panels are set: equally, so that columns align.
type grid struct {
	columns                     int
	chip, name, device, cell, w float64
}

// abreast is the greatest number of columns in a panel.
const abreast = 5

// newGrid measures the cells, and chooses as few columns as keep the picture from being tall.
func newGrid(panels []*panel) grid {
	var g grid
	for _, p := range panels {
		for _, n := range p.nics {
			g.chip = max(g.chip, chipWidth(n.Label))
			name, rest := nicName(n)
			g.name = max(g.name, min(detailFont.width(name+rest), nicWidest))
			g.device = max(g.device, min(detailFont.width(nicDevice(n)), 150))
		}
	}
	g.cell = math.Ceil(g.chip + 7 + g.name + 10 + g.device + 12)
	for g.columns = 1; g.columns < abreast && together(panels, g) > tall; g.columns++ {
		more := g
		more.columns++
		if together(panels, more) >= together(panels, g) {
			break
		}
	}
	g.w = float64(g.columns)*(g.cell+cellGap) - cellGap + 2*panelInset
	return g
}

// together is how high all panels are.
func together(panels []*panel, g grid) (total float64) {
	for _, p := range panels {
		total += p.height(g) + gapOther
	}
	return total
}

// nicName is whose NIC it is: the name, and the id and ethY that follow it. Of a port that is no guest's, it is its own name.
func nicName(n *Node) (name, rest string) {
	if n.Guest == "" {
		return n.Name, ""
	}
	return n.Guest, idOf(n.Guest, n.Domain) + " " + n.Eth
}

// nicDevice is the device, with what is wrong.
func nicDevice(n *Node) string {
	s := n.Name
	if n.Guest == "" {
		s = ""
	}
	for _, k := range n.Marks {
		s += " " + string(k)
	}
	return s
}

func (p *panel) rows(g grid) int { return (len(p.nics) + g.columns - 1) / g.columns }

func (p *panel) height(g grid) float64 {
	return float64(panelHead + p.rows(g)*(cellHeight+cellGap) - cellGap + 2*panelInset)
}

// heading tells how many there are: "57 NICs on 5 Production".
func (p *panel) heading() string {
	s := strconv.Itoa(len(p.nics)) + " NICs"
	if len(p.nics) == 1 {
		s = "1 NIC"
	}
	switch {
	case p.over == nil:
		return s + " on no network"
	case len(p.networks) == 1:
		return s + " on " + strconv.Itoa(p.networks[0]) + " " + p.over.Network
	}
	return s + " on " + p.over.Name
}

// draw draws the panel, column by column, in the order of the labels.
func (p *panel) draw(to *canvas, g grid) {
	y := p.spot.y - p.spot.height/2
	to.open("")
	to.rect("card "+colourOf("s", p.networks), p.x, y, g.w, p.spot.height, 6)
	to.text(colourOf("f", p.networks), netFont, p.x+panelInset+2, y+18, netFont.elide(p.heading(), g.w-2*panelInset-2))
	to.shut()
	rows := p.rows(g)
	for i, n := range p.nics {
		x := p.x + panelInset + float64(i/rows)*(g.cell+cellGap)
		p.cell(to, g, n, x, y+panelHead+panelInset+float64(i%rows)*(cellHeight+cellGap))
	}
}

func (p *panel) cell(to *canvas, g grid, n *Node, x, y float64) {
	name, rest := nicName(n)
	to.open((&card{node: n}).tip() + ", " + name + rest)
	to.rect("band", x, y, g.cell, cellHeight, 3)
	to.chip(x+3, y+3, n.Label, n.Networks)
	to.text("name", detailFont, x+g.chip+10, y+15, detailFont.elideName(name, rest, g.name))
	class := "faint"
	if len(n.Marks) > 0 {
		class = toneClass(n.Marks)
	}
	to.textRight(class, detailFont, x+g.cell-6, y+15, detailFont.elide(nicDevice(n), g.device))
	to.shut()
}
