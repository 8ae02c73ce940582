package xsk

import (
	"fmt"
	"os"
)

// Options are what a socket is to be like.
type Options struct {
	// Index is the device's, and Queue which of its queues: of a veth made without saying how many, 0 is all there is.
	Index, Queue int
	// RingSize is how many entries each ring has, and how many frames each direction: a power of two up to 32768. 0 is 512.
	RingSize int
	// FrameSize is how much memory each frame has: 2048, or 4096 where pages are as large. 0 is 4096. A frame that is received may be 256 bytes
	// shorter, see [Socket.MaxReceive].
	FrameSize int
	// Copy has the kernel copy each frame even where the device could use the memory itself.
	Copy bool
}

const (
	defaultRingSize  = 512
	maxRingSize      = 32768
	minFrameSize     = 2048 // linux: include/net/xdp_sock.h XDP_UMEM_MIN_CHUNK_SIZE
	defaultFrameSize = 4096
	headroom         = 256 // linux: include/uapi/linux/bpf.h XDP_PACKET_HEADROOM: what the kernel leaves free before a frame it received
)

// withDefaults fills in what was left out, and refuses what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.RingSize == 0 {
		o.RingSize = defaultRingSize
	}
	if o.FrameSize == 0 {
		o.FrameSize = min(defaultFrameSize, os.Getpagesize())
	}
	switch {
	case o.Index <= 0:
		return o, fmt.Errorf("xsk: open: %d is no device's index", o.Index)
	case o.Queue < 0:
		return o, fmt.Errorf("xsk: open on device %d: queue %d: want 0 or more", o.Index, o.Queue)
	case !powerOfTwo(o.RingSize) || o.RingSize > maxRingSize:
		return o, fmt.Errorf("xsk: open on device %d: rings of %d: want a power of two up to %d", o.Index, o.RingSize, maxRingSize)
	case !powerOfTwo(o.FrameSize) || o.FrameSize < minFrameSize || o.FrameSize > os.Getpagesize():
		return o, fmt.Errorf("xsk: open on device %d: frames of %d bytes: want a power of two from %d to a page's %d", o.Index, o.FrameSize, minFrameSize, os.Getpagesize())
	}
	return o, nil
}

func powerOfTwo(n int) bool { return n > 0 && n&(n-1) == 0 }

// Stats are counters of a socket.
type Stats struct {
	Kicks  uint64 // calls that woke the kernel to send
	Broken uint64 // entries of the kernel's that could not be, and were ignored
	// as the kernel counts (linux: struct xdp_statistics)
	RxDropped   uint64 // frames that came and were too long, or found no frame of memory free
	RxInvalid   uint64 // addresses in the fill ring that the kernel refused
	TxInvalid   uint64 // entries in the transmit ring that the kernel refused
	RxRingFull  uint64 // frames that came and found the receive ring full
	FillEmpty   uint64 // how often the kernel found the fill ring empty
	TxRingEmpty uint64 // how often it found the transmit ring empty
}
