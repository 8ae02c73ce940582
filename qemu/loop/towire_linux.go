package loop

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// toWire carries frames from QEMU to the device until the connection ends, which is no error.
func (l *Loop) toWire(conn int) error {
	var (
		spin  spinner
		batch [sendBatch][]byte
	)
	for !l.ending.Load() {
		n, errno := l.receive(conn)
		if errno == unix.EAGAIN {
			var err error
			if n, errno, err = l.awaitQEMU(conn, &spin); err != nil {
				return err
			}
		}
		switch {
		case errno == unix.EINTR || errno == unix.EAGAIN:
			continue
		case errno == unix.ECONNRESET || errno == 0 && n == 0: // datagrams are never nothing: they have lengths here
			return nil
		case errno != 0:
			return fmt.Errorf("loop: receive from QEMU: %w", errno)
		}
		l.frames.Filled(n)
		if err := l.handOn(&batch); err != nil {
			return err
		}
	}
	return errEnd
}

// awaitQEMU reads again: for a moment at once, then when there is something.
func (l *Loop) awaitQEMU(conn int, spin *spinner) (n int, errno unix.Errno, err error) {
	start := time.Now()
	for window, spent := spin.window(), time.Duration(0); spent < window && !l.ending.Load(); {
		yield()
		if n, errno = l.receive(conn); errno != unix.EAGAIN {
			spin.gap(time.Since(start))
			return n, errno, nil
		}
		if spent = spin.turn(start, spent); spent < 0 {
			break
		}
	}
	l.Counters.ToWire.Sleeps.Add(1)
	if _, err = l.wait(conn, unix.POLLIN, -1); err != nil {
		return 0, 0, err
	}
	spin.gap(time.Since(start))
	n, errno = l.receive(conn)
	return n, errno, nil
}

// receive reads what QEMU has written.
func (l *Loop) receive(conn int) (int, unix.Errno) {
	if l.datagrams {
		return l.receiveDatagrams(conn)
	}
	return recv(conn, l.frames.Space())
}

// handOn sends every whole frame that was read.
func (l *Loop) handOn(batch *[sendBatch][]byte) error {
	for {
		k := 0
		var broken error
		for k < sendBatch {
			f, ok, err := l.frames.Next()
			if !ok {
				broken = err
				break
			}
			if len(f) < minFrame {
				l.Counters.ToWire.drop(Short)
				continue
			}
			batch[k] = f
			k++
		}
		if err := l.sendAll(batch[:k]); err != nil || broken != nil || k < sendBatch {
			return errors.Join(err, broken)
		}
	}
}

// sendAll has the device take or drop all of these. While it takes none, QEMU's socket is left unread.
func (l *Loop) sendAll(frames [][]byte) error {
	c := &l.Counters.ToWire
	for len(frames) > 0 {
		n, why := l.dev.send(frames)
		if n > 0 {
			c.Bursts.Add(1)
			c.Frames.Add(uint64(n))
			c.Bytes.Add(total(frames[:n]))
			frames = frames[n:]
			continue
		}
		r, dropped := why.(Reason)
		if dropped {
			c.drop(r)
			frames = frames[1:]
		} else if err := l.sleepFull(why); err != nil {
			return err
		}
	}
	for {
		why := l.dev.flush()
		if _, later := why.(Reason); later || why == nil {
			return nil
		}
		if err := l.sleepFull(why); err != nil {
			return err
		}
	}
}

// sleepFull sleeps until the device takes more, if that is why it does not.
func (l *Loop) sleepFull(why error) error {
	if why == nil || why != errFull { //nolint:errorlint // ours, as it is
		return why
	}
	l.Counters.ToWire.Waits.Add(1)
	_, err := l.wait(l.dev.writable(), unix.POLLOUT, -1)
	return err
}

func total(frames [][]byte) (n uint64) {
	for _, f := range frames {
		n += uint64(len(f))
	}
	return n
}
