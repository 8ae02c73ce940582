package xenstored

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/xenstore/wire"
)

// asked is a request that was made in a transaction, and its answer.
type asked struct {
	what         wire.Type
	path, answer string
}

// open is a transaction that is under way: what it did, and the tree when it began.
type open struct {
	id    uint32
	did   []asked
	began map[string]*node
}

// world is a store and its judge: a store without transactions, where what commits is done in one go at its commit.
type world struct {
	t            *rapid.T
	store, judge *store
	client, hand *client
	open         []*open
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, store: newStore(), judge: newStore()}
	w.client, w.hand = w.store.client(0), w.judge.client(0)
	return w
}

// answer does a request and gives the reply's payload. There are no watches, so there is nothing else.
func (w *world) answer(c *client, tx uint32, what wire.Type, payload string) string {
	c.out = nil
	c.store.do(c, wire.Header{Type: what, TxID: tx}, payload)
	return string(c.out[wire.HeaderSize:])
}

func (w *world) draw() (wire.Type, string) {
	what := rapid.SampledFrom([]wire.Type{wire.Read, wire.Directory, wire.GetPerms, wire.Write, wire.Write, wire.Mkdir, wire.Rm}).Draw(w.t, "op")
	path := rapid.SampledFrom([]string{"/a", "/a/b", "/a/b/c", "/a/d", "/e", "/e/f", "/e/f/g/h"}).Draw(w.t, "path")
	if what == wire.Write {
		return what, path + "|" + rapid.StringMatching("[xyz]").Draw(w.t, "value")
	}
	return what, path + "|"
}

// direct does a request outside of transactions, in both.
func (w *world) direct() {
	what, payload := w.draw()
	require.Equal(w.t, w.answer(w.hand, 0, what, payload), w.answer(w.client, 0, what, payload))
}

func (w *world) begin() {
	if len(w.open) == 3 {
		w.t.Skip("three are enough")
	}
	id := atoi(w.answer(w.client, 0, wire.TransactionStart, "|"))
	w.open = append(w.open, &open{id: id, began: maps.Clone(w.judge.nodes)})
}

func (w *world) pick() *open {
	if len(w.open) == 0 {
		w.t.Skip("none is open")
	}
	return rapid.SampledFrom(w.open).Draw(w.t, "transaction")
}

func (w *world) inside() {
	o := w.pick()
	what, payload := w.draw()
	o.did = append(o.did, asked{what, payload, w.answer(w.client, o.id, what, payload)})
}

func (w *world) abort() {
	o := w.pick()
	w.open = slices.DeleteFunc(w.open, func(other *open) bool { return other == o })
	require.Equal(w.t, "OK\x00", w.answer(w.client, o.id, wire.TransactionEnd, "F|"))
}

// commit judges: a transaction that commits must have done what it would do now, all at once; one that may not must have met what has changed.
func (w *world) commit() {
	o := w.pick()
	w.open = slices.DeleteFunc(w.open, func(other *open) bool { return other == o })
	switch got := w.answer(w.client, o.id, wire.TransactionEnd, "T|"); got {
	case "OK\x00":
		for _, a := range o.did {
			require.Equal(w.t, w.answer(w.hand, 0, a.what, a.path), a.answer, "%v %q, replayed", a.what, a.path)
		}
	case "EAGAIN\x00":
		require.True(w.t, w.conflicts(o), "nothing that it met has changed: %v", o.did)
	default:
		require.Fail(w.t, got)
	}
}

// conflicts says whether something has changed since the beginning that the transaction can have met: the paths that it named, what is above
// them, and what is below those it removed.
func (w *world) conflicts(o *open) bool {
	return slices.ContainsFunc(o.did, func(a asked) bool {
		path, _, _ := strings.Cut(a.path, "|")
		met := func(p string) bool { return within(path, p) || a.what == wire.Rm && within(p, path) }
		for p, n := range o.began {
			if met(p) && w.judge.nodes[p] != n {
				return true
			}
		}
		for p := range w.judge.nodes {
			if met(p) && o.began[p] == nil {
				return true
			}
		}
		return false
	})
}

func (w *world) same(t *rapid.T) {
	check(t, w.store)
	require.Equal(t, len(w.judge.nodes), len(w.store.nodes))
	for path, n := range w.judge.nodes {
		got := w.store.nodes[path]
		require.NotNil(t, got, path)
		require.Equal(t, string(n.value), string(got.value), path)
		require.Equal(t, n.perms, got.perms, path)
		require.True(t, slices.Equal(n.children, got.children), "%s lists %v, want %v", path, got.children, n.children)
	}
}

func TestTransactionsAreSerial(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		action := func(do func()) func(*rapid.T) {
			return func(t *rapid.T) {
				w.t = t
				do()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"":       w.same,
			"direct": action(w.direct),
			"begin":  action(w.begin),
			"inside": action(w.inside), "inside more": action(w.inside), "inside much": action(w.inside),
			"commit": action(w.commit),
			"abort":  action(w.abort),
		})
	})
}

// A transaction and the store append to the same directory: neither writes into the other's list.
func TestTransactionsShareNoLists(t *testing.T) {
	s := newStore()
	c := s.client(0)
	for _, name := range []string{"a", "b", "c"} { // an array of three has room for a fourth
		s.do(c, wire.Header{Type: wire.Mkdir}, "/dir/"+name+"|")
	}
	s.do(c, wire.Header{Type: wire.TransactionStart}, "|")
	s.do(c, wire.Header{Type: wire.Read, TxID: 1}, "/dir|")
	s.do(c, wire.Header{Type: wire.Mkdir}, "/dir/outside|")
	s.do(c, wire.Header{Type: wire.Mkdir, TxID: 1}, "/dir/inside|")
	require.Equal(t, []string{"a", "b", "c", "outside"}, s.nodes["/dir"].children)
	n, err := c.transactions[1].get("/dir")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c", "inside"}, n.children)
	check(t, s)
}
