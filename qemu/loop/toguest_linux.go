package loop

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// toGuest carries frames from the device to QEMU until the connection ends, which is no error.
func (l *Loop) toGuest(conn int) error {
	var spin spinner
	c := &l.Counters.ToGuest
	for !l.ending.Load() {
		l.burst.Reset()
		l.dev.fill(l.burst)
		if l.burst.Frames() == 0 {
			if err := l.awaitDevice(&spin); err != nil {
				return err
			}
			continue
		}
		alive, err := l.write(conn, l.burst)
		if err != nil || !alive {
			c.Drops[Stale].Add(uint64(l.burst.Frames())) // what of them QEMU's socket had taken is lost with it
			return err
		}
		c.Bursts.Add(1)
		c.Frames.Add(uint64(l.burst.Frames()))
		c.Bytes.Add(uint64(len(l.burst.Bytes()) - lengthSize*l.burst.Frames()))
	}
	return errEnd
}

// awaitDevice returns when there may be frames. It finds them without a call while it spins.
func (l *Loop) awaitDevice(spin *spinner) error {
	start := time.Now()
	for window, spent := spin.window(), time.Duration(0); spent < window && !l.ending.Load(); {
		if l.dev.ready() {
			spin.gap(time.Since(start))
			return nil
		}
		yield()
		if spent = spin.turn(start, spent); spent < 0 {
			break
		}
	}
	l.Counters.ToGuest.Sleeps.Add(1)
	if _, err := l.wait(l.dev.readable(), unix.POLLIN, -1); err != nil {
		return err
	}
	spin.gap(time.Since(start))
	return nil
}

// write hands a burst to QEMU, however long that takes: what comes meanwhile waits in the device's ring, and what finds that full is dropped.
func (l *Loop) write(conn int, burst *Burst) (alive bool, err error) {
	for b := burst.Bytes(); len(b) > 0; {
		n, errno := l.give(conn, b)
		switch errno {
		case 0:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			l.Counters.ToGuest.Waits.Add(1)
			if _, err := l.wait(conn, unix.POLLOUT, -1); err != nil {
				return false, err
			}
		case unix.EPIPE, unix.ECONNRESET, unix.ECONNREFUSED, unix.ENOTCONN:
			return false, nil
		default:
			return false, fmt.Errorf("loop: send to QEMU: %w", errno)
		}
	}
	return true, nil
}

// give writes what QEMU takes.
func (l *Loop) give(conn int, b []byte) (int, unix.Errno) {
	if l.datagrams {
		return sendDatagrams(conn, b)
	}
	return send(conn, b)
}
