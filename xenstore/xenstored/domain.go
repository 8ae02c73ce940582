package xenstored

import (
	"slices"
	"strconv"

	"vifplug/xenstore/wire"
)

// domID is a domain's id as the C daemon keeps it: any number, not only those that a domain can have.
type domID uint32

// domSelf is always introduced (xen: xen/include/public/xen.h DOMID_SELF).
const domSelf domID = 0x7ff0

// perm is an entry of a node's permissions. The first one of a list names the owner, its letter is for those who are not listed.
type perm struct {
	letter byte // n none, r read, w write, b both
	id     domID
	void   bool // it was given to an earlier domain with this id
}

func (p perm) String() string { return string(p.letter) + strconv.Itoa(int(int32(p.id))) }

// domain is one that has been introduced or named in permissions, until it dies.
type domain struct {
	id         domID
	introduced bool
	born       uint64  // the store's generation when it was first heard of
	target     *domain // the one that it is the device model of
}

func (d *domain) privileged() bool { return d.id == 0 }

func (d *domain) home() string { return "/local/domain/" + strconv.FormatUint(uint64(d.id), 10) }

// is says whether the domain has the rights of id: its own and those of its target.
func (d *domain) is(id domID) bool { return d.id == id || d.target != nil && d.target.id == id }

const (
	mayRead  = "rb"
	mayWrite = "wb"
)

// may says whether the permissions let the domain do what.
func (d *domain) may(perms []perm, what string) bool {
	if d.owns(perms) {
		return true
	}
	letter := perms[0].letter
	for _, p := range perms[1:] {
		if !p.void && d.is(p.id) {
			letter = p.letter
			break
		}
	}
	return letter == what[0] || letter == what[1]
}

func (d *domain) owns(perms []perm) bool { return d.privileged() || d.is(perms[0].id) }

// domain finds a domain's record or begins it.
func (s *store) domain(id domID) *domain {
	d := s.domains[id]
	if d == nil {
		d = &domain{id: id, born: s.gen}
		s.domains[id] = d
	}
	return d
}

// introduced finds a domain that was introduced.
func (s *store) introduced(id domID) (*domain, error) {
	d := s.domains[id]
	if d == nil || !d.introduced {
		return nil, wire.ENOENT
	}
	return d, nil
}

func (s *store) introduce(id domID) {
	d := s.domain(id)
	if d.introduced {
		return
	}
	d.introduced = true
	s.fireSpecial(introduceDomain)
}

// release forgets a domain: its connections end, what it owned is removed, and its entries in permissions are void for the next one with its id.
func (s *store) release(id domID) error {
	d, err := s.introduced(id)
	if err != nil {
		return err
	}
	delete(s.domains, id)
	for _, other := range s.domains {
		if other.target == d {
			other.target = nil
		}
	}
	for c := range s.clients {
		if c.dom == d {
			c.forget()
			c.drop()
		}
	}
	s.bury(d, "/")
	for name, perms := range s.special {
		s.special[name] = append(perms[:1:1], slices.DeleteFunc(slices.Clone(perms[1:]), func(p perm) bool { return p.id == id })...)
	}
	s.fireSpecial(releaseDomain)
	return nil
}

// bury removes what a dead domain owned at dir and below.
func (s *store) bury(d *domain, dir string) {
	for _, name := range s.nodes[dir].children {
		path := below(dir, name)
		switch {
		case s.owned[d.id] == 0:
			return
		case s.nodes[path].perms[0].id == d.id:
			_ = s.remove(s, path) // outside of a transaction nothing can fail
		default:
			s.bury(d, path)
		}
	}
}

// marked is a node with those entries of its permissions void that an earlier domain with the same id was given. The marks stay with what is
// made of the node (xen: tools/xenstored/domain.c domain_adjust_node_perms).
func (s *store) marked(n *node) *node {
	var fresh *node
	for i, p := range n.perms {
		if d := s.domains[p.id]; i == 0 || p.void || d != nil && d.born <= n.gen {
			continue
		}
		if fresh == nil {
			fresh = n.clone()
			fresh.perms = slices.Clone(n.perms)
		}
		fresh.perms[i].void = true
	}
	if fresh != nil {
		return fresh
	}
	return n
}
