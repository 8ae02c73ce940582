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
	s       *store
	c       *client
	tx      uint32
	tree    tree
	payload []byte
	args    []string
	after   func() // to do when the reply is sent
}

// op is an operation: how many strings its payload has, who may do it, and where.
type op struct {
	do         func(*request) ([]byte, error)
	args       int
	orMore     bool
	privileged bool
	anywhere   bool // whatever transaction the header names, even one that is none
}

var ops = map[wire.Type]op{
	wire.Directory:          {do: (*request).directory, args: 1},
	wire.DirectoryPart:      {do: (*request).directoryPart, args: 2},
	wire.Read:               {do: (*request).read, args: 1},
	wire.GetPerms:           {do: (*request).getPerms, args: 1},
	wire.Write:              {do: (*request).write, args: 1, orMore: true},
	wire.Mkdir:              {do: (*request).mkdir, args: 1},
	wire.Rm:                 {do: (*request).rm, args: 1},
	wire.SetPerms:           {do: (*request).setPerms, args: 2, orMore: true},
	wire.Watch:              {do: (*request).watch, args: 2, anywhere: true},
	wire.Unwatch:            {do: (*request).unwatch, args: 2, anywhere: true},
	wire.ResetWatches:       {do: (*request).resetWatches, orMore: true},
	wire.TransactionStart:   {do: (*request).transactionStart, orMore: true},
	wire.TransactionEnd:     {do: (*request).transactionEnd, args: 1},
	wire.GetDomainPath:      {do: (*request).domainPath, args: 1},
	wire.IsDomainIntroduced: {do: (*request).isIntroduced, args: 1, privileged: true},
	wire.Introduce:          {do: (*request).introduce, args: 3, orMore: true, privileged: true},
	wire.Release:            {do: (*request).release, args: 1, privileged: true},
	wire.Resume:             {do: (*request).resume, args: 1, privileged: true},
	wire.SetTarget:          {do: (*request).setTarget, args: 2, privileged: true},
	wire.Control:            {do: (*request).control, orMore: true, privileged: true},
}

var ok = []byte("OK\x00")

// handle answers one request.
func (s *store) handle(c *client, h wire.Header, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.dom == nil {
		return // its domain has died meanwhile
	}
	r := &request{s: s, c: c, tx: h.TxID, tree: s, payload: payload}
	reply, err := r.run(h.Type)
	c.reply(h, reply, err)
	if r.after != nil {
		r.after()
	}
}

// run does a request and gives the payload of its reply.
func (r *request) run(t wire.Type) ([]byte, error) {
	o, known := ops[t]
	switch {
	case !known:
		return nil, wire.ENOSYS
	case o.privileged && !r.c.dom.privileged():
		return nil, wire.EACCES
	}
	if r.tx != 0 && !o.anywhere {
		tx := r.c.transactions[r.tx]
		if tx == nil {
			return nil, wire.ENOENT
		}
		r.tree = tx
	}
	args, rest := splitArgs(r.payload)
	if len(args) < o.args || !o.orMore && (len(args) > o.args || rest) {
		return nil, wire.EINVAL
	}
	r.args = args
	return o.do(r)
}

// node finds the node that the first argument names.
func (r *request) node(what string) (*node, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	return r.c.dom.look(r.tree, path, what)
}

func (r *request) path() (string, error) { return r.c.dom.nodePath(r.args[0]) }

func (r *request) read() ([]byte, error) {
	n, err := r.node(mayRead)
	if err != nil {
		return nil, err
	}
	return n.value, nil
}

func (r *request) getPerms() ([]byte, error) {
	n, err := r.node(mayRead)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, p := range n.perms {
		b = append(append(b, p.String()...), 0)
	}
	return b, nil
}

func (r *request) directory() ([]byte, error) {
	n, err := r.node(mayRead)
	if err != nil {
		return nil, err
	}
	return listPayload(n.children), nil
}

func listPayload(names []string) []byte {
	var b []byte
	for _, s := range names {
		b = append(append(b, s...), 0)
	}
	return b
}

// directoryPart gives a piece of a long directory: the node's generation, whole names from a byte offset, and one more NUL at the end of the list.
func (r *request) directoryPart() ([]byte, error) {
	n, err := r.node(mayRead)
	if err != nil {
		return nil, err
	}
	out := append(strconv.AppendUint(nil, n.gen, 10), 0)
	list := listPayload(n.children)
	for list = list[min(int(atoi(r.args[1])), len(list)):]; len(list) > 0; {
		i := bytes.IndexByte(list, 0) + 1
		if len(out)+i+1 > wire.PayloadMax {
			return out, nil
		}
		out = append(out, list[:i]...)
		list = list[i:]
	}
	return append(out, 0), nil
}

func (r *request) write() ([]byte, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	return ok, r.s.write(r.c.dom, r.tree, path, r.payload[len(r.args[0])+1:])
}

func (r *request) mkdir() ([]byte, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	return ok, r.s.mkdir(r.c.dom, r.tree, path)
}

func (r *request) rm() ([]byte, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	return ok, r.s.rm(r.c.dom, r.tree, path)
}

func (r *request) setPerms() ([]byte, error) {
	if !r.c.dom.privileged() && len(r.args)-1 > r.s.quota.perms {
		return nil, wire.ENOSPC
	}
	perms, err := parsePerms(r.args[1:])
	if err != nil {
		return nil, err
	}
	for _, p := range perms {
		if p.id < domSelf { // no other id is ever a domain's: a guest cannot have the store remember any number of them
			r.s.domain(p.id)
		}
	}
	if strings.HasPrefix(r.args[0], "@") {
		return ok, r.s.setSpecial(r.c.dom, r.args[0], perms)
	}
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	return ok, r.s.setPerms(r.c.dom, r.tree, path, perms)
}

func (r *request) watch() ([]byte, error) {
	w := watch{path: r.args[0], token: r.args[1]}
	if strings.HasPrefix(w.path, "@") {
		if len(w.path) > wire.RelPathMax {
			return nil, wire.EINVAL
		}
	} else {
		abs, err := r.path()
		if err != nil {
			return nil, err
		}
		w.home, w.path = strings.TrimSuffix(abs, w.path), abs
	}
	r.after = func() { r.c.event(w.shown(w.path), w.token) }
	err := r.s.addWatch(r.c, w)
	if err != nil {
		r.after = nil
	}
	return ok, err
}

func (r *request) unwatch() ([]byte, error) {
	return ok, r.s.removeWatch(r.c, r.c.dom.absolute(r.args[0]), r.args[1])
}

func (r *request) resetWatches() ([]byte, error) {
	r.c.watches = nil
	clear(r.c.transactions)
	return ok, nil
}

func (r *request) transactionStart() ([]byte, error) {
	if r.tx != 0 {
		return nil, wire.EBUSY
	}
	id, err := r.s.begin(r.c)
	return fmt.Appendf(nil, "%d\x00", id), err
}

func (r *request) transactionEnd() ([]byte, error) {
	if r.args[0] != "T" && r.args[0] != "F" {
		return nil, wire.EINVAL
	}
	return ok, r.s.end(r.c, r.tx, r.args[0] == "T")
}

// domID is the one that an argument says.
func (r *request) domID(arg int) domID { return domID(atoi(r.args[arg])) }

func (r *request) domainPath() ([]byte, error) {
	d := domain{id: r.domID(0)}
	return append([]byte(d.home()), 0), nil
}

func (r *request) isIntroduced() ([]byte, error) {
	_, err := r.s.introduced(r.domID(0))
	if err != nil && r.domID(0) != domSelf {
		return []byte("F\x00"), nil
	}
	return []byte("T\x00"), nil
}

func (r *request) introduce() ([]byte, error) {
	if port := atoi(r.args[2]); port == 0 {
		return nil, wire.EINVAL
	}
	r.s.introduce(r.domID(0))
	return ok, nil
}

func (r *request) release() ([]byte, error) {
	if r.domID(0) == 0 {
		return nil, wire.EINVAL
	}
	return ok, r.s.release(r.domID(0))
}

// resume does nothing: this store remembers no shutdown.
func (r *request) resume() ([]byte, error) {
	if r.domID(0) == 0 {
		return nil, wire.EINVAL
	}
	_, err := r.s.introduced(r.domID(0))
	return ok, err
}

// setTarget makes a domain the device model of another, with that one's rights.
func (r *request) setTarget() ([]byte, error) {
	d, err := r.s.introduced(r.domID(0))
	if err != nil {
		return nil, err
	}
	target, err := r.s.introduced(r.domID(1))
	if err != nil {
		return nil, err
	}
	d.target = target
	return ok, nil
}

// control knows no command.
func (r *request) control() ([]byte, error) { return nil, wire.EINVAL }
