package shortcut

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestTagsOnRealPorts has a guest of VLAN 7 reach the uplink, which carries that VLAN tagged, and be reached from there. The bridge beneath does not filter,
// and so would let neither gain nor lose its tag: what has, has taken the shortcut.
func TestTagsOnRealPorts(t *testing.T) {
	h := newHost(t)
	p, u := h.guest("1"), h.uplink()
	p.VLAN, u.Tagged, u.PVID = 7, []int{7}, 1
	require.NoError(t, h.Set(p))
	require.NoError(t, h.Set(u))
	require.NoError(t, h.Learn(h.index["br"], macs["w"], 7, u.Index))
	g, w := h.end("g1"), h.end("w")
	for _, e := range []*end{g, w} {
		require.NoError(t, unix.SetsockoptInt(e.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	}
	tag := make([]byte, 4) // TCI, and the protocol, as the kernel tells them
	tag[0], tag[2], tag[3] = 7, 0x00, 0x81

	g.send(macs["g1"], macs["w"], 64)
	require.Len(t, w.taken(time.Second), 64, "the bridge is shown the guest's first frame")
	g.send(macs["g1"], macs["w"], 64)
	f := w.taken(time.Second)
	require.Len(t, f, 64+4)
	require.Equal(t, tag, f[64:])

	back := make([]byte, 68)
	to, from := macs["g1"], macs["w"]
	copy(back, to[:])
	copy(back[6:], from[:])
	copy(back[12:], []byte{0x81, 0, 0, 7, 0x88, 0xb5})
	for _, want := range []int{64 + 4, 64} { // the first is shown to the bridge, tag and all
		_, err := unix.Write(w.fd, back)
		require.NoError(t, err)
		require.Len(t, g.taken(time.Second), want)
	}
	back[15] = 8 // a VLAN that the uplink does not carry is the bridge's affair
	_, err := unix.Write(w.fd, back)
	require.NoError(t, err)
	require.Len(t, g.taken(time.Second), 64+4)
	c, err := h.Counters(u.Index)
	require.NoError(t, err)
	require.EqualValues(t, 1, c.Redirected)
	require.EqualValues(t, 1, c.Passed.VLAN)
}
