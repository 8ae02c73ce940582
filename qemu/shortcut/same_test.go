package shortcut

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// lan is a host whose far ends a test sends by, and hears. Its first guest has two ports, whose ends are g1 and h1.
type lan struct {
	*host
	ends map[string]*end
	own  MAC // the bridge's
	fdb  map[MAC]string
	fast bool
	got  map[string][][]byte // by end
}

var portOf = map[string]string{"g1": "p1", "h1": "q1", "g2": "p2", "w": "up"}

// newLAN has the second guest and the uplink take long frames, and the first guest none above 1500 bytes. The bridge hands nothing to the IP firewall: that
// drops what is no good IP, and the shortcut is not to be had with it.
func newLAN(t *testing.T, fast bool) *lan {
	t.Helper()
	l := &lan{host: newHost(t), ends: map[string]*end{}, fdb: map[MAC]string{}, fast: fast, got: map[string][][]byte{}}
	for _, n := range []string{"p2", "g2", "up", "w"} {
		require.NoError(t, bridgetest.SetMTU(n, 9000))
	}
	for _, n := range []string{"iptables", "ip6tables", "arptables"} {
		if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+n, []byte("0"), 0); !os.IsNotExist(err) {
			require.NoError(t, err)
		}
	}
	b, err := os.ReadFile("/sys/class/net/br/address")
	require.NoError(t, err)
	for i := range l.own {
		_, err := fmt.Sscanf(string(b[3*i:3*i+2]), "%02x", &l.own[i])
		require.NoError(t, err)
	}
	for n := range portOf {
		l.ends[n] = l.end(n)
		require.NoError(t, unix.SetsockoptInt(l.ends[n].fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
		require.NoError(t, unix.SetsockoptInt(l.ends[n].fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	}
	if fast {
		other := l.guest("1")
		other.Index = l.index["q1"]
		second, up := l.guest("2"), l.uplink()
		second.MTU, up.MTU = 9000, 9000
		for _, p := range []Port{l.guest("1"), other, second, up} {
			require.NoError(t, l.Set(p))
		}
	}
	return l
}

// put sends a frame from an end, and then says what the bridge has learned from it, as its notifications do.
func (l *lan) put(from string, frame []byte) {
	l.t.Helper()
	_, err := unix.Write(l.ends[from].fd, frame)
	require.NoError(l.t, err)
	l.hear(0)
	source := MAC(frame[6:12])
	if l.fdb[source] == from || source[0]&1 != 0 || source == (MAC{}) || !l.fast {
		return
	}
	l.fdb[source] = from
	if source == macs["g1"] && (from == "g1" || from == "h1") || source == macs["g2"] && from == "g2" {
		return // at its own port, where the program saw it
	}
	require.NoError(l.t, l.Learn(l.index["br"], source, 0, l.index[portOf[from]]))
}

// hear takes what has come in at the ends, until nothing comes for a time.
func (l *lan) hear(wait time.Duration) {
	l.t.Helper()
	for name, e := range l.ends {
		for {
			f := e.taken(wait)
			if f == nil {
				break
			}
			l.got[name] = append(l.got[name], f)
		}
	}
}

// taken is the next frame that came in at an end, with the tag that the kernel has taken out of it behind; nil: there is none.
func (e *end) taken(wait time.Duration) []byte {
	e.t.Helper()
	b, aux := make([]byte, 65536), make([]byte, 256)
	for bridgetest.Readable(e.fd, wait) {
		n, m, _, from, err := unix.Recvmsg(e.fd, b, aux, 0)
		require.NoError(e.t, err)
		if s, ok := from.(*unix.SockaddrLinklayer); !ok || s.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		msgs, err := unix.ParseSocketControlMessage(aux[:m])
		require.NoError(e.t, err)
		var tag []byte
		for _, c := range msgs {
			// struct tpacket_auxdata (linux: include/uapi/linux/if_packet.h)
			if c.Header.Type == unix.PACKET_AUXDATA && binary.NativeEndian.Uint32(c.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
				tag = bytes.Clone(c.Data[16:20])
			}
		}
		return append(b[:n], tag...)
	}
	return nil
}

// frames are what a seed has the ends send: known and unknown stations, groups, the host itself, each kind of frame that a LAN has, and guests that move.
func frames(seed uint64, n int, own MAC) (from []string, data [][]byte) {
	d := dice{rand.New(rand.NewPCG(seed, 1))}
	at := "g1" // the first guest's port in use
	for i := range n {
		if d.IntN(200) == 0 {
			at = map[string]string{"g1": "h1", "h1": "g1"}[at]
		}
		end := roll(d, at, "g2", "w")
		source := map[string]MAC{"g1": macs["g1"], "h1": macs["g1"], "g2": macs["g2"], "w": macs["w"]}[end]
		if d.IntN(40) == 0 || end == "w" && d.IntN(3) == 0 {
			source = roll(d, strangers...)
		}
		to := roll(d, macs["g1"], macs["g2"], macs["w"])
		if d.IntN(4) == 0 {
			to = roll(d, append([]MAC{own, {2, 0, 0, 0, 0x77, 1}}, strangers...)...)
		}
		most := map[string]int{"g1": 1514, "h1": 1514, "g2": 9014, "w": 9014}[end]
		f := make([]byte, min(most, roll(d, 18, 60, 64, 590, 1513, 1514, 1515, 1518, 1519, 2000, 9014)))
		for j := 14; j < len(f); j++ {
			f[j] = byte(d.Uint32())
		}
		copy(f, to[:])
		copy(f[6:], source[:])
		head(d, f)
		if len(f) >= 30 {
			binary.BigEndian.PutUint64(f[len(f)-8:], uint64(i)) // so that each is one of a kind
		}
		from, data = append(from, end), append(data, f)
	}
	return from, data
}

// head gives a frame its type, and the headers that belong to it.
func head(d dice, f []byte) {
	kind := f[12:]
	put := func(at int, b ...byte) {
		if len(kind) >= at+len(b) {
			copy(kind[at:], b)
		}
	}
	k := d.IntN(10)
	if len(f) < 20 {
		k = 9 // the kernel drops a tag with nothing in it before anybody sees it (linux: net/core/skbuff.c skb_vlan_untag)
	}
	switch k {
	case 0: // IPv4, a first fragment
		put(0, 8, 0, 0x45, 0, 5, 0xdc, 0, 1, 0x20, 0, 64, 17)
	case 1: // and a last one
		put(0, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 185, 64, 17)
	case 2: // DHCP
		put(0, 8, 0, 0x45, 0, 1, 72, 0, 0, 0, 0, 64, 17)
		put(22, 0, 68, 0, 67)
	case 3: // ARP
		put(0, 8, 6, 0, 1, 8, 0, 6, 4, 0, byte(1+d.IntN(2)))
	case 4: // neighbour discovery
		put(0, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255)
		put(42, byte(135+d.IntN(2)), 0)
	case 5: // 802.1Q
		put(0, 0x81, 0, 0, byte(d.IntN(120)), 8, 0)
	case 6: // QinQ
		put(0, 0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 8, 0)
	case 7: // 802.3, with its length
		put(0, 0, 46, 0x42, 0x42, 3)
	default:
		put(0, 0x88, 0xb5)
	}
}

// TestSame sends the same frames through a bridge alone and through one with the shortcut: at each end the same must come out, each flow's in its order.
func TestSame(t *testing.T) {
	const n = 12_000
	for seed := range uint64(2) {
		var outcome [2]map[string][][]byte
		for i, fast := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/%v", seed, fast), func(t *testing.T) {
				l := newLAN(t, fast)
				from, data := frames(seed, n, l.own)
				for i, f := range data {
					l.put(from[i], f)
				}
				l.hear(100 * time.Millisecond)
				outcome[i] = l.got
				for _, own := range l.got {
					for _, f := range own {
						blank(f, l.own)
					}
				}
				if fast {
					l.most(n / 6)
				}
			})
		}
		for name := range portOf {
			assert.NotEmpty(t, outcome[0][name])
			a, b := flows(outcome[0][name]), flows(outcome[1][name])
			for k := range a {
				assert.Equal(t, len(a[k]), len(b[k]), "seed %d: %s has had other frames of %s", seed, name, k)
				for i := range min(len(a[k]), len(b[k])) {
					require.True(t, bytes.Equal(a[k][i], b[k][i]), "seed %d: frame %d of %s at %s", seed, i, k, name)
				}
			}
			assert.Equal(t, len(a), len(b), "seed %d: flows at %s", seed, name)
		}
	}
}

// blank has frames for a bridge's own address, which differs each time, be the same.
func blank(f []byte, own MAC) {
	if bytes.HasPrefix(f, own[:]) {
		clear(f[:6])
	}
}

// most asserts that at least so many frames have taken the shortcut: a test of nothing passes too.
func (l *lan) most(n int) {
	l.t.Helper()
	var sum uint64
	for _, p := range portOf {
		c, err := l.Counters(l.index[p])
		require.NoError(l.t, err)
		l.t.Logf("%s %+v", p, c)
		sum += c.Redirected
	}
	assert.Greater(l.t, sum, uint64(n))
}

// flows sorts frames by who sent them to whom. What the kernel's own stacks have sent is none of ours.
func flows(frames [][]byte) map[string][][]byte {
	out := map[string][][]byte{}
	for _, f := range frames {
		if slices.Contains(strangers, MAC(f[6:12])) {
			k := fmt.Sprintf("% x", f[:12])
			out[k] = append(out[k], f)
		}
	}
	return out
}
