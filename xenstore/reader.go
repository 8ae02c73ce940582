package xenstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"vifplug/xenstore/wire"
)

// read gives replies to who waits and events to event until the connection ends, and returns why it ended.
func (c *conn) read(event func(path, token string)) error {
	in := bufio.NewReaderSize(c.transport, 16<<10)
	var head [wire.HeaderSize]byte
	payload := make([]byte, 0, wire.PayloadMax)
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		h, err := wire.ParseHeader(head[:])
		if err != nil {
			return err
		}
		if h.Len > maxReply {
			return fmt.Errorf("a message of %d bytes is more than the %d that are accepted", h.Len, maxReply)
		}
		if int(h.Len) > cap(payload) {
			payload = make([]byte, 0, h.Len)
		}
		payload = payload[:h.Len]
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		if err := c.dispatch(h, payload, event); err != nil {
			return err
		}
		if cap(payload) > 64<<10 {
			payload = make([]byte, 0, wire.PayloadMax) // one long list must not be kept for ever
		}
	}
}

var errStray = errors.New("a reply that nobody asked for")

func (c *conn) dispatch(h wire.Header, payload []byte, event func(path, token string)) error {
	if h.Type == wire.WatchEvent {
		parts, err := wire.SplitStrings(payload)
		if err != nil || len(parts) < 2 {
			return fmt.Errorf("malformed watch event of %d bytes", len(payload))
		}
		event(parts[0], parts[1])
		return nil
	}
	abandoned, err := c.deliver(h, payload)
	if abandoned && h.Type == wire.TransactionStart {
		if id, err := transactionID(payload); err == nil {
			c.post(id, endOp("F")) // who wanted it has gone, and the store must not keep it open
		}
	}
	return err
}

// deliver gives a reply to its batch; abandoned: nobody waits for that.
func (c *conn) deliver(h wire.Header, payload []byte) (abandoned bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.pending[h.ReqID]
	if !ok {
		return false, fmt.Errorf("%w: %v with request id %d", errStray, h.Type, h.ReqID)
	}
	delete(c.pending, h.ReqID)
	if c.single {
		select {
		case c.answered <- struct{}{}:
		default: // two replies to one request: what is stray is found above
		}
	}
	s.b.left--
	if s.b.abandoned {
		c.abandoned--
		return true, nil
	}
	s.b.results[s.i] = s.b.ops[s.i].decode(h, payload)
	if s.b.left == 0 {
		close(s.b.done)
	}
	return false, nil
}

func transactionID(payload []byte) (uint32, error) {
	s := string(bytes.TrimRight(payload, "\x00"))
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("%q is no transaction id", s)
	}
	return uint32(id), nil
}
