package view

import (
	"math"
	"strings"
)

// Fonts of the boxes.
var (
	nameFont   = font{13, true}
	netFont    = font{12, true}
	detailFont = font{11, false}
)

// Measures of the boxes, pixels.
const (
	cardInset  = 9
	cardWidest = 210
	mostWrong  = 4   // lines of what is wrong
	addressMax = 300 // room for the longest address
	nameLine   = 18
	detailLine = 14
	ethWidth   = 44 // of the cell with ethY at a guest's left side
)

// card is a box of the picture.
type card struct {
	node   *Node
	net    string     // the network's name, where it is told beside the device's
	detail []string   // lines
	wrong  []string   // lines of marks and notes
	eths   [][]string // of a guest: its NICs, each with the keys of its devices
	spot   *spot
	x, w   float64 // set with the column
}

// newCard sets a node's words into lines.
func newCard(n *Node) *card {
	c := &card{node: n}
	if n.Network != n.Name {
		c.net = n.Network
	}
	room := float64(cardWidest - 2*cardInset)
	for _, d := range n.Detail {
		room = max(room, min(detailFont.width(d+","), addressMax))
	}
	c.detail = detailFont.flow(n.Detail, room)
	if n.Layer == LayerNIC && n.Tap {
		c.detail = append(c.detail, "emulated")
	}
	if len(n.Marks) > 0 {
		c.wrong = detailFont.wrap(strings.Join(wrongs(n.Marks, n.Notes), ", "), cardWidest-2*cardInset, mostWrong)
	}
	return c
}

func wrongs(marks []Mark, notes []string) []string {
	out := make([]string, 0, len(marks)+len(notes))
	for _, k := range marks {
		out = append(out, string(k))
	}
	return append(out, notes...)
}

func (c *card) title() string {
	if c.node.Layer == LayerGuest {
		return named(c.node.Name, c.node.Domain)
	}
	return c.node.Name
}

// width is what the words need, within bounds.
func (c *card) width() float64 {
	w := chipWidth(c.node.Label) + min(nameFont.width(c.title()), cardWidest-2*cardInset)
	if c.node.Label != "" {
		w += 7
	}
	if len(c.eths) > 0 {
		w += ethWidth
	}
	w = max(w, min(netFont.width(c.net), cardWidest-2*cardInset))
	for _, l := range append(c.detail, c.wrong...) {
		w = max(w, detailFont.width(l))
	}
	return math.Ceil(w) + 2*cardInset
}

func (c *card) height() float64 {
	h := float64(nameLine + detailLine*(len(c.detail)+len(c.wrong)))
	if c.net != "" {
		h += detailLine + 2
	}
	return max(h, float64(nameLine*len(c.eths))) + 10
}

// port is where an edge leaves or enters the box: the i-th of n on a side.
func (c *card) port(i, n int) float64 {
	step := min(9, (c.height()-14)/float64(max(n, 1)))
	return c.spot.y + (float64(i)-float64(n-1)/2)*step
}

// ethPort is where the edge from a device enters a guest.
func (c *card) ethPort(device string) float64 {
	for i, devices := range c.eths {
		for k, d := range devices {
			if d == device {
				return c.ethLine(i) + (float64(k)-float64(len(devices)-1)/2)*6
			}
		}
	}
	return c.spot.y
}

// ethLine is the middle of a guest's line for a NIC.
func (c *card) ethLine(i int) float64 {
	return c.spot.y + (float64(i)-float64(len(c.eths)-1)/2)*nameLine
}

// draw draws the box.
func (c *card) draw(to *canvas, eths map[string]string) {
	n, y := c.node, c.spot.y-c.height()/2
	to.open(c.tip())
	to.rect("card "+outline(n.Marks, n.Networks), c.x, y, c.w, c.height(), 5)
	x, line := c.x+cardInset, y+5
	if len(c.eths) > 0 {
		for i, devices := range c.eths {
			to.text("faint", detailFont, x, c.ethLine(i)+4, detailFont.elide(eths[devices[0]], ethWidth-4))
		}
		x += ethWidth
		line = c.spot.y - nameLine/2
	}
	room := c.x + c.w - cardInset - x
	if n.Label != "" {
		to.chip(x, line+1, n.Label, n.Networks)
		x += chipWidth(n.Label) + 7
	}
	rest := strings.TrimPrefix(c.title(), n.Name)
	to.text("name", nameFont, x, line+14, nameFont.elideName(n.Name, rest, c.x+c.w-cardInset-x))
	x, line = c.x+cardInset, line+nameLine
	if c.net != "" {
		to.text(colourOf("f", n.Networks), netFont, x, line+11, netFont.elide(c.net, room))
		line += detailLine + 2
	}
	for _, l := range c.detail {
		to.text("faint", detailFont, x, line+10, l)
		line += detailLine
	}
	for _, l := range c.wrong {
		to.text(toneClass(n.Marks), detailFont, x, line+10, l)
		line += detailLine
	}
	to.shut()
}

// tip is all that is known of the box, for a pointer over it.
func (c *card) tip() string {
	n := c.node
	words := append(n.words(), wrongs(n.Marks, n.Notes)...)
	if len(words) == 0 {
		return n.title()
	}
	return n.title() + ": " + strings.Join(words, ", ")
}
