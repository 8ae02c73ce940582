package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Config says what a loop is between. Index and one of Listener, Path and Conn are required.
type Config struct {
	// Index is the device's, in the network namespace of the thread that calls [Open].
	Index int
	// MTU is of how long frames there may be many, in bytes; longer ones are right too, but slower. 0 is 1500.
	MTU int
	// Socket is how to reach the device.
	Socket Kind
	// Listener is a listening Unix stream socket to which QEMU connects, again whenever it likes (-netdev stream,server=off).
	Listener *os.File
	// Path is that of the socket to which QEMU listens (-netdev stream,server=on), whenever it does. Its directory must be there.
	Path string
	// Root is what will be the process's root directory when Run runs, above Path; "": it stays.
	Root string
	// Conn is a stream on which QEMU is already; the loop ends with it.
	Conn *os.File
	// Datagram is a bound Unix datagram socket, for a peer at Path that knows nothing else (-netdev dgram). It is slow: the kernel holds 10
	// datagrams for QEMU.
	Datagram *os.File
	// Once has the loop end with the first connection.
	Once bool
	// Logger hears of connections; nil: nobody does.
	Logger *slog.Logger
}

// Loop is an open loop. Its descriptors are its own.
type Loop struct {
	// Counters may be read at any time; see [Loop.Count].
	Counters Counters

	cfg  Config
	log  *slog.Logger
	dev  device
	kind Kind
	peer peer
	over int // eventfd: the connection is over
	stop int // eventfd: the loop is

	ending atomic.Bool // what over and stop say, for who does not sleep
	frames *Frames     // these two are the directions' own
	burst  *Burst

	down      atomic.Bool // the device is
	datagrams bool        // what QEMU's socket has
	again     int         // a descriptor that may tell that QEMU has come anew while it is connected; -1: its connection tells when it goes
}

var (
	errEnd   = errors.New("the end")   // a direction ends since it was told to
	errAgain = errors.New("once more") // it ends since QEMU may have come anew
)

// Open opens the device and makes everything that running needs: the process may give up its privileges then. The caller closes it. It does not keep
// cfg's files, which may be closed.
func Open(cfg Config) (_ *Loop, err error) {
	l := &Loop{cfg: cfg, log: cfg.Logger, over: -1, stop: -1, frames: NewFrames(readSize), burst: NewBurst(readSize)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.again, l.datagrams = -1, cfg.Datagram != nil
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.peer, err = openPeer(cfg, l.log); err != nil {
		return nil, err
	}
	for _, fd := range []*int{&l.over, &l.stop} {
		if *fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return nil, fmt.Errorf("loop: eventfd: %w", err)
		}
	}
	mtu := cfg.MTU
	if mtu == 0 {
		mtu = 1500
	}
	var why error
	if l.dev, l.kind, why, err = openDevice(cfg.Socket, cfg.Index, mtu, &l.Counters); err != nil {
		return nil, err
	}
	open := l.log.With("socket", l.kind.String())
	if why != nil {
		open = open.With("why", why)
	}
	open.Info("the device is open")
	return l, nil
}

// Kind is how the device is reached.
func (l *Loop) Kind() Kind { return l.kind }

// Close closes what Open opened. Run must have ended.
func (l *Loop) Close() error {
	var errs []error
	if l.dev != nil {
		errs = append(errs, l.dev.close())
	}
	if l.peer != nil {
		errs = append(errs, l.peer.close())
	}
	for _, fd := range []*int{&l.over, &l.stop} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	l.dev, l.peer = nil, nil
	return errors.Join(errs...)
}

// Run opens a loop and runs it until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	l, err := Open(cfg)
	if err != nil {
		return err
	}
	return errors.Join(l.Run(ctx), l.Close())
}

// Run carries frames, for one connection of QEMU's after the other, until ctx ends. It may be called once. The error says that the device is gone, or
// what was wrong with the only connection that there is to be.
func (l *Loop) Run(ctx context.Context) error {
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { l.end(); close(told) })
	defer func() {
		if !stop() {
			<-told // before the descriptors are closed
		}
	}()
	for {
		conn, err := l.peer.next(l.wait)
		switch {
		case errors.Is(err, errEnd):
			return nil
		case err != nil:
			return err
		}
		l.Counters.Connections.Add(1)
		l.log.Info("QEMU is connected")
		err = l.carry(conn)
		bad := (*LengthError)(nil)
		switch {
		case errors.As(err, &bad):
			l.Counters.Broken.Add(1)
			l.log.Error("QEMU's connection is ended", "err", err)
		case err != nil && !errors.Is(err, errEnd):
			return err
		case err == nil:
			l.log.Info("QEMU has gone")
		}
		if ctx.Err() != nil {
			return nil
		}
		if l.cfg.Once || l.peer.last() {
			return err
		}
	}
}

// end has Run end, whatever it waits for.
func (l *Loop) end() {
	l.ending.Store(true)
	ring(l.stop)
}

// ring wakes those that poll an eventfd, until it is read.
func ring(fd int) { _, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// carry carries frames for one connection until it ends, and closes it.
func (l *Loop) carry(conn int) error {
	l.frames.Reset()
	l.discard()
	if d, ok := l.peer.(*dialer); ok && l.datagrams {
		l.again = d.watch
		defer func() { l.again = -1 }()
	}
	ended := make(chan error, 2)
	go l.runDirection(l.toWire, conn, ended)
	go l.runDirection(l.toGuest, conn, ended)
	err := <-ended
	l.ending.Store(true)
	ring(l.over)
	if other := <-ended; err == nil || errors.Is(err, errEnd) && other != nil {
		err = other
	}
	l.dev.count(Full)
	_, _ = unix.Read(l.over, make([]byte, 8))
	l.ending.Store(false)
	return errors.Join(closing(err), l.peer.end(conn))
}

// closing leaves nothing of an end that was wanted.
func closing(err error) error {
	if errors.Is(err, errEnd) || errors.Is(err, errAgain) {
		return nil
	}
	return err
}

// discard drops what came while no QEMU was there.
func (l *Loop) discard() {
	for {
		l.burst.Reset()
		if l.dev.fill(l.burst); l.burst.Frames() == 0 {
			break
		}
		l.Counters.ToGuest.Drops[Stale].Add(uint64(l.burst.Frames()))
	}
	l.dev.count(Stale)
}

// runDirection runs one direction on a thread of its own.
func (l *Loop) runDirection(direction func(conn int) error, conn int, ended chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ended <- direction(conn)
}

// Count brings the counters up to date with what only the kernel has counted.
func (l *Loop) Count() *Counters {
	l.dev.count(Full)
	return &l.Counters
}

// downPause is how often a device that is down is looked at, in milliseconds: nothing tells when it is deleted then.
const downPause = 500

// wait sleeps until fd is ready, for ms milliseconds at most, or without end where that is negative. It gives errEnd when the direction or the loop is
// to end, and errGone when the device does.
func (l *Loop) wait(fd int, events int16, ms int) (ready bool, err error) {
	fds := [5]unix.PollFd{
		{Fd: int32(fd), Events: events},
		{Fd: int32(l.dev.troubled())},
		{Fd: int32(l.over), Events: unix.POLLIN},
		{Fd: int32(l.stop), Events: unix.POLLIN},
		{Fd: int32(l.again), Events: unix.POLLIN},
	}
	for {
		timeout := ms
		if l.down.Load() && (ms < 0 || ms > downPause) {
			timeout = downPause
		}
		n, err := poll(fds[:], timeout)
		if err != nil {
			return false, fmt.Errorf("loop: poll: %w", err)
		}
		if fds[2].Revents != 0 || fds[3].Revents != 0 {
			return false, errEnd
		}
		if fds[4].Revents != 0 && l.peer.again() {
			return false, errAgain
		}
		if n == 0 && timeout != ms || fds[1].Revents != 0 {
			up, err := l.dev.trouble()
			if err != nil {
				return false, err
			}
			l.down.Store(!up)
		}
		if fds[0].Revents != 0 || n == 0 && timeout == ms {
			return n > 0, nil
		}
	}
}
