package main

import "encoding/binary"

// The frames are IPv4, so that br_netfilter has its work with them, and UDP, or TCP where they are longer than any MTU. Their port says what the
// other side does with them.
const (
	dropPort = 9 // "discard": count and drop
	echoPort = 7 // "echo": send back

	protocolAt = 12
	portAt     = 36
	headers    = 14 + 20 + 20 // the longest: Ethernet, IPv4, TCP
)

type mac [6]byte

// guestMAC is that of the i-th guest.
func guestMAC(i int) mac { return mac{0x00, 0x16, 0x3e, 0x7b, byte(i >> 8), byte(i)} }

// frame makes one of UDP.
func frame(from, to mac, port uint16, size int) []byte {
	f := make([]byte, size)
	internet(f, from, to, 17)
	binary.BigEndian.PutUint16(f[34:], 40000)
	binary.BigEndian.PutUint16(f[portAt:], port)
	binary.BigEndian.PutUint16(f[38:], uint16(size-34)) // the checksum stays 0: there is none
	return f
}

// internet writes the headers up to IPv4's end.
func internet(f []byte, from, to mac, protocol byte) {
	copy(f, to[:])
	copy(f[6:], from[:])
	binary.BigEndian.PutUint16(f[protocolAt:], 0x0800)
	ip := f[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(len(f)-14))
	copy(ip[12:], []byte{192, 0, 2, 1})
	copy(ip[16:], []byte{192, 0, 2, 2})
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip))
}

// sum is the Internet's checksum before it is inverted.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

const (
	vnetHeader = 10 // linux: include/uapi/linux/virtio_net.h struct virtio_net_hdr
	superSize  = 60000
	segment    = 1448
)

// superFrame makes a TCP frame longer than any MTU, behind the header that leaves its segmentation and its checksum to others.
func superFrame(from, to mac) []byte {
	b := make([]byte, vnetHeader+superSize)
	b[0], b[1] = 1, 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4
	for at, v := range map[int]uint16{2: headers, 4: segment, 6: 34, 8: 16} {
		binary.NativeEndian.PutUint16(b[at:], v)
	}
	f := b[vnetHeader:]
	internet(f, from, to, 6)
	binary.BigEndian.PutUint16(f[34:], 40000)
	binary.BigEndian.PutUint16(f[portAt:], dropPort)
	f[46], f[47] = 5<<4, 0x10 // the header's length, ACK
	pseudo := append(append([]byte{}, f[26:34]...), 0, 6, 0, 0)
	binary.BigEndian.PutUint16(pseudo[10:], uint16(superSize-34))
	binary.BigEndian.PutUint16(f[50:], sum(pseudo)) // of the pseudo-header alone: the rest is what is left to others
	return b
}

// port is what a received frame says is to be done with it, 0 where it is none of these.
func port(f []byte) uint16 {
	if len(f) < portAt+2 || f[protocolAt] != 8 || f[protocolAt+1] != 0 {
		return 0
	}
	return binary.BigEndian.Uint16(f[portAt:])
}
