package view

import (
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"unicode"
)

// Options say how text is laid out.
type Options struct {
	Width  int  // columns of the terminal; 0: 80
	Colour bool // ANSI colours
	ASCII  bool // no line-drawing characters: for a terminal that is not UTF-8
}

func (o Options) width() int {
	if o.Width <= 0 {
		return 80
	}
	return max(o.Width, 20)
}

// clean makes a text fit to be shown anywhere: what a terminal, XML or a reader of mixed directions could take for an instruction becomes U+FFFD.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '\uFDFD' { // the latter is as wide as a word
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// cells is how many columns of a terminal a text takes.
func cells(s string) (n int) {
	for _, r := range s {
		n += runeCells(r)
	}
	return n
}

// wide are the characters that take two columns (Unicode's East Asian Width W and F, in blocks).
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1},
		{0x2e80, 0xa4cf, 1},
		{0xac00, 0xd7a3, 1},
		{0xf900, 0xfaff, 1},
		{0xfe30, 0xfe6f, 1},
		{0xff00, 0xff60, 1},
		{0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{{0x1f300, 0x1faff, 1}, {0x20000, 0x3fffd, 1}},
}

func runeCells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-cells(s))) }

func padLeft(s string, width int) string { return strings.Repeat(" ", max(0, width-cells(s))) + s }

// chop breaks a text into pieces that fit: of use only where one word is wider than the terminal.
func chop(s string, width int) (out []string) {
	start, n := 0, 0
	for i, r := range s {
		if w := runeCells(r); n+w > width && n > 0 {
			out = append(out, s[start:i])
			start, n = i, 0
		}
		n += runeCells(r)
	}
	return append(out, s[start:])
}

// pieces are a word's parts that fit, parted at its spaces where it has some. An address is never cut, on however narrow a terminal.
func pieces(word string, width int) (out []string) {
	if cells(word) <= width {
		return []string{word}
	}
	for _, w := range strings.Fields(word) {
		if isAddress(w) {
			out = append(out, w)
		} else {
			out = append(out, chop(w, width)...)
		}
	}
	return out
}

func isAddress(word string) bool {
	_, err := netip.ParsePrefix(strings.TrimRight(word, ",;"))
	return err == nil
}

// fill sets words into lines.
func fill(words []string, width int) (lines []string) {
	line := ""
	for _, word := range words {
		for _, w := range pieces(word, width) {
			switch {
			case line == "":
				line = w
			case cells(line)+1+cells(w) <= width:
				line += " " + w
			default:
				lines = append(lines, line)
				line = w
			}
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// commas joins items so that fill keeps each whole: "a," "b".
func commas(items []string) []string {
	out := make([]string, len(items))
	for i, s := range items {
		if out[i] = s; i < len(items)-1 {
			out[i] += ","
		}
	}
	return out
}

// tone is a colour of text, an ANSI sequence.
type tone string

const (
	plain tone = ""
	dim   tone = "\x1b[2m"
	bold  tone = "\x1b[1m"
	good  tone = "\x1b[32m"
	bad   tone = "\x1b[31m"
	odd   tone = "\x1b[33m"
)

func (o Options) paint(t tone, s string) string {
	if !o.Colour || t == plain || strings.TrimSpace(s) == "" {
		return s
	}
	return string(t) + s + "\x1b[0m"
}

// toneOf is the colour of a state or of marks.
func toneOf(word string) tone {
	switch {
	case strings.HasPrefix(word, "up"):
		return good
	case strings.Contains(word, "missing") || strings.Contains(word, "failed"):
		return bad
	}
	return odd
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// JSON writes the view as its struct.
func (v Manager) JSON(w io.Writer) error { return writeJSON(w, v) }

// JSON writes the view as its struct.
func (v Logical) JSON(w io.Writer) error { return writeJSON(w, v) }

// JSON writes the view as its struct.
func (v Devices) JSON(w io.Writer) error { return writeJSON(w, v) }
