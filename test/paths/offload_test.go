package paths

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu/shortcut"
)

// vnetLen is the length of struct virtio_net_hdr, the header of frames at a tap that has one (linux: include/uapi/linux/virtio_net.h).
const vnetLen = 10

// tap makes a tap on the bridge, as QEMU has it: with that header and super-frames, or with neither.
func (l *lan) tap(name string, offloads bool) int {
	l.t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(l.t, err)
	l.t.Cleanup(func() { assert.NoError(l.t, unix.Close(fd)) })
	r, err := unix.NewIfreq(name)
	require.NoError(l.t, err)
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if offloads {
		flags |= unix.IFF_VNET_HDR
	}
	r.SetUint16(flags)
	require.NoError(l.t, unix.IoctlIfreq(fd, unix.TUNSETIFF, r))
	if offloads {
		require.NoError(l.t, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4))
	}
	require.NoError(l.t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0))
	require.NoError(l.t, bridgetest.SetMaster(name, "br"))
	require.NoError(l.t, bridgetest.SetUp(name))
	l.index[name], err = bridgetest.Index(name)
	require.NoError(l.t, err)
	return fd
}

// sum is the one's complement sum that IP, TCP and UDP have (RFC 1071), not yet inverted.
func sum(b []byte, s uint32) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return s
}

// pseudo is the sum of the header that TCP's checksum covers in IP's place.
func pseudo(ip []byte, length int) uint32 { return sum(ip[12:20], uint32(6+length)) }

// tcp is a TCP segment over IPv4 whose checksum is partial, with the header that says so, and how it is to be cut (size 0: not).
func tcp(from, to shortcut.MAC, payload, size int) []byte {
	b := make([]byte, vnetLen+14+20+20+payload)
	h, f := b[:vnetLen], b[vnetLen:]
	h[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	if size > 0 {
		h[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
	}
	for i, v := range []uint16{54, uint16(size), 34, 16} { // headers, segment, where the sum begins, and where in there it lies
		binary.NativeEndian.PutUint16(h[2+2*i:], v)
	}
	copy(f, to[:])
	copy(f[6:], from[:])
	ip := f[14:]
	copy(f[12:], []byte{8, 0, 0x45, 0})
	binary.BigEndian.PutUint16(ip[2:], uint16(40+payload))
	copy(ip[6:], []byte{0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum(ip[:20], 0)))
	copy(ip[20:], []byte{0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0})
	for i := range payload {
		ip[40+i] = byte(i)
	}
	binary.BigEndian.PutUint16(ip[36:], uint16(pseudo(ip, 20+payload)))
	return b
}

// read is the next TCP frame at a descriptor.
func read(t *testing.T, fd, header int) []byte {
	t.Helper()
	b := make([]byte, 70000)
	for {
		require.True(t, bridgetest.Readable(fd, 5*time.Second), "no frame arrives")
		n, err := unix.Read(fd, b)
		require.NoError(t, err)
		if n >= header+54 && b[header+12] == 8 && b[header+13] == 0 {
			return b[:n]
		}
	}
}

// TestOffloads has super-frames with partial checksums take the shortcut: to a tap that takes them, whole; to one that does not, cut and summed.
func TestOffloads(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		a, b := shortcut.MAC{2, 0, 0, 0, 3, 1}, shortcut.MAC{2, 0, 0, 0, 3, 2}
		rich, plain := l.tap("ta", true), l.tap("tb", false)
		require.NoError(t, m.Set(l.port("ta", "3.0", a, true)))
		require.NoError(t, m.Set(l.port("tb", "4.0", b, true)))
		hello := func(mac shortcut.MAC, header int) []byte {
			f := make([]byte, header+60)
			copy(f[header:], all[:])
			copy(f[header+6:], mac[:])
			f[header+12], f[header+13] = 0x88, 0xb5
			return f
		}
		_, err := unix.Write(rich, hello(a, vnetLen))
		require.NoError(t, err)
		_, err = unix.Write(plain, hello(b, 0))
		require.NoError(t, err)

		const payload, size = 6000, 1448
		l.redirected(m, "ta", 1, func() {
			_, err = unix.Write(rich, tcp(a, b, payload, size))
			require.NoError(t, err)
		})
		for left := payload; left > 0; left -= min(left, size) {
			f := read(t, plain, 0)
			require.Len(t, f, 54+min(left, size))
			ip := f[14:]
			require.EqualValues(t, 0xffff, sum(ip[:20], 0), "IP's checksum")
			require.EqualValues(t, 0xffff, sum(ip[20:], pseudo(ip, len(ip)-20)), "TCP's checksum")
		}
		l.redirected(m, "ta", 1, func() {
			_, err = unix.Write(rich, tcp(a, b, 1000, 0))
			require.NoError(t, err)
		})
		f := read(t, plain, 0)
		require.EqualValues(t, 0xffff, sum(f[34:], pseudo(f[14:], len(f)-34)), "TCP's checksum")

		fd := l.fd["w"]
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
		l.redirected(m, "up", 1, func() {
			_, err = unix.Write(fd, tcp(outside, a, payload, size))
			require.NoError(t, err)
		})
		f = read(t, rich, vnetLen)
		require.Len(t, f, vnetLen+54+payload)
		require.EqualValues(t, unix.VIRTIO_NET_HDR_GSO_TCPV4, f[1])
		require.EqualValues(t, size, binary.NativeEndian.Uint16(f[4:]))
	})
}
