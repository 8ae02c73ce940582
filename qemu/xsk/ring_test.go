package xsk

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// pair is both sides of one ring, on the same words.
func pair(size, start uint32) (*producer, *consumer) {
	words := &struct{ head, tail, flags uint32 }{start, start, 0}
	return &producer{head: &words.head, tail: &words.tail, flags: &words.flags, size: size, next: start, seen: start},
		&consumer{head: &words.head, tail: &words.tail, size: size, next: start, seen: start}
}

// What goes in comes out, in order, and nothing is overwritten, wherever the counters stand: also when they wrap.
func TestRingKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := uint32(1) << rapid.IntRange(0, 6).Draw(t, "log2 size")
		p, c := pair(size, -rapid.Uint32Range(0, 3*size).Draw(t, "before the wrap"))
		ring := make([]int, size)
		var put, taken int
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "put") {
				want := rapid.Uint32Range(0, size+2).Draw(t, "want")
				n := p.free(want)
				require.Equal(t, min(int(want), int(size)-(put-taken)), int(n))
				for i := range n {
					ring[p.slot(i)] = put
					put++
				}
				p.submit(n)
			} else {
				want := rapid.Uint32Range(0, size+2).Draw(t, "want")
				n := c.available(want)
				require.Equal(t, min(int(want), put-taken), int(n))
				for i := range n {
					require.Equal(t, taken, ring[c.slot(i)])
					taken++
				}
				c.release(n)
			}
			require.Equal(t, put-taken, int(p.pending()))
		}
	})
}

// Whatever the other side writes into its counter, no more entries are used than there are.
func TestRingBelievesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := uint32(1) << rapid.IntRange(0, 6).Draw(t, "log2 size")
		start := rapid.Uint32().Draw(t, "start")
		p, c := pair(size, start)
		out, in := uint32(0), uint32(0) // what the honest side has, by its own count
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			lie := rapid.Uint32().Draw(t, "lie")
			if rapid.Bool().Draw(t, "to the producer") {
				*p.tail = lie
				n := p.free(rapid.Uint32().Draw(t, "want"))
				require.LessOrEqual(t, n, size)
				p.submit(n)
				out += n
				require.Equal(t, start+out, *p.head)
				require.LessOrEqual(t, p.next-p.seen, size)
				require.LessOrEqual(t, p.pending(), size)
				*c.head, *c.tail = c.seen, c.next // the words are shared: take the lie back
			} else {
				*c.head = lie
				n := c.available(rapid.Uint32().Draw(t, "want"))
				require.LessOrEqual(t, n, size)
				c.release(n)
				in += n
				require.Equal(t, start+in, *c.tail)
				require.LessOrEqual(t, c.seen-c.next, size)
				*p.head, *p.tail = p.next, p.seen
			}
		}
	})
}

// No frame is ever in two hands, whatever addresses come back.
func TestFramesHaveOneHolder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size, first, count = 2048, 3, 5
		memory := make([]byte, (first+count)*size)
		f := newFrames(memory, first, count, size)
		lent := map[uint32]bool{}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "lend") {
				i := rapid.Uint32Range(0, count-1).Draw(t, "frame")
				if !lent[i] {
					assert.Equal(t, uint64((first+i)*size), f.lend(i))
					lent[i] = true
				}
				continue
			}
			addr := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, (first+count+2)*size)).Draw(t, "addr")
			i, ok := f.back(addr)
			inside := addr >= first*size && addr < (first+count)*size
			require.Equal(t, inside && lent[uint32(addr/size)-first], ok)
			if ok {
				delete(lent, i)
				n := rapid.Uint32().Draw(t, "len")
				require.Equal(t, addr%size+uint64(n) <= size, f.within(addr, n))
				require.Len(t, f.bytes(i), size)
				require.Equal(t, size, cap(f.bytes(i)))
				f.bytes(i)[0] = 0xff
				require.Equal(t, byte(0xff), memory[addr/size*size])
				memory[addr/size*size] = 0
			}
		}
	})
}

func TestOptions(t *testing.T) {
	o, err := Options{Index: 1}.withDefaults()
	require.NoError(t, err)
	assert.Equal(t, Options{Index: 1, RingSize: 512, FrameSize: 4096}, o)
	for text, o := range map[string]Options{
		"no device's index": {}, "queue -1": {Index: 1, Queue: -1}, "rings of 3": {Index: 1, RingSize: 3}, "rings of 65536": {Index: 1, RingSize: 65536},
		"frames of 1024": {Index: 1, FrameSize: 1024}, "frames of 3000": {Index: 1, FrameSize: 3000}, "frames of 8192": {Index: 1, FrameSize: 8192},
		"rings of -8": {Index: 1, RingSize: -8},
	} {
		_, err := o.withDefaults()
		require.ErrorContains(t, err, text)
	}
}
