package network

import "slices"

// File is a file of a declaration.
type File struct {
	Name string // as errors call it
	Text []byte
}

// What a declaration's tables are called.
const (
	bondTable    = "bond"
	networkTable = "network"
)

// Parse reads a declaration from its files in their order. A bond or network of a later file replaces the one of its name, whole, and keeps its
// position in the order of declaration. Top-level tables that somebody else reads are others: they must be TOML, and are not looked at beyond
// that.
//
// All errors of all files come at once, each an [*Error], joined. Where there is one, the Spec has what is right, to be looked at, not to be
// planned from. What bonds and networks are to each other is for [Check] to judge.
func Parse(files []File, others ...string) (Spec, error) {
	var s Spec
	var errs []*Error
	for _, f := range files {
		r := readFile(f, others)
		s.Bonds = merge(r, s.Bonds, r.bonds, bondTable, bondKeys, func(b *Bond) *head { return &head{string(b.Name), &b.At, &b.Keys} })
		s.Networks = merge(r, s.Networks, r.networks, networkTable, networkKeys, func(n *Network) *head { return &head{n.Name, &n.At, &n.Keys} })
		r.finish()
		slices.SortStableFunc(r.errs, byPlace)
		errs = append(errs, r.errs...)
	}
	for i := range s.Bonds {
		s.Bonds[i].complete()
	}
	return s, joined(errs)
}

// head is what bonds and networks have alike.
type head struct {
	name string
	at   *Place
	keys *Places
}

// merge reads tables of a file over what the files before it declared.
func merge[T any](r *reader, into []T, tables []*table, kind string, keys []key[T], headOf func(*T) *head) []T {
	mine := map[string]Place{}
	for _, t := range tables {
		var one T
		places := fill(r, t, kind, keys, &one)
		h := headOf(&one)
		*h.at, *h.keys = t.at, places
		first, twice := mine[h.name]
		switch {
		case h.name == "":
			continue // of which fill has told
		case twice:
			r.fault(places["name"], "%s %s is declared already, in line %d. Only another file may replace it", kind, h.name, first.Line)
			continue
		}
		mine[h.name] = t.at
		if i := slices.IndexFunc(into, func(x T) bool { return headOf(&x).name == h.name }); i >= 0 {
			into[i] = one
		} else {
			into = append(into, one)
		}
	}
	return into
}

// fill reads a table by its keys, and gives the places of their values.
func fill[T any](r *reader, t *table, kind string, keys []key[T], into *T) Places {
	places := Places{}
	r.kind = kind
	for _, p := range t.pairs {
		i := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == p.key })
		if i < 0 {
			r.unknown(kind, p.key, p.at)
			continue
		}
		places[p.key] = p.value.at
		keys[i].set(&cell{r: r, key: kind + "." + p.key, want: keys[i].want, v: p.value}, into)
	}
	for _, k := range keys {
		if _, said := places[k.name]; k.needed && !said && !t.cut {
			r.fault(t.at, "%s.%s: it is missing. Want %s", kind, k.name, k.want)
		}
	}
	return places
}

// unknown tells of a key that its table does not have, with the nearest that it has.
func (r *reader) unknown(kind, key string, at Place) {
	mine, other, otherKind := keyNames(bondKeys), keyNames(networkKeys), networkTable
	if kind == networkTable {
		mine, other, otherKind = other, mine, bondTable
	}
	if slices.Contains(other, key) {
		r.fault(at, "unknown key %s.%s. It is one of [[%s]]", kind, Clip(key), otherKind)
		return
	}
	r.fault(at, "unknown key %s.%s. Did you mean %s.%s?", kind, Clip(key), kind, Nearest(key, mine))
}
