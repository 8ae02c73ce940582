package xenstore

import "vifplug/xenstore/wire"

// flush sees that what is queued gets written. What goes out without waiting for the store is written here: waking the writer for it would cost
// as much as the request. The rest is the writer's. The caller holds mu, which is let go of for the time of the writing.
func (c *conn) flush() {
	if c.writing {
		return // whoever writes looks again afterwards
	}
	c.writing = true
	if c.try != nil {
		out := c.take()
		c.mu.Unlock()
		n := c.try(out)
		c.mu.Lock()
		if c.err != nil {
			return
		}
		if n < len(out) {
			c.out = append(out[n:], c.out...)
		} else if c.keep(out); len(c.out) == 0 {
			c.writing = false
			return
		}
	}
	c.wake <- struct{}{} // has room: it is the only one until the writer is done
}

// take gives what is to be written. The caller holds mu.
func (c *conn) take() []byte {
	out := c.out
	c.out, c.spare = c.spare, nil
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	return out
}

// runWriter writes what callers cannot without waiting, until the connection ends: so a store that does not read holds up no caller beyond its
// context.
func (c *conn) runWriter(done chan<- struct{}) {
	defer close(done)
	for {
		select {
		case <-c.wake:
		case <-c.down:
			return
		}
		for out := c.more(nil); len(out) > 0; out = c.more(out) {
			if err := c.writeAll(out); err != nil {
				c.fail(err)
				return
			}
		}
	}
}

// more gives the writer what has been queued, or ends its turn where there is nothing. written is a buffer that it no longer needs.
func (c *conn) more(written []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(written)
	if c.writing = len(c.out) > 0; !c.writing {
		return nil
	}
	return c.take()
}

// keep has a buffer used again, unless it is so long that it must not be kept for ever. The caller holds mu.
func (c *conn) keep(buf []byte) {
	if buf != nil && cap(buf) <= 64<<10 {
		c.spare = buf[:0]
	}
}

func (c *conn) writeAll(out []byte) error {
	if !c.single {
		_, err := c.Write(out)
		return err
	}
	for len(out) > 0 {
		h, err := wire.ParseHeader(out)
		if err != nil {
			return err
		}
		n := wire.HeaderSize + int(h.Len)
		if err := c.writeOne(out[:n]); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// writeOne sends one request and waits for its reply.
func (c *conn) writeOne(out []byte) error {
	if _, err := c.Write(out); err != nil {
		return err
	}
	select {
	case <-c.answered:
		return nil
	case <-c.down:
		return c.failure()
	}
}

func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
