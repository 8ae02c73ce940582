package xsk

import "sync/atomic"

// A ring is an array of a power of two of entries, and two counters that only grow, modulo 2^32: how many entries its producer has put, and how
// many its consumer has taken. Each counter is written by one side alone. Who writes his counter has before that done with the entries it covers,
// and who reads the other's counter looks at the entries only then; sync/atomic keeps that order, and also the one between putting entries and
// looking whether the kernel wants to be woken.
//
// The sides below keep what they last read of the other's counter, since reading it anew moves a cache line between processors.

// producer is our side of a ring that the kernel empties: fill, and transmit.
type producer struct {
	head, tail *uint32 // shared: put by us, taken by the kernel
	flags      *uint32 // shared: whether it wants to be woken
	size       uint32  // entries, a power of two
	next, seen uint32  // our head, and the tail as last read
}

// free says how many entries may be put, up to want.
func (p *producer) free(want uint32) uint32 {
	if p.size-(p.next-p.seen) < want {
		if tail := atomic.LoadUint32(p.tail); p.next-tail <= p.size { // else it has taken what we never put
			p.seen = tail
		}
	}
	return min(want, p.size-(p.next-p.seen))
}

// slot is the place of the i-th entry to be put.
func (p *producer) slot(i uint32) uint32 { return (p.next + i) & (p.size - 1) }

// submit gives the next n entries, which have been written, to the kernel.
func (p *producer) submit(n uint32) {
	p.next += n
	atomic.StoreUint32(p.head, p.next)
}

// pending says how many entries the kernel has not taken.
func (p *producer) pending() uint32 { return min(p.next-atomic.LoadUint32(p.tail), p.size) }

// wantsWaking says that the kernel takes no more entries until it is called.
func (p *producer) wantsWaking() bool { return atomic.LoadUint32(p.flags)&needWakeup != 0 }

// needWakeup is linux: include/uapi/linux/if_xdp.h XDP_RING_NEED_WAKEUP, written out so that this file reads the same on any system.
const needWakeup = 1

// consumer is our side of a ring that the kernel fills: receive, and completion.
type consumer struct {
	head, tail *uint32 // shared: put by the kernel, taken by us
	size       uint32
	next, seen uint32 // our tail, and the head as last read
}

// available says how many entries may be taken, up to want.
func (c *consumer) available(want uint32) uint32 {
	if c.seen-c.next < want {
		if head := atomic.LoadUint32(c.head); head-c.next <= c.size { // else there is more than fits
			c.seen = head
		}
	}
	return min(want, c.seen-c.next)
}

// slot is the place of the i-th entry to be taken.
func (c *consumer) slot(i uint32) uint32 { return (c.next + i) & (c.size - 1) }

// release gives the next n places back to the kernel.
func (c *consumer) release(n uint32) {
	c.next += n
	atomic.StoreUint32(c.tail, c.next)
}
