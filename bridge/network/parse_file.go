package network

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// reader takes a file apart into the tables of bonds and networks, each key and value with its place. The meaning of keys is not its affair.
type reader struct {
	file   File
	text   string // the file's, of which places have their lines
	others []string
	starts []int // offsets of the lines
	base   int   // offset of what the parser was given last
	parser unstable.Parser
	here   *table // that the keys which come belong to; nil: to somebody else's
	kind   string // what the keys are about that come: "bond" or "network"
	root   bool   // no table has begun

	bonds, networks []*table
	told            map[string]bool // unknown top-level keys
	errs            []*Error
}

// table is a [[bond]] or [[network]] as it is written.
type table struct {
	at    Place
	pairs []pair
	cut   bool // a fault hides what follows, so nothing can be missing
}

// pair is a key and its value.
type pair struct {
	key   string
	at    Place
	value value
}

// value is a value as it is written.
type value struct {
	kind  unstable.Kind
	text  string // of a string: what it means; else as written
	raw   string // as written
	at    Place
	items []value
	inner []pair // of an inline table
}

// header is a line that begins a table: where reading goes on after a fault.
var header = regexp.MustCompile(`(?m)^[ \t]*\[\[?[ \t]*[A-Za-z_-]`)

// readFile takes a file apart. After what is no TOML it goes on with the next table, so that one slip does not hide the others.
func readFile(f File, others []string) *reader {
	f.Text = slices.Clip(f.Text)
	r := &reader{file: f, text: string(f.Text), others: others, root: true, told: map[string]bool{}, starts: []int{0}}
	for i, b := range f.Text {
		if b == '\n' {
			r.starts = append(r.starts, i+1)
		}
	}
	for {
		r.parser.Reset(f.Text[r.base:])
		for r.parser.NextExpression() {
			r.expression(r.parser.Expression())
		}
		err := r.parser.Error()
		if err == nil {
			break
		}
		bad := r.broken(err)
		next := header.FindIndex(f.Text[bad:])
		if next == nil {
			break
		}
		r.base = bad + next[0]
	}
	return r
}

// broken records what is no TOML, and gives the offset after which it may be TOML again.
func (r *reader) broken(err error) int {
	data := r.parser.Data()
	offset := len(data)
	var e *unstable.ParserError
	if errors.As(err, &e) {
		offset = max(0, min(cap(data)-cap(e.Highlight), offset))
	}
	r.fault(r.place(offset), "%s", err)
	if r.here != nil {
		r.here.cut = true
	}
	offset += r.base
	if i := bytes.IndexByte(r.file.Text[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(r.file.Text)
}

// finish has go-toml's own decoder look at a file in which nothing else was wrong: it knows rules of TOML that a parser alone does not.
func (r *reader) finish() {
	if len(r.errs) > 0 {
		return
	}
	var all map[string]any
	err := toml.Unmarshal(r.file.Text, &all)
	if err == nil {
		return
	}
	line, col := 1, 1
	if bad := (*toml.DecodeError)(nil); errors.As(err, &bad) {
		line, col = bad.Position()
	}
	r.fault(r.placeAt(line, col), "%s", strings.TrimPrefix(err.Error(), "toml: "))
}

func (r *reader) fault(at Place, format string, args ...any) {
	r.errs = append(r.errs, faultf(at, format, args...))
}

// place is that of an offset in what the parser has.
func (r *reader) place(offset int) Place {
	offset += r.base
	line := sort.SearchInts(r.starts, offset+1)
	return r.placeAt(line, offset-r.starts[line-1]+1)
}

func (r *reader) placeAt(line, col int) Place {
	line = max(1, min(line, len(r.starts)))
	text := r.text[r.starts[line-1]:]
	if line < len(r.starts) {
		text = r.text[r.starts[line-1] : r.starts[line]-1]
	}
	return Place{File: r.file.Name, Line: line, Col: col, Text: strings.TrimSuffix(text, "\r")}
}

// expression takes a line that begins a table, or a key with its value.
func (r *reader) expression(n *unstable.Node) {
	names, places := r.keys(n.Key())
	switch {
	case n.Kind == unstable.KeyValue && r.root:
		if r.known(names, places) {
			r.kind = names[0]
			r.listed(names[0], places[0], r.value(n))
		}
	case n.Kind == unstable.KeyValue:
		if r.here != nil {
			r.here.pairs = r.pair(r.here.pairs, names, places, r.value(n))
		}
	default:
		r.root, r.here = false, nil
		if r.known(names, places) {
			r.begin(n.Kind, names, places)
		}
	}
}

func (r *reader) keys(it unstable.Iterator) (names []string, places []Place) {
	for it.Next() {
		names = append(names, string(it.Node().Data))
		places = append(places, r.place(int(it.Node().Raw.Offset)))
	}
	return names, places
}

// known says that a top-level key is a bond's or a network's, and tells of one that is nobody's.
func (r *reader) known(names []string, places []Place) bool {
	top := names[0]
	switch {
	case top == bondTable || top == networkTable:
		return true
	case !slices.Contains(r.others, top) && !r.told[top]:
		r.told[top] = true
		r.fault(places[0], "unknown key %s. Did you mean %s?", Clip(top), Nearest(top, append([]string{bondTable, networkTable}, r.others...)))
	}
	return false
}

// begin takes the line that begins a table.
func (r *reader) begin(kind unstable.Kind, names []string, places []Place) {
	if len(names) > 1 {
		r.unknown(names[0], strings.Join(names[1:], "."), places[1])
		return
	}
	if kind == unstable.Table {
		r.fault(places[0], "%s: there may be several, so each begins with two brackets: [[%s]]", names[0], names[0])
	}
	r.here = r.add(names[0], places[0])
}

func (r *reader) add(kind string, at Place) *table {
	t := &table{at: at}
	r.kind = kind
	if kind == bondTable {
		r.bonds = append(r.bonds, t)
	} else {
		r.networks = append(r.networks, t)
	}
	return t
}

// listed takes all tables of a kind as one value: network = [{name = "a"}, {name = "b"}].
func (r *reader) listed(kind string, at Place, v value) {
	if v.kind != unstable.Array || slices.ContainsFunc(v.items, func(i value) bool { return i.kind != unstable.InlineTable }) {
		r.fault(at, "%s: want tables, each begun with [[%s]]", kind, kind)
		return
	}
	for _, i := range v.items {
		r.add(kind, i.at).pairs = i.inner
	}
}

// pair appends a key and its value to those of a table, unless the key cannot be.
func (r *reader) pair(to []pair, names []string, places []Place, v value) []pair {
	key := names[0]
	if i := slices.IndexFunc(to, func(p pair) bool { return p.key == key }); i >= 0 {
		r.fault(places[0], "%s.%s: it is there already, in line %d", r.kind, Clip(key), to[i].at.Line)
		return to
	}
	if len(names) > 1 {
		r.unknown(r.kind, strings.Join(names, "."), places[0])
		return to
	}
	return append(to, pair{key: key, at: places[0], value: v})
}

// value reads the value of a key.
func (r *reader) value(n *unstable.Node) value {
	end := 0
	for it := n.Key(); it.Next(); {
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	text := r.parser.Data()
	for end < len(text) && strings.IndexByte(" \t=", text[end]) >= 0 {
		end++
	}
	return r.read(n.Value(), r.place(end), string(text[end:n.Raw.Offset+n.Raw.Length]))
}

// read takes a value apart. Lists have no place of their own in go-toml's tree: they get the one given.
func (r *reader) read(n *unstable.Node, at Place, raw string) value {
	v := value{kind: n.Kind, text: string(n.Data), raw: raw, at: at}
	if n.Raw.Length > 0 {
		v.at = r.place(int(n.Raw.Offset))
	}
	switch n.Kind {
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, r.read(it.Node(), at, string(r.parser.Raw(it.Node().Raw))))
		}
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			names, places := r.keys(it.Node().Key())
			v.inner = r.pair(v.inner, names, places, r.value(it.Node()))
		}
	}
	return v
}
