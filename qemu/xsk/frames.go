package xsk

// frames is a run of the memory's frames that serves one direction, and who holds each. A frame is either ours or the kernel's. The address of one
// is its distance from the memory's beginning, and may point anywhere into it.
type frames struct {
	area  []byte // of all frames of this direction
	base  uint64 // address of the first
	size  uint64 // bytes of each, a power of two
	shift uint
	lent  []bool // the kernel holds it
}

func newFrames(memory []byte, first, count, size int) frames {
	f := frames{area: memory[first*size : (first+count)*size : (first+count)*size], base: uint64(first * size), size: uint64(size), lent: make([]bool, count)}
	for 1<<f.shift < size {
		f.shift++
	}
	return f
}

// lend gives frame i to the kernel, as the address to write into a ring.
func (f *frames) lend(i uint32) uint64 {
	f.lent[i] = true
	return f.base + uint64(i)<<f.shift
}

// back takes the frame that an address points into back from the kernel. False: it is no frame of this direction's, or was not lent.
func (f *frames) back(addr uint64) (i uint32, ok bool) {
	n := (addr - f.base) >> f.shift // wraps to something huge below base
	if n >= uint64(len(f.lent)) || !f.lent[n] {
		return 0, false
	}
	f.lent[n] = false
	return uint32(n), true
}

// within says that n bytes from an address on lie in the address's own frame.
func (f *frames) within(addr uint64, n uint32) bool { return addr&(f.size-1)+uint64(n) <= f.size }

// bytes is the whole of frame i.
func (f *frames) bytes(i uint32) []byte {
	at := uint64(i) << f.shift
	return f.area[at : at+f.size : at+f.size]
}
