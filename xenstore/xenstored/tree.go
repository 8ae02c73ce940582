package xenstored

import (
	"sort"
	"strings"

	"vifplug/xenstore/wire"
)

// node is a value, a directory, and who may do what with it, at once. A node that stands in the tree is never changed in place where a
// transaction might have read it: a change puts a new one there.
type node struct {
	value    []byte
	perms    []wire.Perm
	children []string // sorted
	gen      uint64   // of the last change; 0 is no node's
}

func (n *node) clone() *node {
	c := *n
	c.children = append([]string(nil), n.children...)
	return &c
}

func (n *node) child(name string) (int, bool) {
	i := sort.SearchStrings(n.children, name)
	return i, i < len(n.children) && n.children[i] == name
}

// tree is what requests read and change: the store itself, or a transaction over it.
type tree interface {
	get(path string) *node // nil: there is none; the caller must not change it
	put(path string, n *node)
	del(path string)
	changed(path string, exact bool) // an event to fire, now or at the commit
}

// parentOf splits the last element off an absolute path.
func parentOf(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i == 0 {
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

// below joins a directory and a name.
func below(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// within says whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// live is the store itself.
type live struct {
	nodes map[string]*node
	gen   uint64
	owned map[wire.DomID]int // nodes by owner, for the quota
	fire  func(path string, exact bool)
}

func newLive(fire func(string, bool)) *live {
	l := &live{nodes: map[string]*node{}, owned: map[wire.DomID]int{}, fire: fire}
	for _, path := range []string{"/", "/tool", "/tool/xenstored"} {
		l.nodes[path] = &node{perms: []wire.Perm{{Letter: 'n'}}, gen: 1}
	}
	l.nodes["/"].children, l.nodes["/tool"].children = []string{"tool"}, []string{"xenstored"}
	l.gen, l.owned[0] = 1, 3
	return l
}

func (l *live) get(path string) *node { return l.nodes[path] }

func (l *live) put(path string, n *node) {
	if old := l.nodes[path]; old != nil {
		l.owned[old.perms[0].DomID]--
	}
	l.gen++
	n.gen = l.gen
	l.owned[n.perms[0].DomID]++
	l.nodes[path] = n
}

func (l *live) del(path string) {
	if old := l.nodes[path]; old != nil {
		l.owned[old.perms[0].DomID]--
		delete(l.nodes, path)
	}
}

func (l *live) changed(path string, exact bool) { l.fire(path, exact) }

// transaction is an overlay over the store. What it has read must not have changed until it commits; what it only writes overwrites
// (xen: tools/xenstored/transaction.c).
type transaction struct {
	base   *live
	reads  map[string]uint64 // generation at the first access, 0: there was none
	writes map[string]*node  // nil: deleted
	events []change
	seen   map[change]bool
}

type change struct {
	path  string
	exact bool
}

func newTransaction(base *live) *transaction {
	return &transaction{base: base, reads: map[string]uint64{}, writes: map[string]*node{}, seen: map[change]bool{}}
}

func (t *transaction) get(path string) *node {
	if n, ok := t.writes[path]; ok {
		return n
	}
	n := t.base.get(path)
	if _, ok := t.reads[path]; !ok {
		t.reads[path] = 0
		if n != nil {
			t.reads[path] = n.gen
		}
	}
	return n
}

func (t *transaction) put(path string, n *node) { t.writes[path] = n }

func (t *transaction) del(path string) { t.writes[path] = nil }

func (t *transaction) changed(path string, exact bool) {
	c := change{path, exact}
	if !t.seen[c] {
		t.seen[c] = true
		t.events = append(t.events, c)
	}
}

// commit makes the changes, or says EAGAIN when something that was read has changed meanwhile.
func (t *transaction) commit() error {
	for path, gen := range t.reads {
		now := uint64(0)
		if n := t.base.get(path); n != nil {
			now = n.gen
		}
		if now != gen {
			return wire.EAGAIN
		}
	}
	for path, n := range t.writes {
		if n == nil {
			t.base.del(path)
		} else {
			t.base.put(path, n)
		}
	}
	for _, e := range t.events {
		t.base.changed(e.path, e.exact)
	}
	return nil
}
