package xenstored

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// peer is a test's end of a connection.
type peer struct {
	t    *testing.T
	conn net.Conn
}

func (s *Server) peer(t *testing.T, domid uint16) peer {
	t.Helper()
	here, there := net.Pipe()
	s.ServeConn(there, domid)
	t.Cleanup(func() { _ = here.Close() })
	return peer{t, here}
}

func message(what wire.Type, payload string) []byte {
	return wire.AppendMessage(nil, wire.Header{Type: what, ReqID: 1}, []byte(strings.ReplaceAll(payload, "|", "\x00")))
}

func receive(c net.Conn) (wire.Header, string, error) {
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return wire.Header{}, "", err
	}
	h, err := wire.ParseHeader(head[:])
	if err != nil || h.Len > wire.PayloadMax {
		return h, "", errors.Join(err, fmt.Errorf("a message of %d bytes", h.Len))
	}
	body := make([]byte, h.Len)
	_, err = io.ReadFull(c, body)
	return h, strings.ReplaceAll(string(body), "\x00", "|"), err
}

// ask sends a request and gives its reply; events before it are dropped.
func (p peer) ask(what wire.Type, payload string) string {
	p.t.Helper()
	_, err := p.conn.Write(message(what, payload))
	require.NoError(p.t, err)
	for {
		h, body, err := receive(p.conn)
		require.NoError(p.t, err)
		if h.Type != wire.WatchEvent {
			return body
		}
	}
}

func (s *Server) connections() int {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return len(s.store.clients)
}

func TestWatcherThatNeverReadsIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil)
		deaf, busy := s.peer(t, 0), s.peer(t, 0)
		require.Equal(t, "OK|", deaf.ask(wire.Watch, "/|"+strings.Repeat("t", 3000)+"|"))
		_, _, err := receive(deaf.conn) // the event of the registration
		require.NoError(t, err)
		most, written := 3*fullEvents/3000, 0
		for ; s.connections() == 2; written++ {
			require.Less(t, written, most, "the watcher is not dropped")
			require.Equal(t, "OK|", busy.ask(wire.Write, fmt.Sprintf("/n/%d|", written)))
			synctest.Wait()
		}
		assert.Greater(t, written, fullEvents/4000, "it has time to read")
		assert.Equal(t, "", busy.ask(wire.Read, "/n/0|"))
		require.NoError(t, s.Close())
	})
}

func TestClientThatSendsWithoutReadingIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(nil)
		eager := s.peer(t, 0)
		const requests, size = 3000, 4000
		const most = 2*fullReplies/size + 2*wire.PayloadMax/20 // replies queued and being sent, and requests in the reader's buffer
		require.Equal(t, "OK|", eager.ask(wire.Write, "/big|"+strings.Repeat("v", size)))
		var sent int
		done := make(chan error, 1)
		go runSend(eager.conn, requests, &sent, done)
		synctest.Wait()
		assert.Less(t, sent, most, "requests are taken without end") // read while runSend is blocked
		for range requests {
			_, body, err := receive(eager.conn)
			require.NoError(t, err)
			require.Len(t, body, size)
		}
		require.NoError(t, <-done)
		require.NoError(t, s.Close())
	})
}

func runSend(c net.Conn, requests int, sent *int, done chan<- error) {
	for *sent < requests {
		if _, err := c.Write(message(wire.Read, "/big|")); err != nil {
			done <- err
			return
		}
		*sent++
	}
	done <- nil
}

func TestMessagesThatAreNone(t *testing.T) {
	tooLong := message(wire.Write, "")
	tooLong[12], tooLong[13] = 0x01, 0x10 // 4097
	for name, c := range map[string]struct {
		send    []byte
		dropped bool // by the server; else the rest is awaited
	}{
		"one byte too long":   {tooLong, true},
		"four gigabytes":      {append(make([]byte, 12), 0xff, 0xff, 0xff, 0xff), true},
		"all ones":            {[]byte(strings.Repeat("\xff", 16)), true},
		"half a header":       {make([]byte, 7), false},
		"a header alone":      {message(wire.Write, "/never|written")[:wire.HeaderSize], false},
		"payload without end": {message(wire.Write, "/never|written")[:wire.HeaderSize+9], false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(nil)
				bad, good := s.peer(t, 0), s.peer(t, 0)
				_, err := bad.conn.Write(c.send)
				require.NoError(t, err)
				if c.dropped {
					_, _, err = receive(bad.conn)
					assert.ErrorIs(t, err, io.EOF)
				}
				assert.Equal(t, "tool|", good.ask(wire.Directory, "/|"), "others are served, nothing was written")
				require.NoError(t, bad.conn.Close())
				synctest.Wait()
				assert.Equal(t, 1, s.connections())
				require.NoError(t, s.Close())
			})
		})
	}
}

func TestMessagesInPieces(t *testing.T) {
	s := New(nil)
	p := s.peer(t, 0)
	for _, b := range message(wire.Write, "/a/b|value") {
		_, err := p.conn.Write([]byte{b})
		require.NoError(t, err)
	}
	_, body, err := receive(p.conn)
	require.NoError(t, err)
	assert.Equal(t, "OK|", body)
	both := append(message(wire.Read, "/a/b|"), message(wire.Directory, "/a|")...)
	_, err = p.conn.Write(both)
	require.NoError(t, err)
	for _, want := range []string{"value", "b|"} {
		_, body, err = receive(p.conn)
		require.NoError(t, err)
		assert.Equal(t, want, body)
	}
	require.NoError(t, s.Close())
}

func TestManyConnectionsAtOnce(t *testing.T) {
	s := New(nil)
	const many = 300
	var wg sync.WaitGroup
	answers := make([]string, many)
	for i := range many {
		p := s.peer(t, 0)
		wg.Go(func() {
			me := fmt.Sprintf("/many/%d|", i)
			if p.ask(wire.Watch, me+"t|") == "OK|" && p.ask(wire.Write, me+me) == "OK|" {
				answers[i] = p.ask(wire.Read, me)
			}
		})
	}
	wg.Wait()
	for i, a := range answers {
		assert.Equal(t, fmt.Sprintf("/many/%d|", i), a)
	}
	assert.Equal(t, many, strings.Count(s.peer(t, 0).ask(wire.Directory, "/many|"), "|"))
	check(t, s.store)
	require.NoError(t, s.Close())
	assert.Zero(t, s.connections())
}

func TestCloseEndsClientsInTransactions(t *testing.T) {
	s := New(nil)
	p := s.peer(t, 0)
	require.Equal(t, "1|", p.ask(wire.TransactionStart, "|"))
	_, err := p.conn.Write(wire.AppendMessage(nil, wire.Header{Type: wire.Write, TxID: 1}, []byte("/in\x00side")))
	require.NoError(t, err)
	_, body, err := receive(p.conn)
	require.NoError(t, err)
	require.Equal(t, "OK|", body)
	require.NoError(t, s.Close())
	_, _, err = receive(p.conn)
	assert.ErrorIs(t, err, io.EOF)
	assert.Nil(t, s.store.nodes["/in"])
	assert.Zero(t, s.connections())
}

// A request that was on its way when its domain died does nothing: the next domain with the id would own what it made.
func TestRequestsOfTheDead(t *testing.T) {
	s := newStore()
	s.introduce(1)
	s.must(t, 0, wire.Mkdir, "/local/domain/1|")
	s.must(t, 0, wire.SetPerms, "/local/domain/1|n1|")
	c := s.client(1)
	s.do(c, wire.Header{Type: wire.Watch}, "a|t|")
	require.NoError(t, s.release(1))
	c.out = nil
	s.do(c, wire.Header{Type: wire.Write}, "a|v")
	s.do(c, wire.Header{Type: wire.Write}, "/local/domain/1/a|v")
	assert.Empty(t, c.out)
	assert.Nil(t, s.nodes["/local/domain/1"])
	s.must(t, 0, wire.Write, "/local/domain/1/a|v")
	assert.Empty(t, c.out, "its watches are gone")
	check(t, s)
}

// A guest that names ever new domains in permissions does not fill the memory.
func TestDomainsNamedInPermissionsAreBounded(t *testing.T) {
	s := newStore()
	s.must(t, 0, wire.Write, "/a|")
	for i := range 100 {
		s.must(t, 0, wire.SetPerms, fmt.Sprintf("/a|n0|r%d|", 40000+i))
	}
	assert.Len(t, s.domains, 1)
}

// A child more must not copy its brothers.
func TestLargeDirectoriesGrowCheaply(t *testing.T) {
	s := newStore()
	c := s.client(0)
	const many, more = 10000, 1000
	create := func(from, n int) {
		for i := range n {
			s.do(c, wire.Header{Type: wire.Mkdir}, fmt.Sprintf("/dir/%d|", from+i))
			c.out = c.out[:0]
		}
	}
	create(0, many)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	create(many, more)
	runtime.ReadMemStats(&after)
	require.Len(t, s.nodes["/dir"].children, many+more)
	assert.Less(t, (after.TotalAlloc-before.TotalAlloc)/more, uint64(8<<10), "bytes for one child; a copy of the list is 160 kB")
}
