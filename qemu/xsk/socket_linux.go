package xsk

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a bound AF_XDP socket with its memory and rings. One goroutine may call the methods of receiving (Receive, Release) while another
// calls those of sending (Reserve, Submit, Kick, Complete, Pending). Close must come after both.
type Socket struct {
	file     *os.File
	fd       int
	opt      Options
	mappings [][]byte // memory first, then the rings
	zeroCopy bool

	_  [64]byte // so that the two directions share no cache line
	in receiver
	_  [64]byte
	to sender
}

// NewFile makes a socket that is not bound to anything yet, for [Attachment.Add] and [Use], here or in another process. It needs CAP_NET_RAW.
func NewFile() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return nil, fmt.Errorf("xsk: make a socket: %w: this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)", err)
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("xsk: make a socket: %w: it takes CAP_NET_RAW", err)
	case err != nil:
		return nil, fmt.Errorf("xsk: make a socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "af_xdp socket"), nil
}

// Open makes a socket and binds it to a queue of a device of the calling thread's network namespace. Frames come when an [Attachment] has it too.
func Open(o Options) (*Socket, error) {
	f, err := NewFile()
	if err != nil {
		return nil, err
	}
	return Use(f, o)
}

// Use gives a socket that [NewFile] has made its memory and rings, and binds it. It takes the file over, also when it fails.
func Use(f *os.File, o Options) (_ *Socket, err error) {
	s := &Socket{file: f, fd: int(f.Fd())}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.opt, err = o.withDefaults(); err != nil {
		return nil, err
	}
	if err = s.makeMemory(); err != nil {
		return nil, fmt.Errorf("xsk: open on device %d: %w", o.Index, err)
	}
	if err = s.mapRings(); err != nil {
		return nil, fmt.Errorf("xsk: open on device %d: %w", o.Index, err)
	}
	s.in.fillAll() // before the socket is bound, so that the first frame finds room
	if err = s.bind(); err != nil {
		return nil, fmt.Errorf("xsk: bind to queue %d of device %d: %w", o.Queue, o.Index, err)
	}
	return s, nil
}

// makeMemory registers the frames' memory with the kernel.
func (s *Socket) makeMemory() error {
	n, size := s.opt.RingSize, s.opt.FrameSize
	memory, err := unix.Mmap(-1, 0, 2*n*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("%d bytes of memory: %w", 2*n*size, err)
	}
	s.mappings = append(s.mappings, memory)
	s.in.frames, s.to.frames = newFrames(memory, 0, n, size), newFrames(memory, n, n, size)
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory)))), Len: uint64(len(memory)), Size: uint32(size)}
	// without the member that came with Linux 6.8, so that older kernels take it too
	_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.fd), unix.SOL_XDP, unix.XDP_UMEM_REG, uintptr(unsafe.Pointer(&reg)), unsafe.Offsetof(reg.Tx_metadata_len), 0)
	switch {
	case e == unix.ENOBUFS:
		return fmt.Errorf("lock %d bytes of memory: %w: raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=), or give CAP_IPC_LOCK", len(memory), e)
	case e == unix.EBUSY:
		return fmt.Errorf("register memory: %w: the socket is in use already", e)
	case e == unix.ENOTSOCK || e == unix.ENOPROTOOPT || e == unix.EOPNOTSUPP:
		return fmt.Errorf("register memory: %w: this is no AF_XDP socket", e)
	case e != 0:
		return fmt.Errorf("register memory: %w", e)
	}
	return nil
}

// mapRings makes the four rings and maps them.
func (s *Socket) mapRings() error {
	n := s.opt.RingSize
	for _, option := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING, unix.XDP_TX_RING} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, option, n); err != nil {
			return fmt.Errorf("make a ring of %d: %w", n, err)
		}
	}
	var off unix.XDPMmapOffsets
	if err := getsockopt(s.fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&off), unsafe.Sizeof(off)); err != nil {
		return fmt.Errorf("ask how the rings lie: %w", err)
	}
	fill, err := mapRing(s, unix.XDP_UMEM_PGOFF_FILL_RING, off.Fr, 8)
	if err != nil {
		return err
	}
	completion, err := mapRing(s, unix.XDP_UMEM_PGOFF_COMPLETION_RING, off.Cr, 8)
	if err != nil {
		return err
	}
	receive, err := mapRing(s, unix.XDP_PGOFF_RX_RING, off.Rx, int(unsafe.Sizeof(unix.XDPDesc{})))
	if err != nil {
		return err
	}
	transmit, err := mapRing(s, unix.XDP_PGOFF_TX_RING, off.Tx, int(unsafe.Sizeof(unix.XDPDesc{})))
	if err != nil {
		return err
	}
	s.in.init(fill.producer(), entries[uint64](fill), receive.consumer(), entries[unix.XDPDesc](receive))
	s.to.init(transmit.producer(), entries[unix.XDPDesc](transmit), completion.consumer(), entries[uint64](completion), s.fd)
	return nil
}

// mapped is a ring's mapping, and where in it things lie.
type mapped struct {
	memory []byte
	off    unix.XDPRingOffset
	size   int
}

func mapRing(s *Socket, at int64, off unix.XDPRingOffset, entry int) (mapped, error) {
	n := s.opt.RingSize
	m, err := unix.Mmap(s.fd, at, int(off.Desc)+n*entry, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return mapped{}, fmt.Errorf("map a ring: %w", err)
	}
	s.mappings = append(s.mappings, m)
	return mapped{m, off, n}, nil
}

func (m mapped) word(at uint64) *uint32 { return (*uint32)(unsafe.Pointer(&m.memory[at : at+4][0])) }

func (m mapped) producer() producer {
	p := producer{head: m.word(m.off.Producer), tail: m.word(m.off.Consumer), flags: m.word(m.off.Flags), size: uint32(m.size)}
	p.next, p.seen = atomic.LoadUint32(p.head), atomic.LoadUint32(p.tail)
	return p
}

func (m mapped) consumer() consumer {
	c := consumer{head: m.word(m.off.Producer), tail: m.word(m.off.Consumer), size: uint32(m.size)}
	c.next, c.seen = atomic.LoadUint32(c.tail), atomic.LoadUint32(c.tail)
	return c
}

// entries is the ring's array.
func entries[T any](m mapped) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(&m.memory[m.off.Desc])), m.size)
}

// bind has the kernel begin. Where the device cannot use the memory itself the kernel copies.
func (s *Socket) bind() error {
	a := &unix.SockaddrXDP{Flags: unix.XDP_USE_NEED_WAKEUP, Ifindex: uint32(s.opt.Index), QueueID: uint32(s.opt.Queue)}
	if s.opt.Copy {
		a.Flags |= unix.XDP_COPY
	}
	err := unix.Bind(s.fd, a)
	// The kernel lets go of a queue a moment after its last socket was closed (linux: net/xdp/xsk_buff_pool.c xp_put_pool leaves it to a worker). Nobody
	// tells when that is. Half a second is long for it, and little to wait for a refusal.
	for pause := time.Millisecond; errors.Is(err, unix.EBUSY) && pause < 500*time.Millisecond; pause *= 2 {
		time.Sleep(pause)
		err = unix.Bind(s.fd, a)
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another socket has this queue", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: there is no such device in this network namespace", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: has the device such a queue?", err)
	case err != nil:
		return err
	}
	var options uint32
	if err := getsockopt(s.fd, unix.XDP_OPTIONS, unsafe.Pointer(&options), unsafe.Sizeof(options)); err != nil {
		return fmt.Errorf("ask whether it copies: %w", err)
	}
	s.zeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	return nil
}

func getsockopt(fd, option int, to unsafe.Pointer, size uintptr) error {
	n := uint32(size)
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option), uintptr(to), uintptr(unsafe.Pointer(&n)), 0)
	switch {
	case e != 0:
		return e
	case uintptr(n) != size:
		return fmt.Errorf("the kernel answers %d bytes where %d are known", n, size)
	}
	return nil
}

// FD is the descriptor, for poll: readable when frames have come, writable when half of the transmit ring is free. In copy mode poll itself sends
// what [Socket.Submit] has put (linux: net/xdp/xsk.c xsk_poll).
func (s *Socket) FD() int { return s.fd }

// ZeroCopy says that the device uses the frames' memory itself. A veth never does.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// MaxReceive is the longest frame that can be received, in bytes from the destination address on. Longer ones are dropped and counted.
func (s *Socket) MaxReceive() int { return s.opt.FrameSize - headroom }

// MaxSend is the longest frame that can be sent.
func (s *Socket) MaxSend() int { return s.opt.FrameSize }

// Stats reads the counters. It may be called beside the directions' methods.
func (s *Socket) Stats() (Stats, error) {
	var k unix.XDPStatistics
	if err := getsockopt(s.fd, unix.XDP_STATISTICS, unsafe.Pointer(&k), unsafe.Sizeof(k)); err != nil {
		return Stats{}, fmt.Errorf("xsk: statistics of device %d: %w", s.opt.Index, err)
	}
	return Stats{
		Kicks: s.to.kicks.Load(), Broken: s.in.broken.Load() + s.to.broken.Load(),
		RxDropped: k.Rx_dropped, RxInvalid: k.Rx_invalid_descs, TxInvalid: k.Tx_invalid_descs,
		RxRingFull: k.Rx_ring_full, FillEmpty: k.Rx_fill_ring_empty_descs, TxRingEmpty: k.Tx_ring_empty_descs,
	}, nil
}

// Close closes the socket and gives its memory back. Frames that were given out by Receive or Reserve must not be touched after that. The kernel
// takes the socket out of the maps it is in.
func (s *Socket) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	for i := len(s.mappings) - 1; i >= 0; i-- {
		err = errors.Join(err, unix.Munmap(s.mappings[i]))
	}
	s.mappings = nil
	return err
}
