package view

import (
	"strings"
	"unicode"
)

// Advances of the printable ASCII characters in DejaVu Sans, thousandths of an em. Of the fonts that the pictures ask for it is the widest, so
// what fits by this table fits in Helvetica and Arial too.
var (
	regularAdvances = [95]float64{
		318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838,
		838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611,
		685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592,
		818, 592, 592, 525, 636, 337, 636, 838,
	}
	boldAdvances = [95]float64{
		348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696, 696, 696, 696, 696, 696, 696, 696, 400, 400, 838,
		838, 838, 580, 1000, 774, 762, 734, 830, 683, 683, 821, 837, 372, 372, 775, 637, 995, 837, 850, 733, 850, 770, 720, 682, 812, 774, 1103, 771, 724,
		725, 457, 365, 457, 838, 500, 500, 675, 716, 593, 716, 678, 435, 716, 712, 343, 343, 665, 343, 1042, 712, 687, 716, 716, 493, 595, 478, 712, 652,
		924, 645, 652, 582, 712, 365, 712, 838,
	}
)

// font is a size and weight of the one family that pictures use.
type font struct {
	size float64 // pixels
	bold bool
}

// width measures a text, rather too wide than too narrow: characters that the tables lack count as the widest of their kind.
func (f font) width(s string) float64 {
	sum := 0.0
	for _, r := range s {
		sum += f.advance(r)
	}
	return sum * f.size / 1000
}

func (f font) advance(r rune) float64 {
	switch {
	case r >= ' ' && r <= '~' && f.bold:
		return boldAdvances[r-' ']
	case r >= ' ' && r <= '~':
		return regularAdvances[r-' ']
	case unicode.Is(unicode.Mn, r):
		return 0
	case r == '·':
		return 380
	case r < 0x530:
		return 1150
	}
	return 1450
}

// elide shortens a text to a width, and says so by an ellipsis.
func (f font) elide(s string, width float64) string {
	if f.width(s) <= width {
		return s
	}
	room := width - f.width("…")
	for i, r := range s {
		if room -= f.advance(r) * f.size / 1000; room < 0 {
			return s[:i] + "…"
		}
	}
	return s
}

// elideName shortens a name to a width without what follows it: a guest's id and NIC tell it apart from others, however long its name is.
func (f font) elideName(name, rest string, width float64) string {
	if f.width(name+rest) <= width {
		return name + rest
	}
	return f.elide(f.elide(name, width-f.width(rest))+rest, width)
}

// wrap sets words into at most so many lines of a width; what is left over is elided.
func (f font) wrap(text string, width float64, most int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case f.width(line+" "+word) <= width || len(lines) == most-1:
			line += " " + word
		default:
			lines = append(lines, f.elide(line, width))
			line = word
		}
	}
	if line != "" {
		lines = append(lines, f.elide(line, width))
	}
	return lines
}

// flow sets items into lines of a width, with commas between them; an item that is too wide for a line is elided.
func (f font) flow(items []string, width float64) (lines []string) {
	line := ""
	for _, item := range commas(items) {
		switch {
		case line == "":
			line = item
		case f.width(line+" "+item) <= width:
			line += " " + item
		default:
			lines = append(lines, f.elide(line, width))
			line = item
		}
	}
	if line != "" {
		lines = append(lines, f.elide(line, width))
	}
	return lines
}
