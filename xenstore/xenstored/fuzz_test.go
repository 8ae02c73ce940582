package xenstored

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// record is a request as FuzzServe reads it: who asks, what, in which transaction, how long, and the payload. "/1" in a payload stands for the
// home of domain 1, "|" for a NUL, so that the fuzzer finds paths that mean something.
func record(who byte, what wire.Type, tx byte, payload string) string {
	return string([]byte{who, byte(what), tx, byte(len(payload))}) + payload
}

var fuzzPaths = strings.NewReplacer("/1", "/local/domain/1", "/2", "/local/domain/2", "|", "\x00")

// FuzzServe has domain 0 and two guests send anything: the tree stays one, the quotas hold, and no guest changes what it may not.
func FuzzServe(f *testing.F) {
	f.Add(record(1, wire.Write, 0, "data/a|v") + record(1, wire.Rm, 0, "data|") + record(1, wire.Mkdir, 0, "/1/x|"))
	f.Add(record(1, wire.TransactionStart, 0, "|") + record(1, wire.Write, 1, "t|v") + record(0, wire.Rm, 0, "/1/t|") + record(1, wire.Rm, 1, "/1|") +
		record(1, wire.TransactionEnd, 1, "T|"))
	f.Add(record(0, wire.SetPerms, 0, "/1|n1|b2|") + record(2, wire.Write, 0, "/1/theirs|v") + record(1, wire.SetPerms, 0, "/1|w1|r2|"))
	f.Add(record(2, wire.Watch, 0, "/1|t|") + record(1, wire.Watch, 0, "a|t|") + record(0, wire.Release, 0, "1|") + record(1, wire.Write, 0, "a|v"))
	f.Add(record(0, wire.SetTarget, 0, "1|2|") + record(1, wire.Write, 0, "/2/x|v") + record(0, wire.Introduce, 0, "1|1|1|") + record(1, wire.Read, 0, "/2/x|"))
	f.Add(record(1, wire.TransactionStart, 0, "|") + record(1, wire.Directory, 1, "/1|") + record(1, wire.DirectoryPart, 1, "/1|0|") +
		record(1, wire.ResetWatches, 0, "|"))
	f.Add(record(0, wire.SetPerms, 0, "@releaseDomain|n0|r1|") + record(1, wire.Watch, 0, "@releaseDomain|t|") + record(0, wire.Release, 0, "2|"))
	f.Add(record(1, wire.TransactionStart, 0, "|") + record(1, wire.Read, 1, "late|") + record(0, wire.Write, 0, "/1/late/child|v") +
		record(1, wire.Rm, 1, "late/child|") + record(1, wire.TransactionEnd, 1, "T|")) // was a nil directory
	f.Add(record(1, wire.Write, 0, "a|v") + record(0, wire.SetPerms, 0, "/1/a|r0|") + record(2, wire.Write, 0, "/1/a|w") + record(1, wire.Write, 0, "a|w") +
		record(1, wire.SetPerms, 0, "a|n1|") + record(1, wire.Rm, 0, "a|"))
	f.Fuzz(func(t *testing.T, script string) {
		s := newStore()
		s.quota.nodes, s.quota.watches, s.quota.transactions, s.quota.accesses = 20, 4, 3, 30
		for _, id := range []string{"1", "2"} {
			s.must(t, 0, wire.Introduce, id+"|1|1|")
			s.must(t, 0, wire.Mkdir, "/local/domain/"+id+"|")
			s.must(t, 0, wire.SetPerms, "/local/domain/"+id+"|n"+id+"|")
		}
		var clients [3]*client
		for requests := 0; len(script) >= 4 && requests < 100; requests++ {
			who, h, size := script[0]%3, wire.Header{Type: wire.Type(script[1] % 32), ReqID: 9, TxID: uint32(script[2] % 4)}, int(script[3])
			payload := script[4:min(4+size, len(script))]
			script = script[4+len(payload):]
			if clients[who] == nil || clients[who].dom == nil {
				clients[who] = s.client(domID(who))
			}
			serveOne(t, s, clients[who], h, []byte(fuzzPaths.Replace(payload)))
		}
	})
}

func serveOne(t *testing.T, s *store, c *client, h wire.Header, payload []byte) {
	who, before, owned := *c.dom, s.snapshot(), s.owned[c.dom.id]
	s.handle(c, h, payload)
	if !who.privileged() {
		checkRights(t, who, before, s.nodes)
		require.LessOrEqual(t, s.owned[who.id], max(owned, s.quota.nodes), "domain 0 may give a domain more than it can take")
	}
	replies := 0
	for out := c.out; len(out) > 0; {
		got, err := wire.ParseHeader(out)
		require.NoError(t, err)
		require.LessOrEqual(t, got.Len, uint32(wire.PayloadMax))
		if got.Type != wire.WatchEvent {
			require.Equal(t, h.ReqID, got.ReqID)
			replies++
		}
		out = out[wire.HeaderSize+got.Len:]
	}
	require.Equal(t, 1, replies, "answers to one request")
	for c := range s.clients {
		c.out = nil
	}
	check(t, s)
}
