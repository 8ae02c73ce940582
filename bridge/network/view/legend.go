package view

import (
	"strconv"
	"strings"
)

// facts are a view in one line: how much there is, and what is wrong.
func facts(v Logical) string {
	guests, wrong := 0, map[Mark]int{}
	for i := range v.Nodes {
		if v.Nodes[i].Layer == LayerGuest {
			guests++
		}
		for _, k := range v.Nodes[i].Marks {
			wrong[k]++
		}
	}
	words := []string{plural(len(v.Networks), "network"), plural(guests, "guest"), plural(ports(v), "guest NIC")}
	for _, k := range []Mark{Missing, Failed, Down, Drifted, Foreign} {
		if wrong[k] > 0 {
			words = append(words, strconv.Itoa(wrong[k])+" "+string(k))
		}
	}
	return v.when() + strings.Join(words, ", ")
}

// when is the time of the observation, as the beginning of a line.
func (h Head) when() string {
	if h.At.IsZero() {
		return ""
	}
	return h.At.UTC().Format("2006-01-02 15:04 UTC") + " · "
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// legendNameWidest bounds a network's name in the legend.
const legendNameWidest = 190

// legend tells the networks by their numbers, and the kinds of outlines that occur; it gives the picture's height.
func (p *picture) legend(y, width float64) float64 {
	x := float64(margin)
	for _, n := range p.v.Networks {
		name := factFont.elide(n.Name, legendNameWidest)
		w := chipWidth(n.Label) + 6 + factFont.width(name)
		if x+w > width-margin && x > margin {
			x, y = margin, y+24
		}
		p.chip(x, y-12, n.Label, []int{n.Number})
		p.text("name", factFont, x+chipWidth(n.Label)+6, y, name)
		x += w + 20
	}
	if len(p.v.Networks) > 0 {
		x, y = margin, y+26
	}
	for _, k := range p.outlines() {
		text := map[Mark]string{
			Missing: "dotted: missing, declared but not there",
			Foreign: "dashed: foreign, declared by nobody",
		}[k]
		w := 34 + factFont.width(text)
		if x+w > width-margin && x > margin {
			x, y = margin, y+24
		}
		p.rect("card "+outline([]Mark{k}, nil), x, y-11, 26, 14, 3)
		p.text("faint", factFont, x+34, y, text)
		x += w + 20
	}
	if x > margin {
		y += 24
	}
	return y
}

// outlines are the marks that change an outline and occur.
func (p *picture) outlines() (out []Mark) {
	for _, k := range []Mark{Missing, Foreign} {
		for _, c := range p.cards {
			if strings.Contains(strings.Join(marksOf(c), " "), string(k)) {
				out = append(out, k)
				break
			}
		}
	}
	return out
}

func marksOf(c *card) []string { return wrongs(c.node.Marks, nil) }
