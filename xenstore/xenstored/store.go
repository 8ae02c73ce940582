package xenstored

import (
	"strings"
	"sync"

	"vifplug/xenstore/wire"
)

// store is the tree with its domains and its clients. Every request holds mu from beginning to end.
type store struct {
	quota quota

	mu      sync.Mutex // guards all following fields, and every client's watches and transactions
	live    *live
	domains map[wire.DomID]*domain
	clients map[*client]struct{}
	nextTx  uint32
}

// domain is one that has been introduced.
type domain struct {
	port   uint64
	target *wire.DomID
}

func newStore() *store {
	s := &store{quota: defaultQuota, domains: map[wire.DomID]*domain{0: {}}, clients: map[*client]struct{}{}}
	s.live = newLive(s.fire)
	return s
}

// The special watches (xen: docs/misc/xenstore.txt).
const (
	introduceDomain = "@introduceDomain"
	releaseDomain   = "@releaseDomain"
)

// watch is a client's interest in a path.
type watch struct {
	path     string // absolute, or special
	token    string
	relative string // what the client wrote instead of the beginning of path; "" for an absolute one
	prefix   string // what relative stands for
}

// shown is an event's path as this watch's client knows it.
func (w watch) shown(path string) string {
	if w.prefix == "" {
		return path
	}
	return strings.TrimPrefix(strings.TrimPrefix(path, w.prefix), "/")
}

// fire tells every watch that an event concerns: watches on the path and above it, or with exact on the path alone.
func (s *store) fire(path string, exact bool) {
	for c := range s.clients {
		if !c.who.privileged() && !s.visible(c.who, path) {
			continue
		}
		for _, w := range c.watches {
			if w.path == path || !exact && within(path, w.path) {
				c.event(w.shown(path), w.token, true)
			}
		}
	}
}

// visible says whether an unprivileged client may know of a change: whoever may read the node, or its parent where it is gone.
func (s *store) visible(c caller, path string) bool {
	n := s.live.get(path)
	if n == nil {
		dir, _ := parentOf(path)
		n = s.live.get(dir)
	}
	return n != nil && c.may(n.perms, mayRead)
}

// fireSpecial tells the watches of a special path. Each of these events counts.
func (s *store) fireSpecial(path string) {
	for c := range s.clients {
		for _, w := range c.watches {
			if w.path == path && c.who.privileged() {
				c.event(path, w.token, false)
			}
		}
	}
}

func (s *store) introduce(id wire.DomID, port uint64) error {
	if id >= wire.FirstReserved {
		return wire.EINVAL
	}
	if d := s.domains[id]; d != nil {
		if id != 0 && d.port != port {
			return wire.EINVAL
		}
		return nil
	}
	s.domains[id] = &domain{port: port}
	s.fireSpecial(introduceDomain)
	return nil
}

func (s *store) release(id wire.DomID) error {
	if id == 0 {
		return wire.EINVAL
	}
	if s.domains[id] == nil {
		return wire.ENOENT
	}
	delete(s.domains, id)
	s.bury(id)
	for c := range s.clients {
		if c.who.id == id {
			c.drop()
		}
	}
	s.fireSpecial(releaseDomain)
	return nil
}

func (s *store) begin(c *client) (uint32, error) {
	if !c.who.privileged() && len(c.transactions) >= s.quota.transactions {
		return 0, wire.ENOSPC
	}
	for {
		s.nextTx++
		if s.nextTx != 0 && c.transactions[s.nextTx] == nil {
			break
		}
	}
	c.transactions[s.nextTx] = newTransaction(s.live)
	return s.nextTx, nil
}

func (s *store) end(c *client, id uint32, commit bool) error {
	t := c.transactions[id]
	if t == nil {
		return wire.ENOENT
	}
	delete(c.transactions, id)
	if !commit {
		return nil
	}
	return t.commit()
}

func (s *store) addWatch(c *client, w watch) error {
	for _, old := range c.watches {
		if old.path == w.path && old.token == w.token {
			return wire.EEXIST
		}
	}
	if !c.who.privileged() && len(c.watches) >= s.quota.watches {
		return wire.ENOSPC
	}
	c.watches = append(c.watches, w)
	return nil
}

func (s *store) removeWatch(c *client, path, token string) error {
	for i, w := range c.watches {
		if w.path == path && w.token == token {
			c.watches = append(c.watches[:i:i], c.watches[i+1:]...)
			return nil
		}
	}
	return wire.ENOENT
}
