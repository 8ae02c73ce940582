package xenstored

import "vifplug/xenstore/wire"

// transaction is an overlay over the store. Each node is taken as it was at its first access, be that for reading or writing, and must not have
// changed at the commit (xen: tools/xenstored/transaction.c).
type transaction struct {
	base   *store
	by     *domain
	nodes  map[string]*access
	order  []*access // of first access: the events fire in it
	spoilt bool
}

// access is a node that a transaction has met.
type access struct {
	path        string
	before, now *node // nil: there is none
	written     bool
	fire, exact bool // the event at the commit
}

func newTransaction(base *store, by *domain) *transaction {
	return &transaction{base: base, by: by, nodes: map[string]*access{}}
}

func (t *transaction) get(path string) (*node, error) {
	if a := t.nodes[path]; a != nil {
		return a.now, nil
	}
	if !t.by.privileged() && len(t.order) >= t.base.quota.accesses {
		t.spoilt = true
		return nil, wire.ENOSPC
	}
	n, _ := t.base.get(path)
	if n != nil {
		n = n.sealed()
	}
	a := &access{path: path, before: n, now: n}
	t.nodes[path] = a
	t.order = append(t.order, a)
	return n, nil
}

func (t *transaction) put(path string, n *node) {
	t.base.gen++
	n.gen = t.base.gen
	a := t.nodes[path]
	a.now, a.written = n, true
}

func (t *transaction) del(path string) {
	a := t.nodes[path]
	a.now, a.written = nil, true
}

func (t *transaction) changed(path string, exact bool, _ []perm) {
	a := t.nodes[path]
	a.exact = exact && (a.exact || !a.fire)
	a.fire = true
}

func (t *transaction) room(*domain, int) bool { return true }

func (t *transaction) spoil() { t.spoilt = true }

// commit makes the changes, or says EAGAIN when something that was met has changed meanwhile.
func (t *transaction) commit() error {
	if err := t.check(); err != nil {
		return err
	}
	for _, a := range t.order {
		switch {
		case !a.written:
		case a.now == nil:
			t.base.del(a.path)
		default:
			t.base.put(a.path, a.now)
		}
	}
	for _, a := range t.order {
		if a.fire && a.before != nil {
			t.base.changed(a.path, a.exact, a.before.perms)
		} else if a.fire && a.now != nil {
			t.base.changed(a.path, a.exact, nil)
		}
	}
	return nil
}

func (t *transaction) check() error {
	if t.spoilt {
		return wire.ENOMEM
	}
	if n := t.growth(); n > 0 && !t.by.privileged() && t.base.owned[t.by.id]+n >= t.base.quota.nodes {
		return wire.ENOSPC
	}
	for _, a := range t.order {
		if generation(a.before) != generation(t.base.nodes[a.path]) {
			return wire.EAGAIN
		}
	}
	return nil
}

// growth is how many nodes more its domain would own.
func (t *transaction) growth() int {
	n := 0
	for _, a := range t.order {
		if a.now != nil && a.now.perms[0].id == t.by.id {
			n++
		}
		if a.before != nil && a.before.perms[0].id == t.by.id {
			n--
		}
	}
	return n
}

func generation(n *node) uint64 {
	if n == nil {
		return 0
	}
	return n.gen
}
