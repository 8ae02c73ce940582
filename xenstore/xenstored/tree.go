package xenstored

import (
	"slices"
	"strings"
)

// node is a value, a directory, and who may do what with it, at once. What stands in a tree never changes: another node takes its place.
type node struct {
	value []byte
	perms []perm
	// children stand in the order of their creation. The array is shared with the node's earlier selves, which end before what is appended, so
	// that a child more costs no copy; only the latest self may be appended to.
	children []string
	gen      uint64 // of the last change; no node has 0
}

func (n *node) clone() *node {
	c := *n
	return &c
}

// sealed is a node that can be appended to beside another that is made of the same one.
func (n *node) sealed() *node {
	c := n.clone()
	c.children = slices.Clip(c.children)
	return c
}

func (n *node) without(name string) *node {
	c := n.clone()
	c.children = slices.DeleteFunc(slices.Clone(n.children), func(s string) bool { return s == name })
	return c
}

// size is what the quota counts (xen: tools/xenstored/core.c struct xs_tdb_record_hdr).
func (n *node) size() int {
	const header, perm = 24, 8
	size := header + perm*len(n.perms) + len(n.value)
	for _, name := range n.children {
		size += len(name) + 1
	}
	return size
}

// tree is what requests read and change: the store itself, or a transaction over it.
type tree interface {
	get(path string) (*node, error) // nil without an error: there is none; the caller must not change it
	put(path string, n *node)       // only after get
	del(path string)                // only after get
	// changed has an event fire, now or at the commit. Who might read the node before, by old, sees it too.
	changed(path string, exact bool, old []perm)
	room(d *domain, nodes int) bool // whether the domain may own so many more; a transaction asks at its commit
	spoil()                         // a quota stood against a change: a transaction can only fail now
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
