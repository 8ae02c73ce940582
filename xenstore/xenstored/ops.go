package xenstored

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"vifplug/xenstore/wire"
)

// request is one message being handled, under the store's lock.
type request struct {
	s    *store
	c    *client
	h    wire.Header
	tree tree
	raw  []byte
	args []string // raw as NUL-terminated strings, what follows the last NUL left out
}

var ok = []byte("OK\x00")

// handle answers one request.
func (s *store) handle(c *client, h wire.Header, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &request{s: s, c: c, h: h, raw: payload, tree: s.live}
	if i := bytes.LastIndexByte(payload, 0); i >= 0 {
		r.args = strings.Split(string(payload[:i]), "\x00")
	}
	if h.TxID != 0 {
		t := c.transactions[h.TxID]
		if t == nil {
			c.reply(h, nil, wire.ENOENT)
			return
		}
		r.tree = t
	}
	reply, err := r.run()
	c.reply(h, reply, err)
	if err == nil && h.Type == wire.Watch {
		w := c.watches[len(c.watches)-1]
		shown := w.path
		if w.prefix != "" {
			shown = w.relative
		}
		c.event(shown, w.token, true)
	}
}

// run does a request and gives the payload of its reply.
func (r *request) run() ([]byte, error) {
	if r.privilegedOnly() && !r.c.who.privileged() {
		return nil, wire.EACCES
	}
	switch r.h.Type {
	case wire.Read, wire.Directory, wire.DirectoryPart, wire.GetPerms:
		return r.reading()
	case wire.Write, wire.Mkdir, wire.Rm, wire.SetPerms:
		return ok, r.writing()
	case wire.Watch, wire.Unwatch, wire.ResetWatches:
		return ok, r.watching()
	case wire.TransactionStart, wire.TransactionEnd:
		return r.transacting()
	case wire.Introduce, wire.Release, wire.GetDomainPath, wire.IsDomainIntroduced, wire.Resume, wire.SetTarget:
		return r.aboutDomain()
	case wire.Control:
		return nil, wire.EINVAL // no control command is served
	}
	return nil, wire.ENOSYS
}

func (r *request) privilegedOnly() bool {
	switch r.h.Type {
	case wire.Introduce, wire.Release, wire.IsDomainIntroduced, wire.Resume, wire.SetTarget, wire.Control:
		return true
	}
	return false
}

// path is the first argument, made absolute and checked. Only those who read and write nodes come here: special paths are no nodes.
func (r *request) path() (string, error) {
	if len(r.args) == 0 {
		return "", wire.EINVAL
	}
	return r.absolute(r.args[0])
}

func (r *request) absolute(p string) (string, error) {
	if wire.CheckPath(p) != nil {
		return "", wire.EINVAL
	}
	if !strings.HasPrefix(p, "/") {
		p = domainPath(r.c.who.id) + "/" + p
	}
	if !r.c.who.privileged() && len(p) > r.s.quota.path {
		return "", wire.EINVAL
	}
	return p, nil
}

func (r *request) reading() ([]byte, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	n, err := r.c.who.look(r.tree, path, mayRead)
	if err != nil {
		return nil, err
	}
	switch r.h.Type {
	case wire.Read:
		return n.value, nil
	case wire.GetPerms:
		return permsPayload(n.perms), nil
	case wire.DirectoryPart:
		return r.part(n)
	}
	list := listPayload(n.children)
	if len(list) > wire.PayloadMax {
		return nil, wire.E2BIG
	}
	return list, nil
}

func listPayload(names []string) []byte {
	var b []byte
	for _, s := range names {
		b = append(append(b, s...), 0)
	}
	return b
}

func permsPayload(perms []wire.Perm) []byte {
	var b []byte
	for _, p := range perms {
		b = append(append(b, p.String()...), 0)
	}
	return b
}

// part gives a piece of a long directory: the node's generation, whole names from a byte offset, and one more NUL at the end of the list.
func (r *request) part(n *node) ([]byte, error) {
	if len(r.args) < 2 {
		return nil, wire.EINVAL
	}
	offset, err := strconv.Atoi(r.args[1])
	list := listPayload(n.children)
	if err != nil || offset < 0 {
		return nil, wire.EINVAL
	}
	out := append(strconv.AppendUint(nil, n.gen, 10), 0)
	if offset < len(list) {
		list = list[offset:]
	} else {
		list = nil
	}
	for len(list) > 0 {
		i := bytes.IndexByte(list, 0) + 1
		if len(out)+i+1 > wire.PayloadMax {
			return out, nil
		}
		out = append(out, list[:i]...)
		list = list[i:]
	}
	return append(out, 0), nil
}

func (r *request) writing() error {
	path, err := r.path()
	if err != nil {
		return err
	}
	switch r.h.Type {
	case wire.Write:
		i := bytes.IndexByte(r.raw, 0)
		if i < 0 {
			return wire.EINVAL
		}
		return r.s.write(r.c.who, r.tree, path, r.raw[i+1:])
	case wire.Mkdir:
		return r.s.mkdir(r.c.who, r.tree, path)
	case wire.Rm:
		return r.s.rm(r.c.who, r.tree, path)
	}
	perms := make([]wire.Perm, 0, len(r.args))
	for _, a := range r.args[1:] {
		p, err := wire.ParsePerm(a)
		if err != nil {
			return wire.EINVAL
		}
		perms = append(perms, p)
	}
	if len(perms) == 0 {
		return wire.EINVAL
	}
	return r.s.setPerms(r.c.who, r.tree, path, perms)
}

func (r *request) watching() error {
	if r.h.Type == wire.ResetWatches {
		r.c.watches = nil
		clear(r.c.transactions)
		return nil
	}
	if len(r.args) != 2 {
		return wire.EINVAL
	}
	w := watch{path: r.args[0], token: r.args[1]}
	switch {
	case strings.HasPrefix(w.path, "@"):
		if wire.CheckPath(w.path) != nil || !r.c.who.privileged() && (w.path == introduceDomain || w.path == releaseDomain) {
			return wire.EINVAL
		}
	case strings.HasPrefix(w.path, "/"):
		if wire.CheckPath(w.path) != nil {
			return wire.EINVAL
		}
	default:
		abs, err := r.absolute(w.path)
		if err != nil {
			return err
		}
		w.relative, w.prefix, w.path = w.path, domainPath(r.c.who.id), abs
	}
	if r.h.Type == wire.Unwatch {
		return r.s.removeWatch(r.c, w.path, w.token)
	}
	return r.s.addWatch(r.c, w)
}

func (r *request) transacting() ([]byte, error) {
	if r.h.Type == wire.TransactionStart {
		if r.h.TxID != 0 {
			return nil, wire.EBUSY
		}
		id, err := r.s.begin(r.c)
		return fmt.Appendf(nil, "%d\x00", id), err
	}
	if len(r.args) != 1 || r.args[0] != "T" && r.args[0] != "F" {
		return nil, wire.EINVAL
	}
	return ok, r.s.end(r.c, r.h.TxID, r.args[0] == "T")
}

func (r *request) aboutDomain() ([]byte, error) {
	if len(r.args) == 0 {
		return nil, wire.EINVAL
	}
	n, err := strconv.ParseUint(r.args[0], 10, 16)
	if err != nil {
		return nil, wire.EINVAL
	}
	id := wire.DomID(n)
	switch r.h.Type {
	case wire.GetDomainPath:
		return append([]byte(domainPath(id)), 0), nil
	case wire.IsDomainIntroduced:
		if r.s.domains[id] != nil {
			return []byte("T\x00"), nil
		}
		return []byte("F\x00"), nil
	case wire.Introduce:
		if len(r.args) < 3 {
			return nil, wire.EINVAL
		}
		port, err := strconv.ParseUint(r.args[2], 10, 32)
		if err != nil {
			return nil, wire.EINVAL
		}
		return ok, r.s.introduce(id, port)
	case wire.Release:
		return ok, r.s.release(id)
	case wire.SetTarget:
		return ok, r.setTarget(id)
	}
	if r.s.domains[id] == nil {
		return nil, wire.ENOENT
	}
	return ok, nil // RESUME: nothing is remembered of a shutdown
}

// setTarget makes a domain the device model of another, with that one's rights.
func (r *request) setTarget(id wire.DomID) error {
	if len(r.args) < 2 {
		return wire.EINVAL
	}
	n, err := strconv.ParseUint(r.args[1], 10, 16)
	if err != nil {
		return wire.EINVAL
	}
	d := r.s.domains[id]
	if d == nil || r.s.domains[wire.DomID(n)] == nil {
		return wire.ENOENT
	}
	target := wire.DomID(n)
	d.target = &target
	for c := range r.s.clients {
		if c.who.id == id {
			c.who.target = &target
		}
	}
	return nil
}
