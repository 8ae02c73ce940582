package wire_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
	"vifplug/xenstore/xenstoretest"
)

// ask sends one request by hand and gives its reply.
func ask(t *testing.T, conn net.Conn, kind wire.Type, payload string) (wire.Type, string) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := conn.Write(wire.AppendMessage(nil, wire.Header{Type: kind, ReqID: 1}, []byte(payload)))
	require.NoError(t, err)
	var head [wire.HeaderSize]byte
	for {
		_, err = io.ReadFull(conn, head[:])
		require.NoError(t, err)
		h, err := wire.ParseHeader(head[:])
		require.NoError(t, err)
		got := make([]byte, h.Len)
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err)
		if h.Type != wire.WatchEvent {
			return h.Type, string(got)
		}
	}
}

// CheckPath allows what Debian's store does and refuses what that does. It differs in two ways, both harmless: the store takes at most 2048 bytes
// after a domain's home, where the documentation has 3072 in all; and for a watch it takes anything after an @.
func TestCheckPathAgainstTheRealStore(t *testing.T) {
	target, _ := xenstoretest.StartReal(t)
	conn, err := net.Dial("unix", strings.TrimPrefix(target, "unix:"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	for _, p := range []string{
		"/", "/a", "/a/b", "a", "a/b", "/A-Z_a@z/09", "/-", "/@/@", "a@", "-", "_/_",
		"", "a/", "/a/", "//", "//a", "/a//b", "a//b", " ", "/a b", "/a.b", "/..", "../a", "/./a", "/\u00e4", "/\xff", "/a\n", "/a:b", "/~", "/a*", "/a\x7f",
		strings.Repeat("a", wire.RelPathMax), "/" + strings.Repeat("a", wire.RelPathMax-1), "/local/domain/7/" + strings.Repeat("a", wire.RelPathMax),
	} {
		kind, reply := ask(t, conn, wire.Read, p+"\x00")
		refused := kind == wire.Error && reply == "EINVAL\x00"
		assert.Equal(t, wire.CheckPath(p) != nil, refused, "READ %.40q: %v %q", p, kind, reply)
	}
	kind, reply := ask(t, conn, wire.Read, "/"+strings.Repeat("a", wire.RelPathMax)+"\x00")
	assert.Equal(t, "ERROR EINVAL\x00", kind.String()+" "+reply, "an error, and no disconnect")
	for i, p := range []string{"@introduceDomain", "@releaseDomain", "/w", "w", "/w/", "w w", "/w//w"} {
		kind, reply := ask(t, conn, wire.Watch, p+"\x00token"+string(rune('a'+i))+"\x00")
		assert.Equal(t, wire.CheckPath(p) != nil, kind == wire.Error, "WATCH %q: %v %q", p, kind, reply)
	}
	kind, reply = ask(t, conn, wire.Read, "@releaseDomain\x00")
	assert.Equal(t, wire.Error, kind)
	assert.Equal(t, "EINVAL\x00", reply)
}

// Permissions that ParsePerm reads are those that the store takes, and gives back as they were.
func TestPermissionsAgainstTheRealStore(t *testing.T) {
	target, _ := xenstoretest.StartReal(t)
	conn, err := net.Dial("unix", strings.TrimPrefix(target, "unix:"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, _ = ask(t, conn, wire.Write, "/p\x00")
	for _, p := range []wire.Perm{{Letter: 'n', DomID: 0}, {Letter: 'r', DomID: 1}, {Letter: 'w', DomID: 2}, {Letter: 'b', DomID: 32751}} {
		kind, reply := ask(t, conn, wire.SetPerms, "/p\x00"+p.String()+"\x00")
		require.Equal(t, wire.SetPerms, kind, reply)
		_, reply = ask(t, conn, wire.GetPerms, "/p\x00")
		got, err := wire.ParsePerm(strings.TrimSuffix(reply, "\x00"))
		require.NoError(t, err)
		assert.Equal(t, p, got)
	}
	for _, p := range []string{"x1", "", "1"} {
		kind, _ := ask(t, conn, wire.SetPerms, "/p\x00"+p+"\x00")
		assert.Equal(t, wire.Error, kind, p)
		_, err := wire.ParsePerm(p)
		assert.Error(t, err)
	}
}
