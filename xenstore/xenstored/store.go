package xenstored

import (
	"sync"

	"vifplug/xenstore/wire"
)

// quota bounds what one unprivileged domain may take (xen: tools/xenstored/core.c, domain.c; Xen 4.17's defaults).
type quota struct{ nodes, nodeSize, watches, transactions, accesses, perms int }

var defaultQuota = quota{nodes: 1000, nodeSize: 2048, watches: 128, transactions: 10, accesses: 1024, perms: 5}

// store is the tree with its domains and its clients. Every request holds mu from beginning to end.
type store struct {
	quota quota

	mu      sync.Mutex // guards all following fields, and every client's dom, watches and transactions
	nodes   map[string]*node
	gen     uint64
	owned   map[domID]int // nodes by owner
	special map[string][]perm
	domains map[domID]*domain
	clients map[*client]struct{}
}

func newStore() *store {
	perms := []perm{{letter: 'n'}}
	return &store{
		quota: defaultQuota,
		nodes: map[string]*node{
			"/":               {perms: perms, gen: 1, children: []string{"tool"}},
			"/tool":           {perms: perms, gen: 1, children: []string{"xenstored"}},
			"/tool/xenstored": {perms: perms, gen: 1},
		},
		gen:     1,
		owned:   map[domID]int{0: 3},
		special: map[string][]perm{introduceDomain: perms, releaseDomain: perms},
		domains: map[domID]*domain{0: {introduced: true}},
		clients: map[*client]struct{}{},
	}
}

func (s *store) get(path string) (*node, error) {
	n := s.nodes[path]
	if n == nil {
		return nil, nil
	}
	return s.marked(n), nil
}

func (s *store) put(path string, n *node) {
	s.disown(path)
	s.gen++
	n.gen = s.gen
	s.owned[n.perms[0].id]++
	s.nodes[path] = n
}

func (s *store) del(path string) {
	s.disown(path)
	delete(s.nodes, path)
}

func (s *store) disown(path string) {
	if old := s.nodes[path]; old != nil {
		id := old.perms[0].id
		if s.owned[id]--; s.owned[id] == 0 {
			delete(s.owned, id)
		}
	}
}

func (s *store) changed(path string, exact bool, old []perm) { s.fire(path, exact, old) }

func (s *store) room(d *domain, nodes int) bool {
	return d.privileged() || s.owned[d.id]+nodes <= s.quota.nodes
}

func (s *store) spoil() {}

func (s *store) begin(c *client) (uint32, error) {
	if !c.dom.privileged() && len(c.transactions) > s.quota.transactions {
		return 0, wire.ENOSPC
	}
	for {
		c.lastTx++
		if c.lastTx != 0 && c.transactions[c.lastTx] == nil {
			break
		}
	}
	c.transactions[c.lastTx] = newTransaction(s, c.dom)
	return c.lastTx, nil
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
