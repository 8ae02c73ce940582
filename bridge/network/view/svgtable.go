package view

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Measures of tables, pixels.
const (
	cellInset  = 8
	cellWidest = 310 // room for the longest address
	mostNotes  = 6   // lines
	rowLine    = 16
	rowInset   = 7
)

// sheet is a table while it is drawn.
type sheet struct {
	canvas
	table
	networks [][]int // of the rows: whose colour their label has
	wrong    []bool  // of the rows: their state is wrong, not only unusual
	lines    [][][]string
	widths   []float64
}

// measure sets the cells into lines, and gives the columns their widths.
func (s *sheet) measure() {
	s.widths = make([]float64, len(s.columns))
	for i, c := range s.columns {
		s.widths[i] = headFont.width(c.head)
	}
	for _, row := range s.rows {
		lines := make([][]string, len(row))
		for i, cell := range row {
			lines[i] = s.set(i, cell)
			for _, l := range lines[i] {
				if i == 0 {
					s.widths[i] = max(s.widths[i], chipWidth(l))
				} else {
					s.widths[i] = max(s.widths[i], detailFont.width(l))
				}
			}
		}
		s.lines = append(s.lines, lines)
	}
	for i, w := range s.widths {
		s.widths[i] = math.Ceil(w) + 2*cellInset
	}
}

// set sets a cell's items into lines.
func (s *sheet) set(column int, items []string) []string {
	switch {
	case column == 0:
		return labelFont.flow(items, chipWidest)
	case s.columns[column].head == notesHead:
		return detailFont.wrap(strings.Join(items, ", "), cellWidest, mostNotes)
	}
	return detailFont.flow(items, cellWidest)
}

// draw draws the table under its title.
func (s *sheet) draw(out io.Writer, title, facts string) error {
	s.measure()
	width := 0.0
	for _, w := range s.widths {
		width += w
	}
	s.text("name", titleFont, margin, titleLine, titleFont.elide(title, 900))
	s.text("faint", factFont, margin, titleLine+21, facts)
	x := float64(margin)
	for i, c := range s.columns {
		if c.right {
			s.textRight("faint", headFont, x+s.widths[i]-cellInset, headLine, c.head)
		} else {
			s.text("faint", headFont, x+cellInset, headLine, c.head)
		}
		x += s.widths[i]
	}
	y := float64(headLine + 10)
	for r := range s.rows {
		y += s.row(r, y, width)
	}
	fmt.Fprintf(&s.canvas, "<path class=\"line\" d=\"M%d %dH%s\"/>\n", margin, headLine+10, px(margin+width))
	full := max(width, titleFont.width(titleFont.elide(title, 900)), factFont.width(facts)) + 2*margin
	return s.finish(out, title, facts, full, y+margin)
}

// row draws a row, every second on a band, and gives its height.
func (s *sheet) row(r int, y, width float64) float64 {
	height := 1
	for _, l := range s.lines[r] {
		height = max(height, len(l))
	}
	h := float64(height*rowLine + 2*rowInset)
	if r%2 == 1 {
		s.rect("band", margin, y, width, h, 0)
	}
	x := float64(margin)
	for i, c := range s.columns {
		s.open(tooLong(s.lines[r][i], s.rows[r][i]))
		s.rect("cell", x, y, s.widths[i], h, 0)
		for k, l := range s.lines[r][i] {
			base := y + rowInset + float64(k)*rowLine + 12
			switch {
			case i == 0:
				s.chip(x+cellInset, base-12, l, s.networks[r])
			case c.right:
				s.textRight(s.class(r, i), detailFont, x+s.widths[i]-cellInset, base, l)
			default:
				s.text(s.class(r, i), detailFont, x+cellInset, base, l)
			}
		}
		s.shut()
		x += s.widths[i]
	}
	return h
}

func (s *sheet) class(row, column int) string {
	switch head := s.columns[column].head; {
	case head == notesHead || (head == stateHead || head == flagsHead) && s.tones[column](s.rows[row][column][0]) != good:
		if s.wrong[row] {
			return "wrong"
		}
		return "odd"
	case column == 1:
		return "name"
	}
	return "faint"
}

// tooLong is a cell's whole text where some of it was elided.
func tooLong(lines, items []string) string {
	shown, whole := 0, 0
	for _, l := range lines {
		shown += len(l)
	}
	for _, i := range commas(items) {
		whole += len(i)
	}
	if shown >= whole {
		return ""
	}
	return fmt.Sprint(commas(items))
}

// SVG draws the table of networks.
func (v Manager) SVG(w io.Writer) error {
	s := sheet{table: v.table()}
	guests := 0
	for i := range v.Networks {
		n := &v.Networks[i]
		guests += len(n.Guests)
		s.networks = append(s.networks, []int{n.Number})
		s.wrong = append(s.wrong, toneClass(n.allMarks()) == "wrong")
	}
	return s.draw(w, v.title(), v.when()+plural(len(v.Networks), "network")+", "+plural(guests, "guest NIC"))
}

// SVG draws the list of devices.
func (v Devices) SVG(w io.Writer) error {
	s := sheet{table: v.table()}
	for i := range v.Devices {
		s.networks = append(s.networks, v.Devices[i].Networks)
		s.wrong = append(s.wrong, toneClass(v.Devices[i].Marks) == "wrong")
	}
	return s.draw(w, v.title(), v.when()+plural(len(v.Devices), "device"))
}
