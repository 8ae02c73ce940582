package bridge

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// station is where the frames of bridgetest come from.
var station = MAC{0, 0x16, 0x3e, 0, 0, 1}

// speak has a device send a frame from the station, and waits until the bridge has brought it to another.
func speak(t *testing.T, from, to string) {
	t.Helper()
	_, err := bridgetest.Frame(from, to)
	require.NoError(t, err)
}

// stations are the entries of a bridge that its ports did not make themselves.
func stations(t *testing.T, c *Conn, bridge int) []FDBEntry {
	t.Helper()
	all, err := c.FDB(bridge)
	require.NoError(t, err)
	return slices.DeleteFunc(all, func(e FDBEntry) bool { return e.Local })
}

func TestFDB(t *testing.T) {
	c, _ := isolated(t)
	br, elsewhere := bridgeOf(t, "xenbr0"), bridgeOf(t, "xenbr1")
	a, b := port(t, c, "xenbr0", "vif5.0", "g5.0"), port(t, c, "xenbr0", "vif6.0", "g6.0")
	require.NoError(t, c.Configure("g5.0", Settings{KeyMAC: "02:00:00:00:00:05"})) // what a peer sends itself is learned, too
	assert.Empty(t, stationsOf(t, c, br, station))
	speak(t, "g5.0", "g6.0")
	assert.Equal(t, []FDBEntry{{MAC: station, Port: a, Bridge: br}}, stationsOf(t, c, br, station))
	speak(t, "g6.0", "g5.0")
	assert.Equal(t, []FDBEntry{{MAC: station, Port: b, Bridge: br}}, stationsOf(t, c, br, station), "it has moved")

	fixed := MAC{2, 0, 0, 0, 0, 9}
	addFDB(t, c, a, fixed, unix.NUD_NOARP, ntfSticky)
	want := []FDBEntry{{MAC: fixed, Port: a, Bridge: br, Static: true, Sticky: true}}
	if os.Getenv("XENVM") != "" { // a kernel that knows VLANs of bridges puts it in the port's as well
		want = append(want, want[0])
		want[1].VLAN = 1
	}
	assert.ElementsMatch(t, want, stationsOf(t, c, br, fixed))
	all, err := c.FDB(br)
	require.NoError(t, err)
	own := MAC{}
	l, err := c.Link(a)
	require.NoError(t, err)
	for _, e := range all {
		assert.Equal(t, br, e.Bridge)
		if e.Local && e.Port == a {
			own = e.MAC
		}
	}
	assert.Equal(t, l.MAC, own, "a port's own address is the host's")
	assert.Empty(t, stations(t, c, elsewhere))

	require.NoError(t, bridgetest.Delete("xenbr0"))
	_, err = c.FDB(br)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = c.FDB(0)
	require.ErrorIs(t, err, ErrNotFound)
}

func stationsOf(t *testing.T, c *Conn, bridge int, mac MAC) []FDBEntry {
	t.Helper()
	return slices.DeleteFunc(stations(t, c, bridge), func(e FDBEntry) bool { return e.MAC != mac })
}

// addFDB puts a station behind a port.
func addFDB(t *testing.T, c *Conn, port int, mac MAC, state uint16, flags uint8) {
	t.Helper()
	req := fdbRequest(port, mac, state, flags|unix.NTF_MASTER)
	_, err := c.execute(unix.RTM_NEWNEIGH, netlink.Acknowledge|netlink.Create, req)
	require.NoError(t, err)
}

func fdbRequest(port int, mac MAC, state uint16, flags uint8) []byte {
	req := make([]byte, ndmsg)
	req[0], req[10] = unix.AF_BRIDGE, flags
	binary.NativeEndian.PutUint32(req[4:], uint32(port))
	binary.NativeEndian.PutUint16(req[8:], state)
	return appendAttr(req, unix.NDA_LLADDR, mac[:])
}

// fdbReply is the kernel's message about a station.
func fdbReply(port, bridge int, mac MAC, state uint16, flags uint8) []byte {
	return appendUint32(fdbRequest(port, mac, state, flags), unix.NDA_MASTER, uint32(bridge))
}

func TestDecodeFDB(t *testing.T) {
	b := fdbReply(7, 3, station, unix.NUD_REACHABLE, unix.NTF_EXT_LEARNED|unix.NTF_OFFLOADED)
	b = appendAttr(b, unix.NDA_VLAN, binary.NativeEndian.AppendUint16(nil, 20))
	b = appendUint32(b, ndaFlags, ntfLocked)
	e, ok := decodeFDB(b)
	assert.True(t, ok)
	assert.Equal(t, FDBEntry{MAC: station, VLAN: 20, Port: 7, Bridge: 3, Learned: true, Offload: true, Blocked: true}, e)
	e, ok = decodeFDB(fdbReply(7, 3, station, unix.NUD_STALE, 0))
	assert.True(t, ok)
	assert.True(t, e.Stale)
	inet := fdbReply(7, 3, station, 0, 0)
	inet[0] = unix.AF_INET
	for what, b := range map[string][]byte{
		"a device's own list": fdbReply(7, 3, station, 0, unix.NTF_SELF), "no bridge": fdbRequest(7, station, 0, 0), "a neighbour": inet, "nothing": nil,
	} {
		_, ok := decodeFDB(b)
		assert.False(t, ok, what)
	}
}

func TestDecodeFDBAllocatesNothing(t *testing.T) {
	b := fdbReply(7, 3, station, unix.NUD_REACHABLE, 0)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if _, ok := decodeFDB(b); !ok {
			t.Fail()
		}
	}))
}

func FuzzDecodeFDB(f *testing.F) {
	f.Add(fdbReply(7, 3, station, unix.NUD_REACHABLE, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := decodeFDB(b); ok && (e.Bridge == 0 || len(b) < ndmsg) {
			t.Errorf("%+v", e)
		}
	})
}

func BenchmarkFDB(b *testing.B) {
	msg := fdbReply(7, 3, station, unix.NUD_REACHABLE, 0)
	var p PathChange
	for b.Loop() {
		p.FDB = p.FDB[:0]
		p.message(unix.RTM_NEWNEIGH, msg)
	}
}
