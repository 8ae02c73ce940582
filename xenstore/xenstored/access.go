package xenstored

import (
	"sort"
	"strconv"

	"vifplug/xenstore/wire"
)

// quota bounds what one unprivileged domain may take (xen: tools/xenstored/domain.c, core.c; Xen 4.17's defaults).
type quota struct{ nodes, nodeSize, watches, transactions, perms, path int }

var defaultQuota = quota{nodes: 1000, nodeSize: 2048, watches: 128, transactions: 10, perms: 5, path: 2048}

// caller is who asks: a domain, dom0 being privileged.
type caller struct {
	id     wire.DomID
	target *wire.DomID // a domain for which it is the device model
}

func (c caller) privileged() bool { return c.id == 0 }

const (
	mayRead  = 1
	mayWrite = 2
)

// may says whether the permissions allow what. The owner may do everything; the first entry's letter is for those who are not listed.
func (c caller) may(perms []wire.Perm, what int) bool {
	if c.privileged() || c.owns(perms) {
		return true
	}
	letter := perms[0].Letter
	for _, p := range perms[1:] {
		if p.DomID == c.id || c.target != nil && p.DomID == *c.target {
			letter = p.Letter
			break
		}
	}
	switch letter {
	case 'r':
		return what == mayRead
	case 'w':
		return what == mayWrite
	case 'b':
		return true
	}
	return false
}

func (c caller) owns(perms []wire.Perm) bool {
	return c.privileged() || perms[0].DomID == c.id || c.target != nil && perms[0].DomID == *c.target
}

// look finds a node that the caller may use so. Whoever may not read the parent is not told whether the node exists.
func (c caller) look(t tree, path string, what int) (*node, error) {
	n := t.get(path)
	if n != nil && c.may(n.perms, what) {
		return n, nil
	}
	if n != nil {
		return nil, wire.EACCES
	}
	if c.privileged() {
		return nil, wire.ENOENT
	}
	for dir := path; dir != "/"; {
		dir, _ = parentOf(dir)
		if p := t.get(dir); p != nil {
			if c.may(p.perms, what) {
				return nil, wire.ENOENT
			}
			return nil, wire.EACCES
		}
	}
	return nil, wire.ENOENT
}

// write sets a node's value and creates it with its missing parents where need be; those inherit the permissions above them, and an
// unprivileged creator owns what it made.
func (s *store) write(c caller, t tree, path string, value []byte) error {
	n, err := c.look(t, path, mayWrite)
	if err == nil {
		if err := s.fits(c, len(value), n); err != nil {
			return err
		}
		n = n.clone()
		n.value = value
		t.put(path, n)
		t.changed(path, false)
		return nil
	}
	if err != wire.ENOENT { //nolint:errorlint // look returns the bare name
		return err
	}
	if err := s.create(c, t, path, value); err != nil {
		return err
	}
	t.changed(path, false)
	return nil
}

func (s *store) fits(c caller, size int, n *node) error {
	if !c.privileged() && size+permsSize(n) > s.quota.nodeSize {
		return wire.ENOSPC
	}
	return nil
}

func permsSize(n *node) int {
	if n == nil {
		return 0
	}
	return 4 * len(n.perms)
}

func (s *store) create(c caller, t tree, path string, value []byte) error {
	var missing []string
	dir := path
	for t.get(dir) == nil {
		missing = append(missing, dir)
		dir, _ = parentOf(dir)
	}
	parent := t.get(dir)
	if !c.may(parent.perms, mayWrite) {
		return wire.EACCES
	}
	if !c.privileged() && s.ownedBy(c.id, t)+len(missing) > s.quota.nodes || !c.privileged() && len(value) > s.quota.nodeSize {
		return wire.ENOSPC
	}
	perms := append([]wire.Perm(nil), parent.perms...)
	if !c.privileged() {
		perms[0].DomID = c.id
	}
	for i := len(missing) - 1; i >= 0; i-- {
		p := missing[i]
		up, name := parentOf(p)
		link(t, up, name)
		n := &node{perms: perms}
		if i == 0 {
			n.value = value
		}
		t.put(p, n)
	}
	return nil
}

// ownedBy counts a domain's nodes, those of its transaction included.
func (s *store) ownedBy(id wire.DomID, t tree) int {
	n := s.live.owned[id]
	if tx, ok := t.(*transaction); ok {
		for path, w := range tx.writes {
			if w != nil && w.perms[0].DomID == id && s.live.get(path) == nil {
				n++
			}
		}
	}
	return n
}

// link adds a child to its parent's list.
func link(t tree, dir, name string) {
	p := t.get(dir)
	i, there := p.child(name)
	if there {
		return
	}
	p = p.clone()
	p.children = append(p.children, "")
	copy(p.children[i+1:], p.children[i:])
	p.children[i] = name
	t.put(dir, p)
}

func unlink(t tree, dir, name string) {
	p := t.get(dir)
	if p == nil {
		return
	}
	if i, there := p.child(name); there {
		p = p.clone()
		p.children = append(p.children[:i], p.children[i+1:]...)
		t.put(dir, p)
	}
}

func (s *store) mkdir(c caller, t tree, path string) error {
	switch _, err := c.look(t, path, mayWrite); err {
	case nil:
		return nil // no effect and no event
	case wire.ENOENT:
	default:
		return err
	}
	if err := s.create(c, t, path, nil); err != nil {
		return err
	}
	t.changed(path, false)
	return nil
}

// rm removes a node and all below it. Watches on each node below see it by their own path.
func (s *store) rm(c caller, t tree, path string) error {
	if path == "/" {
		return wire.EINVAL
	}
	dir, name := parentOf(path)
	_, err := c.look(t, path, mayWrite)
	if err == wire.ENOENT { //nolint:errorlint // look returns the bare name
		if t.get(dir) != nil {
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	unlink(t, dir, name)
	prune(t, path, true)
	t.changed(path, false)
	return nil
}

// prune deletes a subtree.
func prune(t tree, path string, tell bool) {
	n := t.get(path)
	if n == nil {
		return
	}
	for _, name := range n.children {
		p := below(path, name)
		prune(t, p, tell)
		if tell {
			t.changed(p, true)
		}
	}
	t.del(path)
}

func (s *store) setPerms(c caller, t tree, path string, perms []wire.Perm) error {
	n, err := c.look(t, path, mayWrite)
	switch {
	case err != nil:
		return err
	case !c.owns(n.perms):
		return wire.EACCES
	case !c.privileged() && len(perms) > s.quota.perms:
		return wire.ENOSPC
	case !c.privileged() && perms[0].DomID != n.perms[0].DomID:
		return wire.EPERM // only the privileged give nodes away
	}
	n = n.clone()
	n.perms = perms
	t.put(path, n)
	t.changed(path, false)
	return nil
}

// bury removes what a dead domain owned and takes it out of every list, so that the next domain with its id inherits nothing
// (xen: tools/xenstored/domain.c domain_tree_remove).
func (s *store) bury(id wire.DomID) {
	var paths []string
	for p := range s.live.nodes {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		n := s.live.get(p)
		if n == nil {
			continue
		}
		if n.perms[0].DomID == id && p != "/" {
			dir, name := parentOf(p)
			unlink(s.live, dir, name)
			prune(s.live, p, false)
			continue
		}
		kept := n.perms[:1:1]
		for _, e := range n.perms[1:] {
			if e.DomID != id {
				kept = append(kept, e)
			}
		}
		if len(kept) != len(n.perms) {
			n = n.clone()
			n.perms = kept
			s.live.put(p, n)
		}
	}
}

func domainPath(id wire.DomID) string { return "/local/domain/" + strconv.Itoa(int(id)) }
