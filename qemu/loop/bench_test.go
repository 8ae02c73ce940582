package loop_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu/loop"
)

// The addresses of a conversation with far's kernel.
var (
	guestIP = netip.MustParseAddr("192.0.2.5")
	farIP   = netip.MustParsePrefix("192.0.2.9/24")
)

func hardware(t testing.TB, dev string) net.HardwareAddr {
	t.Helper()
	b, err := os.ReadFile("/sys/class/net/" + dev + "/address")
	require.NoError(t, err)
	mac, err := net.ParseMAC(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	return mac
}

// echo is an ICMP echo request in a frame of 64 bytes.
func echo(to net.HardwareAddr) []byte {
	b := slices.Concat(to, guestMAC, []byte{8, 0})
	ip := make([]byte, 20+8+22)
	ip[0], ip[8], ip[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], guestIP.AsSlice())
	copy(ip[16:], farIP.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	ip[20] = 8
	binary.BigEndian.PutUint16(ip[22:], checksum(ip[20:]))
	return append(b, ip...)
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// arpReply says where the guest is.
func arpReply(to net.HardwareAddr) []byte {
	return slices.Concat(to, guestMAC, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 2}, guestMAC, guestIP.AsSlice(), to, farIP.Addr().AsSlice())
}

// rawGuest is a QEMU that waits in the kernel, as QEMU does, not in Go's poller.
func rawGuest(t testing.TB) (fd int, conn *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fds[0]) })
	f := os.NewFile(uintptr(fds[1]), "qemu")
	t.Cleanup(func() { _ = f.Close() })
	return fds[0], f
}

// eachKind runs a benchmark with every way to reach the device, with processors enough for a stand-in for QEMU beside the loop's two threads:
// elsewhere it is a process of its own.
func eachKind(b *testing.B, bench func(b *testing.B, kind loop.Kind)) {
	for _, kind := range []loop.Kind{loop.AFPacket, loop.AFXDP} {
		b.Run(kind.String(), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(6))
			bench(b, kind)
		})
	}
}

// A flow of echoes: each is sent when the last has come back. The guest sleeps until then.
func BenchmarkRoundTrip(b *testing.B) {
	eachKind(b, func(b *testing.B, kind loop.Kind) {
		makeHost(b)
		require.NoError(b, bridgetest.AddAddress("far", farIP))
		fd, conn := rawGuest(b)
		start(b, loop.Config{Conn: conn, Socket: kind})
		mac := hardware(b, "far")
		request, arp, reply := framed(echo(mac)), framed(arpReply(mac)), make([]byte, 1<<16)
		times := make([]time.Duration, 0, b.N)
		b.ResetTimer()
		for range b.N {
			begin := time.Now()
			_, err := unix.Write(fd, request)
			require.NoError(b, err)
			for echoed := false; !echoed; {
				n, err := unix.Read(fd, reply)
				require.NoError(b, err)
				for f := reply[:n]; len(f) > 38 && !echoed; f = f[4+binary.BigEndian.Uint32(f):] {
					echoed = f[16] == 8 && f[17] == 0 && f[38] == 0
					if f[16] == 8 && f[17] == 6 {
						_, _ = unix.Write(fd, arp)
					}
				}
			}
			times = append(times, time.Since(begin))
		}
		b.StopTimer()
		slices.Sort(times)
		for name, share := range map[string]float64{"p50-us": 0.5, "p99-us": 0.99, "p999-us": 0.999} {
			b.ReportMetric(float64(times[int(share*float64(len(times)-1))].Nanoseconds())/1e3, name)
		}
	})
}

// cpu is what the calling thread, or the process, has used.
func cpu(who int) time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Frames from QEMU to far, where they are dropped, as fast as they go. ns/op is the time a frame takes; loop-ns is the loop's CPU time for it.
func BenchmarkToWire(b *testing.B) {
	for name, size := range map[string]int{"64B": 64, "1514B": 1514} {
		b.Run(name, func(b *testing.B) {
			eachKind(b, func(b *testing.B, kind loop.Kind) {
				makeHost(b)
				fd, conn := rawGuest(b)
				r := start(b, loop.Config{Conn: conn, Socket: kind})
				one := framed(frame(guestMAC, farMAC, size, 1))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				all, own := cpu(syscall.RUSAGE_SELF), cpu(syscall.RUSAGE_THREAD)
				for range b.N { // a write a frame, as QEMU's
					if _, err := unix.Write(fd, one); err != nil {
						b.Fatal(err)
					}
				}
				r.until("all are sent", func(c *loop.Counters) bool { return c.ToWire.Frames.Load() >= uint64(b.N) })
				b.StopTimer()
				spent := (cpu(syscall.RUSAGE_SELF) - all) - (cpu(syscall.RUSAGE_THREAD) - own)
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "loop-ns")
				b.ReportMetric(float64(b.N)/float64(r.l.Counters.ToWire.Bursts.Load()), "frames/burst")
			})
		})
	}
}
