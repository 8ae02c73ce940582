package xenstore

import (
	"math/rand/v2"
	"time"
)

// Backoff between attempts to connect again. It starts over once a connection has lived for longer than lastRetry.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// runClient serves one connection after the other.
func (c *Client) runClient() {
	defer c.workers.Done()
	wait := firstRetry
	for {
		conn, born := c.current(), time.Now()
		err := conn.serve(c.event)
		if c.ctx.Err() != nil {
			return
		}
		c.tell(conn, false, err)
		if c.opt.NoReconnect {
			return
		}
		if time.Since(born) > lastRetry {
			wait = firstRetry
		}
		if wait = c.reconnect(wait); c.ctx.Err() != nil {
			return
		}
	}
}

// reconnect tries until it has a connection or the client is closed, and gives the wait to begin with next time.
func (c *Client) reconnect(wait time.Duration) time.Duration {
	for {
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		wait = min(2*wait, lastRetry)
		select {
		case <-c.ctx.Done():
			t.Stop()
			return wait
		case <-t.C:
		}
		tr, err := c.dial(c.ctx)
		if err != nil {
			c.log.Debug("xenstore is still away", "err", err)
			continue
		}
		c.adopt(newConn(tr))
		return wait
	}
}

// adopt makes a connection the present one and renews every watch on it, before anybody can use it: so an UNWATCH comes after its WATCH. The
// tokens are fresh, so that an event of the old connection cannot be taken for one of the new.
func (c *Client) adopt(conn *conn) {
	c.mu.Lock()
	c.conn = conn
	b := newBatch(nil)
	regs := make([]*registration, 0, len(c.watches))
	for _, r := range c.watches {
		regs = append(regs, r)
	}
	clear(c.watches)
	for _, r := range regs {
		r.token = c.newToken()
		c.watches[r.token] = r
		b.ops = append(b.ops, r.op())
	}
	b.results, b.left = make([]Result, len(regs)), len(regs)
	if len(regs) > 0 {
		_, _ = conn.offer(0, b)
	}
	c.mu.Unlock()
	if c.ctx.Err() != nil { // Close may have failed the old connection only
		conn.fail(ErrClosed)
		return
	}
	c.workers.Add(1)
	go c.runRenew(conn, b, regs)
}

// runRenew waits for the renewal of the watches and has their readers look at everything again. It ends with its connection at the latest.
func (c *Client) runRenew(conn *conn, b *batch, regs []*registration) {
	defer c.workers.Done()
	if len(regs) > 0 {
		res, err := conn.await(c.ctx, b)
		if err != nil {
			return // the next connection does it
		}
		for i, r := range regs {
			if err := res[i].Err; err != nil {
				c.log.Error("cannot renew a watch", "path", r.path, "err", err)
			}
			c.resync(r)
		}
	}
	c.tell(conn, true, nil)
}

// resync has the reader of a watch look again, unless it was closed meanwhile.
func (c *Client) resync(r *registration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watches[r.token] == r {
		r.queue.resync(r.path)
	}
}

// tell reports a change of state: each once, in order, and none that is history already.
func (c *Client) tell(conn *conn, connected bool, why error) {
	c.state.Lock()
	defer c.state.Unlock()
	if connected == c.connected || connected && conn.isDown() {
		return
	}
	c.connected = connected
	switch {
	case c.opt.OnState != nil:
		c.opt.OnState(connected, why) // who is told says it in his own words
	case connected:
		c.log.Info("xenstore connection is back", "transport", conn.name)
	default:
		c.log.Warn("xenstore connection lost", "transport", conn.name, "err", why)
	}
}

func (c *conn) isDown() bool {
	select {
	case <-c.down:
		return true
	default:
		return false
	}
}
