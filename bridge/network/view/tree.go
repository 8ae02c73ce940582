package view

import (
	"bufio"
	"cmp"
	"io"
	"slices"
	"strings"
)

// art is what a tree is drawn with.
type art struct{ fork, last, pass, line, loose, first, middle, end string }

var (
	boxes = art{"├─ ", "└─ ", "│  ", "─", "╌", "┐", "┤", "┘"}
	ascii = art{"|- ", "`- ", "|  ", "-", ".", "+", "+", "+"}
)

// leaf is a line of the tree.
type leaf struct {
	node        *Node
	lead, below string // the drawing before the name, and on the lines that its words take beside
	tail        string // the drawing after the name
	again       bool   // it stands above already
}

// tree makes the lines of the logical view.
type tree struct {
	art
	nodes map[string]*Node
	upon  map[string][]*Node // what stands on a node
	lines []leaf
	drawn map[string]bool
}

// Text writes who stands on whom as a tree, from the wire to the guest.
func (v Logical) Text(w io.Writer, o Options) error {
	t := tree{art: boxes, nodes: map[string]*Node{}, upon: map[string][]*Node{}, drawn: map[string]bool{}}
	if o.ASCII {
		t.art = ascii
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		t.nodes[n.Key] = n
		for _, s := range n.On {
			t.upon[s.Key] = append(t.upon[s.Key], n)
		}
	}
	for _, n := range t.roots(v.Nodes) {
		if n.Layer == LayerBond {
			t.bond(n)
		} else if !t.drawn[n.Key] {
			t.branch(n, "", "")
		}
	}
	return t.write(w, o)
}

// roots are the nodes that begin a tree: bonds, and what stands on nothing and is no port of a bond alone. Those of the first networks come first.
func (t *tree) roots(nodes []Node) (out []*Node) {
	for i := range nodes {
		n := &nodes[i]
		uses := t.upon[n.Key]
		inBond := len(uses) > 0 && !slices.ContainsFunc(uses, func(u *Node) bool { return u.Layer != LayerBond })
		if n.Layer == LayerBond || len(n.On) == 0 && n.Layer != LayerGuest && !inBond {
			out = append(out, n)
		}
	}
	first := func(n *Node) int {
		if len(n.Networks) == 0 {
			return 1 << 30
		}
		return n.Networks[0]
	}
	slices.SortStableFunc(out, func(a, b *Node) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(a.Layer.column(), b.Layer.column()))
	})
	return out
}

// bond draws a bond's ports, one a line and joined, then the bond and what stands on it.
func (t *tree) bond(b *Node) {
	width := 0
	for _, s := range b.On {
		width = max(width, cells(t.nodes[s.Key].Name))
	}
	lead := ""
	for i, s := range b.On {
		port := t.nodes[s.Key]
		line := t.line
		if s.Missing {
			line = t.loose
		}
		tail := " " + strings.Repeat(line, width-cells(port.Name)+1)
		corner := t.middle
		switch {
		case i == 0:
			corner = t.first
		case i == len(b.On)-1:
			corner = t.end
		}
		if len(b.On) == 1 {
			corner = t.line
		}
		below := strings.Repeat(" ", width+2)
		if i < len(b.On)-1 {
			below += strings.TrimRight(t.pass, " ")
		}
		t.lines = append(t.lines, leaf{node: port, tail: tail + corner, below: below, again: t.drawn[port.Key]})
		t.drawn[port.Key] = true
	}
	if len(b.On) > 0 {
		lead = strings.Repeat(" ", width+2)
	}
	t.branch(b, lead+t.lastIf(len(b.On) > 0), lead+strings.Repeat(" ", cells(t.lastIf(len(b.On) > 0))))
}

func (t *tree) lastIf(yes bool) string {
	if yes {
		return t.last
	}
	return ""
}

// branch draws a node and what stands on it.
func (t *tree) branch(n *Node, lead, below string) {
	again := t.drawn[n.Key]
	t.drawn[n.Key] = true
	var upon []*Node
	for _, u := range t.upon[n.Key] {
		if u.Layer != LayerGuest && u.Layer != LayerBond && !again {
			upon = append(upon, u)
		}
	}
	own := below
	if len(upon) > 0 {
		own += t.pass
	}
	t.lines = append(t.lines, leaf{node: n, lead: lead, below: own, again: again})
	for i, u := range upon {
		if i < len(upon)-1 {
			t.branch(u, below+t.fork, below+t.pass)
		} else {
			t.branch(u, below+t.last, below+"   ")
		}
	}
}

// write sets labels, tree and words side by side.
func (t *tree) write(w io.Writer, o Options) error {
	out := bufio.NewWriter(w)
	labels, tree := len("LABEL"), len("PORT TO GUEST")
	for _, l := range t.lines {
		for _, part := range commas(strings.FieldsFunc(l.node.Label, isComma)) {
			labels = max(labels, cells(part))
		}
		tree = max(tree, cells(l.lead+l.node.Name+l.tail))
	}
	out.WriteString(o.paint(bold, pad("LABEL", labels)+"  "+pad("PORT TO GUEST", tree)+"  WHAT IT IS") + "\n")
	for _, l := range t.lines {
		l.write(out, o, labels, tree)
	}
	return out.Flush()
}

// narrowest is the room beside the tree with which words still read well.
const narrowest = 24

// write writes a line, and as many more as its label and its words need. Where the words find no room beside the tree they stand below.
func (l leaf) write(out *bufio.Writer, o Options, labels, tree int) {
	words, room, narrow := l.words(), o.width()-labels-tree-4, false
	for _, w := range words {
		narrow = narrow || room < narrowest || isAddress(w) && cells(w) > room
	}
	label, text := fill(commas(strings.FieldsFunc(l.node.Label, isComma)), labels), fill(words, room)
	if narrow {
		text = append([]string{""}, fill(words, o.width()-indent)...)
	}
	for y := range max(1, len(label), len(text)) {
		mark, branch, word := "", l.below, ""
		if y < len(label) {
			mark = label[y]
		}
		if y < len(text) {
			word = text[y]
		}
		if y == 0 {
			branch = l.lead + l.node.Name + l.tail
		}
		line := o.paint(bold, pad(mark, labels)) + "  " + pad(branch, tree) + "  "
		if narrow && y > 0 {
			line = pad(mark, indent)
		}
		out.WriteString(strings.TrimRight(line+o.paint(l.tone(), word), " ") + "\n")
	}
}

func (l leaf) tone() tone {
	if len(l.node.Marks) > 0 {
		return toneOf(string(l.node.Marks[0]))
	}
	return plain
}

// words tell marks first, then whose it is, then the rest.
func (l leaf) words() []string {
	n := l.node
	if l.again {
		return []string{"(see above)"}
	}
	var marks []string
	for _, k := range n.Marks {
		marks = append(marks, string(k))
	}
	if len(n.Notes) > 0 {
		marks = append(marks, n.Notes...)
	}
	rest := n.words()
	if n.Layer == LayerNIC && n.Guest != "" {
		rest = append([]string{n.Eth + " of " + named(n.Guest, n.Domain)}, rest...)
	}
	return commas(slices.Concat(rest, marks))
}
