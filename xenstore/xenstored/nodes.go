package xenstored

import (
	"slices"

	"vifplug/xenstore/wire"
)

// look finds a node that the domain may use so. Whoever may not use what is above a missing node is not told that it is missing.
func (d *domain) look(t tree, path string, what string) (*node, error) {
	n, err := t.get(path)
	if err != nil || n != nil && d.may(n.perms, what) {
		return n, err
	}
	refusal := wire.ENOENT
	if n != nil {
		refusal = wire.EACCES
	}
	dir, up, err := nearest(t, path)
	if err != nil {
		return nil, err
	}
	if dir != path && !d.may(up.perms, what) {
		refusal = wire.EACCES
	}
	return nil, refusal
}

// nearest finds the node above a path that is there, or the root.
func nearest(t tree, path string) (dir string, n *node, err error) {
	for n == nil && err == nil {
		path, _ = parentOf(path)
		n, err = t.get(path)
	}
	return path, n, err
}

// write sets a node's value, and makes the node with its missing parents where need be.
func (s *store) write(d *domain, t tree, path string, value []byte) error {
	n, err := d.look(t, path, mayWrite)
	switch err {
	case nil:
		n = n.clone()
		n.value = value
		err = s.save(d, t, path, n)
	case wire.ENOENT:
		err = s.create(d, t, path, value)
	}
	if err != nil {
		return err
	}
	t.changed(path, false, nil)
	return nil
}

// mkdir makes a node that is not there.
func (s *store) mkdir(d *domain, t tree, path string) error {
	_, err := d.look(t, path, mayWrite)
	if err != wire.ENOENT { //nolint:errorlint // look returns the bare name
		return err
	}
	if err := s.create(d, t, path, nil); err != nil {
		return err
	}
	t.changed(path, false, nil)
	return nil
}

// save puts a node that is within the quota.
func (s *store) save(d *domain, t tree, path string, n *node) error {
	if !s.fits(d, n) {
		t.spoil()
		return wire.ENOSPC
	}
	t.put(path, n)
	return nil
}

func (s *store) fits(d *domain, n *node) bool { return d.privileged() || n.size() < s.quota.nodeSize }

// create makes a node and its missing parents, all or none. They have the permissions of the one above them, and an unprivileged creator owns
// what it made.
func (s *store) create(d *domain, t tree, path string, value []byte) error {
	dir, up, err := nearest(t, path)
	if err != nil {
		return err
	}
	perms := up.perms
	if !d.privileged() {
		perms = slices.Clone(perms)
		perms[0].id = d.id
	}
	fresh := []placed{{path, &node{value: value, perms: perms}}}
	for path != dir {
		above, name := parentOf(path)
		n := &node{perms: perms}
		if above == dir {
			n = up.clone()
		}
		n.children = append(n.children, name)
		fresh = append(fresh, placed{above, n})
		path = above
	}
	tooBig := func(p placed) bool { return !s.fits(d, p.node) }
	if !t.room(d, len(fresh)-1) || slices.ContainsFunc(fresh, tooBig) {
		t.spoil()
		return wire.ENOSPC
	}
	for _, p := range fresh {
		t.put(p.path, p.node)
	}
	return nil
}

// placed is a node and where it is to stand.
type placed struct {
	path string
	node *node
}

// rm removes a node and all below it. One that is not there is removed already, if its directory is.
func (s *store) rm(d *domain, t tree, path string) error {
	_, err := d.look(t, path, mayWrite)
	if err == wire.ENOENT { //nolint:errorlint // look returns the bare name
		dir, _ := parentOf(path)
		up, failed := t.get(dir)
		if failed != nil || up != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	if path == "/" {
		return wire.EINVAL
	}
	return s.remove(t, path)
}

func (s *store) remove(t tree, path string) error {
	dir, name := parentOf(path)
	up, err := t.get(dir)
	if err != nil {
		return err
	}
	if up == nil {
		return wire.EINVAL // a transaction met the directory before it was made, and the node after: it will not commit
	}
	if err := prune(t, path, false); err != nil {
		return err
	}
	t.put(dir, up.without(name))
	return nil
}

// prune deletes a subtree from its leaves. Each node below its root is an event for those who watch just that.
func prune(t tree, path string, exact bool) error {
	n, err := t.get(path)
	if err != nil {
		return err
	}
	if n == nil {
		return wire.EIO // a transaction sees a directory as it was, and its child no more: it will not commit
	}
	for _, name := range n.children {
		if err := prune(t, below(path, name), true); err != nil {
			return err
		}
	}
	t.changed(path, exact, nil)
	t.del(path)
	return nil
}

func (s *store) setPerms(d *domain, t tree, path string, perms []perm) error {
	n, err := d.look(t, path, mayWrite)
	switch {
	case err != nil:
		return err
	case !d.owns(n.perms):
		return wire.EACCES
	case !d.privileged() && perms[0].id != n.perms[0].id:
		return wire.EPERM // only the privileged give nodes away
	}
	old := n.perms
	n = n.clone()
	n.perms = perms
	if err := s.save(d, t, path, n); err != nil {
		return err
	}
	t.changed(path, false, old)
	return nil
}

// setSpecial says who else sees the events of a special path.
func (s *store) setSpecial(d *domain, path string, perms []perm) error {
	switch {
	case s.special[path] == nil:
		return wire.EINVAL
	case !d.privileged():
		return wire.ENOENT
	}
	s.special[path] = perms
	return nil
}
