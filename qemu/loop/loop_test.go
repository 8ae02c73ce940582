package loop_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu/loop"
)

// many makes numbered frames of many sizes.
func many(from, to []byte, n int) (out [][]byte) {
	sizes := []int{18, 60, 64, 200, 590, 1513, 1514}
	for i := range n {
		out = append(out, frame(from, to, sizes[i%len(sizes)], uint32(i)))
	}
	return out
}

// each runs a test with every way to reach the device.
func each(t *testing.T, test func(t *testing.T, kind loop.Kind)) {
	for _, kind := range []loop.Kind{loop.AFPacket, loop.AFXDP} {
		t.Run(kind.String(), func(t *testing.T) { test(t, kind) })
	}
}

func TestFramesBothWays(t *testing.T) {
	each(t, func(t *testing.T, kind loop.Kind) {
		makeHost(t)
		sock, path := listen(t)
		far := openStation(t, "far")
		r := start(t, loop.Config{Listener: sock, Socket: kind})
		assert.Equal(t, kind, r.l.Kind())
		g := dial(t, path, far)
		out, in := many(guestMAC, farMAC, 1000), many(farMAC, guestMAC, 500)
		g.send(out...)
		far.wants(out...)
		far.send(in...)
		g.wants(in...)
		r.until("all are counted", func(c *loop.Counters) bool { return c.ToWire.Frames.Load() == 1001 && c.ToGuest.Frames.Load() >= 500 })
		c := r.l.Count()
		assert.Less(t, c.ToWire.Bursts.Load(), uint64(200), "many by a call")
		assert.Zero(t, c.ToWire.Dropped()+c.ToGuest.Dropped(), c)
		require.NoError(t, r.stop())
	})
}

// The best way is found by trying, where there is none it is the other.
func TestBestWayIsTaken(t *testing.T) {
	makeHost(t)
	sock, _ := listen(t)
	r := start(t, loop.Config{Listener: sock})
	assert.Equal(t, loop.AFXDP, r.l.Kind())
	require.NoError(t, r.stop())
	r = start(t, loop.Config{Listener: sock, MTU: 9000})
	assert.Equal(t, loop.AFPacket, r.l.Kind())
	_, err := loop.Open(loop.Config{Listener: sock, MTU: 9000, Socket: loop.AFXDP, Index: index(t, "vl5.0")})
	require.ErrorContains(t, err, "an MTU of 9000 is too large")
}

// What is not an ordinary frame passes, or is dropped for a reason that is counted.
func TestOddFrames(t *testing.T) {
	each(t, func(t *testing.T, kind loop.Kind) {
		makeHost(t)
		sock, path := listen(t)
		far := openStation(t, "far")
		r := start(t, loop.Config{Listener: sock, Socket: kind})
		g := dial(t, path, far)
		multicast := frame(guestMAC, []byte{0x33, 0x33, 0, 0, 0, 1}, 90, 1)
		ieee8023 := frame(guestMAC, farMAC, 100, 2)
		binary.BigEndian.PutUint16(ieee8023[12:], 86)
		header := frame(guestMAC, farMAC, 14, 3)
		last := frame(guestMAC, farMAC, 1514, 4)
		g.send(multicast, nil, header[:13], ieee8023, header, frame(guestMAC, farMAC, loop.MaxFrame, 5), last)
		far.wants(multicast, ieee8023, header, last)
		r.until("drops", func(c *loop.Counters) bool {
			return c.ToWire.Drops[loop.Short].Load() == 2 && c.ToWire.Drops[loop.Long].Load() == 1
		})
		in := [][]byte{frame(farMAC, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 60, 1), frame(farMAC, guestMAC, 14, 2), frame(farMAC, guestMAC, 1514, 3)}
		far.send(in...)
		g.wants(in...)
	})
}

// VLAN tags are part of the frame, although the kernel has them beside it. (AF_XDP does not see them there: vif-loop has the port put them into the frame.)
func TestVLANTags(t *testing.T) {
	makeHost(t)
	sock, path := listen(t)
	far := openStation(t, "far")
	r := start(t, loop.Config{Listener: sock, Socket: loop.AFPacket})
	g := dial(t, path, far)
	tagged := func(from, to []byte, tag uint32, n uint32) []byte {
		f := frame(from, to, 200, n)
		return append(binary.BigEndian.AppendUint32(bytes.Clone(f[:12]), tag), f[12:]...)
	}
	var in [][]byte
	for i, tag := range []uint32{0x8100<<16 | 7, 0x88a8<<16 | 0xa005, 0x8100<<16 | 0xffe} {
		in = append(in, tagged(farMAC, guestMAC, tag, uint32(i)))
	}
	in = append(in, append(binary.BigEndian.AppendUint32(bytes.Clone(in[0][:12]), 0x88a8<<16|3), in[0][12:]...)) // two of them
	far.send(in...)
	g.wants(in...)
	g.send(tagged(guestMAC, farMAC, 0x8100<<16|7, 9))
	r.until("two frames", func(c *loop.Counters) bool { return c.ToWire.Frames.Load() == 2 })
	assert.Zero(t, r.l.Count().ToWire.Dropped())
}

// Frames longer than a slot of the ring are taken too.
func TestJumboFrames(t *testing.T) {
	for name, mtu := range map[string]int{"foreseen": 9000, "not foreseen": 1500} {
		t.Run(name, func(t *testing.T) {
			makeHost(t)
			for _, d := range []string{"tap5.0", "vl5.0", "wire", "far", "br"} {
				require.NoError(t, bridgetest.SetMTU(d, 9000))
			}
			sock, path := listen(t)
			far := openStation(t, "far")
			r := start(t, loop.Config{Listener: sock, Socket: loop.AFPacket, MTU: mtu})
			g := dial(t, path, far)
			var in, out [][]byte
			for i, n := range []int{9014, 1514, 8000, 2000, 1982, 1983, 60, 9014} {
				in, out = append(in, frame(farMAC, guestMAC, n, uint32(i))), append(out, frame(guestMAC, farMAC, n, uint32(i)))
			}
			far.send(in...)
			g.wants(in...)
			g.send(out...)
			far.wants(out...)
			assert.Zero(t, r.l.Count().ToGuest.Dropped())
		})
	}
}

// A guest that reads no more has its frames dropped and counted. All else goes on, and so does it when it reads again.
func TestGuestStopsReading(t *testing.T) {
	each(t, func(t *testing.T, kind loop.Kind) {
		makeHost(t)
		sock, path := listen(t)
		far := openStation(t, "far")
		r := start(t, loop.Config{Listener: sock, Socket: kind})
		g := dial(t, path, far)
		in := many(farMAC, guestMAC, 10000)
		far.send(in...)
		r.until("the ring is full", func(c *loop.Counters) bool { return c.ToGuest.Drops[loop.Full].Load() > 0 })
		out := many(guestMAC, farMAC, 200)
		g.send(out...)
		far.wants(out...)
		g.wants(in[:1000]...) // the oldest, in order: then there are gaps
		last := frame(farMAC, guestMAC, 60, 1<<20)
		far.send(last)
		for {
			f, err := g.next()
			require.NoError(t, err)
			if bytes.Equal(f, last) {
				break
			}
		}
		c := r.l.Count()
		assert.Positive(t, c.ToGuest.Waits.Load())
		assert.EqualValues(t, 1, c.Connections.Load(), "it is the same connection")
	})
}

// A peer that lies about lengths loses its connection, with what it sent before. The next one is served.
func TestLyingPeer(t *testing.T) {
	each(t, func(t *testing.T, kind loop.Kind) {
		makeHost(t)
		sock, path := listen(t)
		far := openStation(t, "far")
		r := start(t, loop.Config{Listener: sock, Socket: kind})
		for i, lie := range [][]byte{{0, 1, 0x10, 1}, {0xff, 0xff, 0xff, 0xff, 1, 2, 3}, []byte("GET / HTTP/1.1\r\n\r\n")} {
			g := dial(t, path, far)
			good := frame(guestMAC, farMAC, 100, uint32(i))
			_, err := g.Write(append(framed(good), lie...))
			require.NoError(t, err)
			far.wants(good)
			_ = g.SetReadDeadline(time.Now().Add(patience))
			_, err = io.Copy(io.Discard, g)
			if err != nil {
				require.ErrorContains(t, err, "reset by peer") // it had more to say
			}
		}
		r.until("three are broken", func(c *loop.Counters) bool { return c.Broken.Load() == 3 })
		g, good := dial(t, path, far), frame(guestMAC, farMAC, 100, 9)
		g.send(good)
		far.wants(good)
	})
}

// A stream may come byte by byte.
func TestFramesInPieces(t *testing.T) {
	makeHost(t)
	sock, path := listen(t)
	far := openStation(t, "far")
	start(t, loop.Config{Listener: sock})
	g := dial(t, path, far)
	want := [][]byte{frame(guestMAC, farMAC, 64, 1), frame(guestMAC, farMAC, 18, 2)}
	for _, b := range framed(want...) {
		_, err := g.Write([]byte{b})
		require.NoError(t, err)
	}
	far.wants(want...)
}

// QEMU may go, in the middle of a frame too, and come again. What came meanwhile is not given to the next.
func TestQEMURestarts(t *testing.T) {
	each(t, func(t *testing.T, kind loop.Kind) {
		makeHost(t)
		sock, path := listen(t)
		far := openStation(t, "far")
		r := start(t, loop.Config{Listener: sock, Socket: kind})
		for i := range uint32(3) {
			g := dial(t, path, far)
			r.until("connected", func(c *loop.Counters) bool { return c.Connections.Load() == uint64(i+1) })
			out, in := frame(guestMAC, farMAC, 300, 2*i), frame(farMAC, guestMAC, 300, 2*i+1)
			g.send(out)
			far.wants(out)
			far.send(in)
			g.wants(in)
			_, err := g.Write(framed(out)[:100])
			require.NoError(t, err)
			require.NoError(t, g.Close())
			if kind == loop.AFPacket { // the other kernel ring tells nothing of it
				far.send(many(farMAC, guestMAC, 50)...)
			}
		}
		g, in := dial(t, path, far), frame(farMAC, guestMAC, 300, 99)
		r.until("connected", func(c *loop.Counters) bool { return c.Connections.Load() == 4 })
		if kind == loop.AFPacket {
			r.until("stale", func(c *loop.Counters) bool { return c.ToGuest.Drops[loop.Stale].Load() > 0 })
		}
		far.send(in)
		for {
			f, err := g.next()
			require.NoError(t, err)
			if bytes.Equal(f, in) {
				break
			}
		}
	})
}

// QEMU that listens is connected to when its socket appears, without anybody looking for it all the time, and again after it has gone.
func TestConnecting(t *testing.T) {
	makeHost(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "qemu.sock")
	far := openStation(t, "far")
	r := start(t, loop.Config{Path: path})
	for i := range uint32(3) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o600), "not every change is about it")
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		c, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, l.Close()) // and the path goes
		g := &guest{c, t}
		g.meet(far)
		out, in := frame(guestMAC, farMAC, 300, 2*i), frame(farMAC, guestMAC, 300, 2*i+1)
		g.send(out)
		far.wants(out)
		far.send(in)
		g.wants(in)
		require.NoError(t, c.Close())
	}
	assert.EqualValues(t, 3, r.l.Count().Connections.Load())
	require.NoError(t, r.stop())
}

// A socket file that nobody listens at, as a killed QEMU leaves it, is no end.
func TestConnectingAfterQEMUDied(t *testing.T) {
	makeHost(t)
	path := filepath.Join(t.TempDir(), "qemu.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	start(t, loop.Config{Path: path, Root: filepath.Dir(filepath.Dir(path))[:1]})
	require.NoError(t, os.Remove(path))
	l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	c, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, l.Close())
}

func TestConnectingRefuses(t *testing.T) {
	_, err := loop.Open(loop.Config{Path: "/nowhere/qemu.sock"})
	require.ErrorContains(t, err, "watch /nowhere for QEMU's socket: no such file or directory. The directory must be there first")
	_, err = loop.Open(loop.Config{Path: "/tmp/q.sock", Root: "/run"})
	require.ErrorContains(t, err, "QEMU's socket /tmp/q.sock does not lie under /run")
	_, err = loop.Open(loop.Config{})
	require.ErrorContains(t, err, "no socket of QEMU's is given")
}

// A peer that has datagrams alone is served too, and again after it has come anew.
func TestDatagrams(t *testing.T) {
	makeHost(t)
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "loop"), filepath.Join(dir, "qemu")
	bound, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ours, Net: "unixgram"})
	require.NoError(t, err)
	f, err := bound.File()
	require.NoError(t, err)
	require.NoError(t, bound.Close())
	far := openStation(t, "far")
	r := start(t, loop.Config{Path: theirs, Datagram: f})
	require.NoError(t, f.Close())
	for i := range 3 {
		q, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: theirs, Net: "unixgram"})
		require.NoError(t, err)
		r.until("connected", func(c *loop.Counters) bool { return c.Connections.Load() > uint64(i) })
		hello := frame(farMAC, guestMAC, 77, 1<<31)
		b := make([]byte, 4096)
		receive := func(wait time.Duration) []byte {
			_ = q.SetReadDeadline(time.Now().Add(wait))
			n, err := q.Read(b)
			for err == nil && !bytes.Contains(b[:n], farMAC) {
				n, err = q.Read(b)
			}
			return b[:n]
		}
		for far.send(hello); !bytes.Equal(receive(20*time.Millisecond), hello); { // its name may be seen again, and then it is connected once more
			far.send(hello)
		}
		out, in := many(guestMAC, farMAC, 50), many(farMAC, guestMAC, 50)
		for _, f := range out {
			_, err := q.WriteTo(f, &net.UnixAddr{Name: ours, Net: "unixgram"})
			require.NoError(t, err)
		}
		far.wants(out...)
		far.send(in...)
		for _, want := range in {
			got := receive(patience)
			for bytes.Equal(got, hello) {
				got = receive(patience)
			}
			require.Equal(t, want, got)
		}
		require.NoError(t, q.Close())
		require.NoError(t, os.Remove(theirs))
	}
}

// A device that is set down loses frames, and is there again when it is up. One that is deleted is the end.
func TestDeviceGoes(t *testing.T) {
	each(t, func(t *testing.T, kind loop.Kind) {
		makeHost(t)
		sock, path := listen(t)
		far := openStation(t, "far")
		r := start(t, loop.Config{Listener: sock, Socket: kind})
		g := dial(t, path, far)
		out, in := frame(guestMAC, farMAC, 300, 1), frame(farMAC, guestMAC, 300, 2)
		g.send(out)
		far.wants(out)
		require.NoError(t, bridgetest.SetDown("vl5.0"))
		g.send(frame(guestMAC, farMAC, 300, 7))
		if kind == loop.AFPacket {
			r.until("a drop", func(c *loop.Counters) bool { return c.ToWire.Drops[loop.Down].Load() > 0 })
		}
		require.NoError(t, bridgetest.SetUp("vl5.0"))
		got := make(chan error, 1)
		go runRead(g, in, got)
		for arrived := false; !arrived; { // a port that comes up forwards a moment later
			far.send(in)
			select {
			case err := <-got:
				require.NoError(t, err)
				arrived = true
			case <-time.After(time.Millisecond):
			}
		}
		require.NoError(t, bridgetest.Delete("vl5.0"))
		select {
		case err := <-r.done:
			require.ErrorContains(t, err, "the device is gone")
			r.done <- nil
		case <-time.After(patience):
			t.Fatal("the loop has not noticed")
		}
	})
}

// runRead reads until a frame has come.
func runRead(g *guest, want []byte, got chan<- error) {
	for {
		f, err := g.next()
		if err != nil || bytes.Equal(f, want) {
			got <- err
			return
		}
	}
}
