package xenstored

import (
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// client makes one that nothing reads: its requests go straight to handle.
func (s *store) client(id domID) *client {
	here, _ := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	return newClient(s, here, s.domain(id))
}

func (s *store) do(c *client, h wire.Header, payload string) {
	s.handle(c, h, []byte(strings.ReplaceAll(payload, "|", "\x00")))
}

// must does a request of a domain that succeeds.
func (s *store) must(t testing.TB, id domID, what wire.Type, payload string) {
	t.Helper()
	c := s.client(id)
	s.do(c, wire.Header{Type: what}, payload)
	h, err := wire.ParseHeader(c.out)
	require.NoError(t, err)
	for h.Type == wire.WatchEvent {
		c.out = c.out[wire.HeaderSize+h.Len:]
		h, err = wire.ParseHeader(c.out)
		require.NoError(t, err)
	}
	require.NotEqual(t, wire.Error, h.Type, "%v %s: %s", what, payload, c.out[wire.HeaderSize:])
	s.mu.Lock()
	c.forget()
	s.mu.Unlock()
}

// check holds the store against what must always be so.
func check(t require.TestingT, s *store) {
	owned := map[domID]int{}
	for path, n := range s.nodes {
		owned[n.perms[0].id]++
		require.LessOrEqual(t, n.gen, s.gen, path)
		require.NotZero(t, n.gen, path)
		for i, name := range n.children {
			require.NotNil(t, s.nodes[below(path, name)], "%s lists %s", path, name)
			require.NotContains(t, n.children[i+1:], name, path)
		}
		if dir, name := parentOf(path); path != "/" {
			require.NotNil(t, s.nodes[dir], "above %s", path)
			require.Contains(t, s.nodes[dir].children, name)
		}
	}
	require.Equal(t, owned, s.owned)
	for c := range s.clients {
		require.NotNil(t, c.dom)
		if !c.dom.privileged() {
			require.LessOrEqual(t, len(c.watches), s.quota.watches+1)
			require.LessOrEqual(t, len(c.transactions), s.quota.transactions+1)
		}
	}
}

// snapshot is the tree with void entries marked as of now.
func (s *store) snapshot() map[string]*node {
	nodes := maps.Clone(s.nodes)
	for path, n := range nodes {
		nodes[path] = s.marked(n)
	}
	return nodes
}

// writable is what a permission list means, in other words than the store's.
func writable(d domain, perms []perm) bool {
	ids := []domID{d.id}
	if d.target != nil {
		ids = append(ids, d.target.id)
	}
	if slices.Contains(ids, perms[0].id) {
		return true
	}
	i := slices.IndexFunc(perms[1:], func(p perm) bool { return !p.void && slices.Contains(ids, p.id) })
	letter := perms[i+1].letter // the first one's where no other is meant
	return letter == 'w' || letter == 'b'
}

// checkRights proves that whoever was d changed nothing without the right to write it, or to write what is above.
func checkRights(t testing.TB, d domain, before, after map[string]*node) {
	t.Helper()
	mayChange := func(path string) bool {
		for {
			if n := before[path]; n != nil && writable(d, n.perms) {
				return true
			}
			if path == "/" {
				return false
			}
			path, _ = parentOf(path)
		}
	}
	for path, n := range after {
		old := before[path]
		if old == nil || !slices.Equal(old.perms, n.perms) || string(old.value) != string(n.value) {
			require.True(t, mayChange(path), "domain %d changed %s", d.id, path)
		}
	}
	for path := range before {
		if after[path] == nil {
			require.True(t, mayChange(path), "domain %d removed %s", d.id, path)
		}
	}
}
