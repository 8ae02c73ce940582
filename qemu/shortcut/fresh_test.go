package shortcut

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBridgeIsShownSendersAgain has the bridge know of guests that speak by the shortcut alone, so that it forgets none of them. The time that must pass is
// taken away from what the programs remember.
func TestBridgeIsShownSendersAgain(t *testing.T) {
	h := newHost(t)
	require.NoError(t, h.Set(h.guest("1")))
	require.NoError(t, h.Set(h.uplink()))
	require.NoError(t, h.Learn(h.index["br"], macs["w"], 0, h.index["up"]))
	g, w := h.end("g1"), h.end("w")
	send := func(e, to *end, from, dst MAC) {
		t.Helper()
		e.send(from, dst, 64)
		require.NotNil(t, to.got(2*time.Second))
	}
	passed := func(port string) uint64 {
		c, err := h.Counters(h.index[port])
		require.NoError(t, err)
		return c.Passed.Learn
	}
	send(g, w, macs["g1"], macs["w"])
	send(w, g, macs["w"], macs["g1"])
	for _, port := range []string{"p1", "up"} {
		require.EqualValues(t, 1, passed(port), port)
	}
	for range 3 {
		send(g, w, macs["g1"], macs["w"])
		send(w, g, macs["w"], macs["g1"])
	}
	for _, port := range []string{"p1", "up"} {
		require.EqualValues(t, 1, passed(port), port)
	}
	_, err := h.memories.v.WriteAt(make([]byte, 8), int64(h.ports[h.index["p1"]].id*portSize+portLast))
	require.NoError(t, err)
	_, err = h.ports[h.index["up"]].sources.v.WriteAt(make([]byte, mostSources*8), 0)
	require.NoError(t, err)
	for range 3 {
		send(g, w, macs["g1"], macs["w"])
		send(w, g, macs["w"], macs["g1"])
	}
	for _, port := range []string{"p1", "up"} {
		require.EqualValues(t, 2, passed(port), port)
	}
}
