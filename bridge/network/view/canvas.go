package view

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// canvas collects the drawing of an SVG picture. Everything on it is a number, a class of the style sheet, or an escaped text.
type canvas struct {
	strings.Builder
}

var xmlText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")

// escape makes a text fit for XML.
func escape(s string) string { return xmlText.Replace(clean(s)) }

// px writes a coordinate: tenths of a pixel are enough.
func px(f float64) string {
	return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
}

func (c *canvas) rect(class string, x, y, w, h, radius float64) {
	fmt.Fprintf(c, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"`, class, px(x), px(y), px(w), px(h))
	if radius > 0 {
		fmt.Fprintf(c, ` rx="%s"`, px(radius))
	}
	c.WriteString("/>\n")
}

// text writes a line with its left end on the baseline at x, y.
func (c *canvas) text(class string, f font, x, y float64, s string) { c.textAt(class, f, x, y, "", s) }

// textRight writes a line with its right end at x.
func (c *canvas) textRight(class string, f font, x, y float64, s string) {
	c.textAt(class, f, x, y, "end", s)
}

func (c *canvas) textAt(class string, f font, x, y float64, anchor, s string) {
	if s == "" {
		return
	}
	fmt.Fprintf(c, `<text class="%s" x="%s" y="%s" font-size="%s"`, class, px(x), px(y), px(f.size))
	if f.bold {
		c.WriteString(` font-weight="bold"`)
	}
	if anchor != "" {
		fmt.Fprintf(c, ` text-anchor="%s"`, anchor)
	}
	c.WriteString(">" + escape(s) + "</text>\n")
}

// curve draws an edge from the right side of one box to the left side of another.
func (c *canvas) curve(class string, points [][2]float64) {
	fmt.Fprintf(c, `<path class="%s" d="M%s %s`, class, px(points[0][0]), px(points[0][1]))
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if math.Abs(a[1]-b[1]) < 0.05 {
			fmt.Fprintf(c, "H%s", px(b[0]))
			continue
		}
		middle := (a[0] + b[0]) / 2
		fmt.Fprintf(c, "C%s %s %s %s %s %s", px(middle), px(a[1]), px(middle), px(b[1]), px(b[0]), px(b[1]))
	}
	c.WriteString("\"/>\n")
}

// open begins a box: what is written until shut stays within its first rectangle. The title is what a pointer over it tells.
func (c *canvas) open(title string) {
	c.WriteString(`<g class="box">` + "\n")
	if title != "" {
		c.WriteString("<title>" + escape(title) + "</title>\n")
	}
}

func (c *canvas) shut() { c.WriteString("</g>\n") }

// labelFont is that of the labels, on their coloured chips.
var labelFont = font{11, true}

const (
	chipHeight = 16
	chipWidest = 78 // longer labels, of what many networks share, are elided
)

func chipWidth(label string) float64 {
	if label == "" {
		return 0
	}
	return math.Ceil(labelFont.width(labelFont.elide(label, chipWidest)) + 10)
}

// chip draws a label with its left upper corner at x, y, in the colour of its network; what is shared is grey.
func (c *canvas) chip(x, y float64, label string, networks []int) {
	if label == "" {
		return
	}
	c.rect("chip "+colourOf("f", networks), x, y, chipWidth(label), chipHeight, 4)
	c.text("label", labelFont, x+5, y+12, labelFont.elide(label, chipWidest))
}

// finish writes the picture with its frame.
func (c *canvas) finish(out io.Writer, title, description string, w, h float64) error {
	_, err := fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" class="vifplug" role="img" aria-labelledby="vifplug-title vifplug-desc" `+
		"width=\"%[1]s\" height=\"%[2]s\" viewBox=\"0 0 %[1]s %[2]s\">\n<title id=\"vifplug-title\">%[3]s</title>\n<desc id=\"vifplug-desc\">%[4]s</desc>\n<style>\n%[5]s</style>\n"+
		"<rect class=\"ground\" width=\"%[1]s\" height=\"%[2]s\"/>\n%[6]s</svg>\n", px(w), px(h), escape(title), escape(description), styles(), c.String())
	return err
}
