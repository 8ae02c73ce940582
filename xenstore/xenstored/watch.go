package xenstored

import (
	"slices"
	"strings"

	"vifplug/xenstore/wire"
)

// The special watches (xen: docs/misc/xenstore.txt).
const (
	introduceDomain = "@introduceDomain"
	releaseDomain   = "@releaseDomain"
)

// watch is a client's interest in a path.
type watch struct {
	path  string // absolute, or special
	token string
	home  string // what stands before path and is not shown; "" where the client gave an absolute path
}

// shown is an event's path as this watch's client knows it.
func (w watch) shown(path string) string { return strings.TrimPrefix(path, w.home) }

func (w watch) is(path, token string) bool { return w.path == path && w.token == token }

// fire tells every watch that an event concerns: watches on the path and above it, or with exact on the path alone.
func (s *store) fire(path string, exact bool, old []perm) {
	for c := range s.clients {
		if len(c.watches) == 0 || !s.sees(c.dom, path, old) {
			continue
		}
		for _, w := range c.watches {
			if w.path == path || !exact && within(path, w.path) {
				c.event(w.shown(path), w.token)
			}
		}
	}
}

// sees says whether a domain may know of a change: who could or can read the node, or can read the directory that lists it.
func (s *store) sees(d *domain, path string, old []perm) bool {
	if d.privileged() || old != nil && d.may(old, mayRead) {
		return true
	}
	n, _ := s.get(path)
	if n == nil || d.may(n.perms, mayRead) {
		return n != nil
	}
	dir, _ := parentOf(path)
	up, _ := s.get(dir)
	return d.may(up.perms, mayRead)
}

// fireSpecial tells the watches of a special path.
func (s *store) fireSpecial(path string) {
	for c := range s.clients {
		for _, w := range c.watches {
			if w.path == path && c.dom.may(s.special[path], mayRead) {
				c.event(path, w.token)
			}
		}
	}
}

func (s *store) addWatch(c *client, w watch) error {
	switch {
	case slices.ContainsFunc(c.watches, func(old watch) bool { return old.is(w.path, w.token) }):
		return wire.EEXIST
	case !c.dom.privileged() && len(c.watches) > s.quota.watches:
		return wire.E2BIG
	}
	c.watches = append(c.watches, w)
	return nil
}

func (s *store) removeWatch(c *client, path, token string) error {
	i := slices.IndexFunc(c.watches, func(w watch) bool { return w.is(path, token) })
	if i < 0 {
		return wire.ENOENT
	}
	c.watches = slices.Delete(c.watches, i, i+1)
	return nil
}
