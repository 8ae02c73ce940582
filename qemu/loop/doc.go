// Package loop carries frames between a QEMU that must not open a tap and a network device: the user-space packet loop of path "socket".
//
// QEMU has its NIC's back end on a Unix stream socket (-netdev stream), on which each frame follows its length: four bytes, big-endian (qemu:
// net/net.c net_fill_rstate). The device is the hidden end of a veth pair, of which the other end stands in a bridge as the guest's tap would.
// Which device that is, who makes it and what it is called is not this package's affair.
//
// Each direction has a thread of its own that reads as much as there is by one call, finds the frames where they lie and hands them on by one call. It
// allocates nothing for a frame. What it holds is bounded: a device that takes no more has QEMU's socket left unread, so that the guest waits; a
// guest that reads no more has its frames dropped by the kernel when the device's ring is full, and counted. A peer that breaks the framing has its
// connection ended, and nothing else.
package loop
