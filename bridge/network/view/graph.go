package view

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// graph is a picture as DOT and Mermaid draw one: boxes with lines of words, and arrows.
type graph struct {
	title string
	boxes []box
	edges []edge
}

type box struct {
	key   string
	group string   // boxes of a group are drawn together; "" for none
	lines []string // the first is its name
	marks []Mark
}

type edge struct {
	from, to string
	words    string
	loose    bool // it should be, and is not
}

func (v Logical) graph() graph {
	g := graph{title: v.title()}
	nodes := map[string]*Node{}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		nodes[n.Key] = n
		lines := []string{n.title()}
		if words := n.words(); len(words) > 0 {
			lines = append(lines, strings.Join(words, ", "))
		}
		g.boxes = append(g.boxes, box{n.Key, layers[n.Layer.column()].heading, append(lines, remarks(n.Marks, n.Notes)...), n.Marks})
		for _, s := range n.On {
			e := edge{from: s.Key, to: n.Key, loose: s.Missing}
			if n.Layer == LayerGuest {
				e.words = nodes[s.Key].Eth
			}
			g.edges = append(g.edges, e)
		}
	}
	return g
}

// title is a node's label and name.
func (n *Node) title() string {
	name := n.Name
	if n.Layer == LayerGuest {
		name = named(n.Name, n.Domain)
	}
	return strings.TrimLeft(n.Label+" "+name, " ")
}

func remarks(marks []Mark, notes []string) (out []string) {
	words := make([]string, 0, len(marks))
	for _, k := range marks {
		words = append(words, string(k))
	}
	if len(words) > 0 {
		out = append(out, strings.Join(words, ", "))
	}
	return append(out, notes...)
}

// graph of the manager's view: what networks are built on, the networks, their guests.
func (v Manager) graph() graph {
	g := graph{title: v.title()}
	seen := map[string]bool{}
	for i := range v.Networks {
		n := &v.Networks[i]
		key := "network " + n.Label
		lines := []string{n.Label + " " + n.Name}
		if n.ID != "" && n.ID != n.Name {
			lines = append(lines, "id "+n.ID)
		}
		for _, s := range [][]string{n.Roles, n.Addresses} {
			if len(s) > 0 {
				lines = append(lines, strings.Join(s, ", "))
			}
		}
		lines = append(lines, strings.Join(n.status(), ", "))
		g.boxes = append(g.boxes, box{key, "Networks", append(lines, n.Notes...), n.allMarks()})
		if n.On != "" {
			if !seen[n.On] {
				seen[n.On] = true
				g.boxes = append(g.boxes, box{"on " + n.On, "Built on", []string{n.On}, nil})
			}
			words := "untagged"
			if n.VLAN > 0 {
				words = "VLAN " + strconv.Itoa(n.VLAN)
			}
			g.edges = append(g.edges, edge{from: "on " + n.On, to: key, words: words})
		}
		g.guests(n, key, seen)
	}
	return g
}

// allMarks are a network's marks with its state.
func (n *Network) allMarks() []Mark {
	switch n.State {
	case StateMissing:
		return append([]Mark{Missing}, n.Marks...)
	case StateDown:
		return append([]Mark{Down}, n.Marks...)
	}
	return n.Marks
}

func (g *graph) guests(n *Network, key string, seen map[string]bool) {
	for _, c := range n.Guests {
		guest := "domain " + strconv.Itoa(c.Domain)
		if !seen[guest] {
			seen[guest] = true
			g.boxes = append(g.boxes, box{guest, "Guests", []string{named(c.Guest, c.Domain)}, nil})
		}
		words := c.Label + " " + c.Eth
		if c.Tap {
			words += " tap"
		}
		for _, k := range c.Marks {
			words += " " + string(k)
		}
		g.edges = append(g.edges, edge{from: key, to: guest, words: words, loose: len(c.Marks) > 0})
	}
}

// graph of the devices view: every device, what it is a port of, and what it stands on.
func (v Devices) graph() graph {
	g := graph{title: v.title()}
	known := map[string]bool{}
	for i := range v.Devices {
		d := &v.Devices[i]
		known[d.Name] = true
		lines := []string{strings.TrimLeft(d.Label+" "+d.Name, " ")}
		if k := d.kind(); k != "-" {
			lines[0] += " (" + k + ")"
		}
		if d.MAC != "" {
			lines = append(lines, d.MAC)
		}
		if len(d.Addresses) > 0 {
			lines = append(lines, strings.Join(d.Addresses, ", "))
		}
		if d.MTU > 0 {
			lines = append(lines, "MTU "+strconv.Itoa(d.MTU))
		}
		if s := d.status(); len(s) > 0 {
			lines = append(lines, strings.Join(s, ", "))
		}
		g.boxes = append(g.boxes, box{d.Name, "", append(lines, d.Notes...), d.Marks})
	}
	for i := range v.Devices {
		d := &v.Devices[i]
		if known[d.Master] {
			g.edges = append(g.edges, edge{from: d.Name, to: d.Master, words: "port of"})
		}
		if known[d.On] {
			g.edges = append(g.edges, edge{from: d.Name, to: d.On, words: "VLAN on"})
		}
	}
	return g
}

// title says what a view is about.
func (h Head) title() string {
	what, rest := "Networks", ""
	switch h.View {
	case "logical":
		rest = ", from port to guest"
	case "devices":
		what = "Network devices"
	}
	if h.Host != "" {
		what += " of " + h.Host
	}
	return what + rest
}

// groups are the boxes by group, in the order of their first appearance.
func (g *graph) groups() (names []string, boxes map[string][]int) {
	boxes = map[string][]int{}
	for i, b := range g.boxes {
		if _, ok := boxes[b.group]; !ok {
			names = append(names, b.group)
		}
		boxes[b.group] = append(boxes[b.group], i)
	}
	return names, boxes
}

// ids number the boxes: nothing that a guest chose becomes a name in the language of the picture.
func (g *graph) ids() map[string]string {
	ids := map[string]string{}
	for i, b := range g.boxes {
		ids[b.key] = "n" + strconv.Itoa(i)
	}
	return ids
}

// quoteDot writes a text as a quoted string of DOT; of the entities that Graphviz reads in labels none is left.
func quoteDot(lines ...string) string {
	r := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;")
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = r.Replace(clean(l))
	}
	return `"` + strings.Join(out, `\n`) + `"`
}

func (g graph) dot(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "digraph networks {\n  graph [rankdir=LR, label=%s, labelloc=t, fontname=\"Helvetica\"];\n", quoteDot(g.title))
	out.WriteString("  node [shape=box, style=rounded, fontname=\"Helvetica\", fontsize=10];\n  edge [fontname=\"Helvetica\", fontsize=9, arrowsize=0.6];\n")
	ids := g.ids()
	names, boxes := g.groups()
	for i, name := range names {
		inset := "  "
		if name != "" {
			fmt.Fprintf(out, "  subgraph group%d {\n    rank=same;\n", i)
			inset = "    "
		}
		for _, b := range boxes[name] {
			fmt.Fprintf(out, "%s%s [label=%s%s];\n", inset, ids[g.boxes[b].key], quoteDot(g.boxes[b].lines...), dotStyle(g.boxes[b].marks))
		}
		if name != "" {
			out.WriteString("  }\n")
		}
	}
	for _, e := range g.edges {
		style := ""
		if e.loose {
			style = ", style=dashed"
		}
		fmt.Fprintf(out, "  %s -> %s [label=%s%s];\n", ids[e.from], ids[e.to], quoteDot(e.words), style)
	}
	out.WriteString("}\n")
	return out.Flush()
}

// dotStyle shows marks beside their words: broken lines for what is not there or not ours, red for what is wrong.
func dotStyle(marks []Mark) string {
	s := ""
	for _, k := range marks {
		switch k {
		case Missing, Foreign:
			s = `, style="rounded,dashed"`
		}
	}
	if len(marks) > 0 && marks[0] != Foreign {
		s += `, color="#b3261e"`
	}
	return s
}

// quoteMermaid writes a text for a quoted label: every character that Mermaid, Markdown or HTML could read becomes its number.
func quoteMermaid(lines ...string) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteString("<br/>")
		}
		text := clean(l)
		if rest := strings.TrimLeft(text, "0123456789"); len(rest) > 1 && rest[1] == ' ' && strings.ContainsRune(".-)", rune(rest[0])) { // it would begin a list
			b.WriteString(text[:len(text)-len(rest)] + "#" + strconv.Itoa(int(rest[0])) + ";")
			text = rest[1:]
		}
		for _, r := range text {
			if r < 0x80 && !isPlain(r) {
				b.WriteString("#" + strconv.Itoa(int(r)) + ";")
			} else {
				b.WriteRune(r)
			}
		}
	}
	return `"` + b.String() + `"`
}

func isPlain(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(" .,:/-()", r)
}

func (g graph) mermaid(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "---\ntitle: %s\n---\nflowchart LR\n", quoteMermaid(g.title))
	ids := g.ids()
	names, boxes := g.groups()
	for i, name := range names {
		if name != "" {
			fmt.Fprintf(out, "  subgraph group%d[%s]\n", i, quoteMermaid(name))
		}
		for _, b := range boxes[name] {
			fmt.Fprintf(out, "    %s[%s]%s\n", ids[g.boxes[b].key], quoteMermaid(g.boxes[b].lines...), mermaidClass(g.boxes[b].marks))
		}
		if name != "" {
			out.WriteString("  end\n")
		}
	}
	for _, e := range g.edges {
		arrow := "-->"
		if e.loose {
			arrow = "-.->"
		}
		if e.words != "" {
			arrow += "|" + quoteMermaid(e.words) + "|"
		}
		fmt.Fprintf(out, "  %s %s %s\n", ids[e.from], arrow, ids[e.to])
	}
	out.WriteString("  classDef wrong stroke:#b3261e,stroke-width:2px\n  classDef foreign stroke-dasharray:4 3\n")
	return out.Flush()
}

func mermaidClass(marks []Mark) string {
	switch {
	case len(marks) == 0:
		return ""
	case marks[0] == Foreign:
		return ":::foreign"
	}
	return ":::wrong"
}

// Dot writes the networks between what they are built on and their guests, for Graphviz.
func (v Manager) Dot(w io.Writer) error { return v.graph().dot(w) }

// Dot writes who stands on whom, for Graphviz.
func (v Logical) Dot(w io.Writer) error { return v.graph().dot(w) }

// Dot writes the devices with their masters, for Graphviz.
func (v Devices) Dot(w io.Writer) error { return v.graph().dot(w) }

// Mermaid writes the networks between what they are built on and their guests.
func (v Manager) Mermaid(w io.Writer) error { return v.graph().mermaid(w) }

// Mermaid writes who stands on whom.
func (v Logical) Mermaid(w io.Writer) error { return v.graph().mermaid(w) }

// Mermaid writes the devices with their masters.
func (v Devices) Mermaid(w io.Writer) error { return v.graph().mermaid(w) }
