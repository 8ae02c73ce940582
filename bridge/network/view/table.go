package view

import (
	"bufio"
	"io"
	"slices"
	"strings"
)

// column is one of a table in text.
type column struct {
	head  string
	right bool // numbers
	bare  bool // on a continuation line it needs no heading
	leave int  // the order in which columns leave for continuation lines when the width is short; 0: stays
}

// Headings of columns whose words are coloured.
const (
	stateHead = "STATE"
	flagsHead = "FLAGS"
	notesHead = "NOTES"
)

// table is rows of cells; a cell is a list of items, none of which is broken over lines.
type table struct {
	columns []column
	rows    [][][]string
	tones   []func(item string) tone // by column; one that is nil: plain
}

// trimmed is the table without its columns of remarks where nothing is to be remarked.
func (t table) trimmed() table {
	out := table{rows: make([][][]string, len(t.rows))}
	for i, c := range t.columns {
		if c.bare && !slices.ContainsFunc(t.rows, func(row [][]string) bool { return len(row[i]) > 0 }) {
			continue
		}
		out.columns, out.tones = append(out.columns, c), append(out.tones, t.tones[i])
		for r, row := range t.rows {
			out.rows[r] = append(out.rows[r], row[i])
		}
	}
	return out
}

// indent is where continuation lines begin.
const indent = 4

// write lays a table out in a width.
func (t table) write(w io.Writer, o Options) error {
	out := bufio.NewWriter(w)
	kept, widths := t.fit(o.width())
	line := make([]string, len(kept))
	for i, c := range kept {
		line[i] = t.columns[c].align(t.columns[c].head, widths[i])
	}
	out.WriteString(o.paint(bold, strings.TrimRight(strings.Join(line, "  "), " ")) + "\n")
	for _, row := range t.rows {
		t.writeRow(out, o, row, kept, widths)
	}
	return out.Flush()
}

func (c column) align(s string, width int) string {
	if c.right {
		return padLeft(s, width)
	}
	return pad(s, width)
}

// fit decides which columns stay in the table, and how wide they are: as few as possible leave, then lists are wrapped as little as possible.
func (t table) fit(width int) (kept, widths []int) {
	last := 0
	for _, c := range t.columns {
		last = max(last, c.leave)
	}
	for gone := 0; ; gone++ {
		kept, widths = nil, nil
		slack := width + 2
		for i, c := range t.columns {
			if c.leave == 0 || c.leave > gone {
				kept, widths = append(kept, i), append(widths, t.natural(i, false))
				slack -= widths[len(widths)-1] + 2
			}
		}
		if slack < 0 && gone < last {
			continue
		}
		for i, c := range kept {
			if more := t.natural(c, true) - widths[i]; more <= slack {
				widths[i], slack = widths[i]+more, slack-more
			}
		}
		return kept, widths
	}
}

// widest is the greatest width of a column; it leaves room for any address.
const widest = 44

// natural is the width of a column: of its heading, and of its widest item or its longest list.
func (t table) natural(i int, lists bool) int {
	w := cells(t.columns[i].head)
	for _, row := range t.rows {
		items := commas(row[i])
		if lists {
			items = []string{strings.Join(items, " ")}
		}
		for _, item := range items {
			w = max(w, cells(item))
		}
	}
	return min(w, widest)
}

// writeRow writes a row: its first line, lines for further items of lists, then what left the table.
func (t table) writeRow(out *bufio.Writer, o Options, row [][]string, kept, widths []int) {
	lines := make([][]string, len(kept))
	height := 1
	for i, c := range kept {
		lines[i] = fill(commas(row[c]), widths[i])
		height = max(height, len(lines[i]))
	}
	for y := range height {
		var b strings.Builder
		for i, c := range kept {
			text := ""
			if y < len(lines[i]) {
				text = lines[i][y]
			}
			cell := t.columns[c].align(text, widths[i])
			if i < len(kept)-1 {
				cell += "  "
			} else if !t.columns[c].right {
				cell = text
			}
			b.WriteString(o.paint(t.tone(c, text), cell))
		}
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	var words []string
	for i, c := range t.columns {
		if !slices.Contains(kept, i) && len(row[i]) > 0 {
			if len(words) > 0 {
				words[len(words)-1] += ";"
			}
			if !c.bare {
				words = append(words, strings.ToLower(c.head))
			}
			words = append(words, commas(row[i])...)
		}
	}
	for _, l := range fill(words, o.width()-indent) {
		out.WriteString(strings.Repeat(" ", indent) + o.paint(dim, l) + "\n")
	}
}

func (t table) tone(c int, text string) tone {
	if t.tones[c] == nil {
		return plain
	}
	return t.tones[c](text)
}
