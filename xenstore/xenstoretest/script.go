package xenstoretest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vifplug/xenstore/wire"
)

// World is a store that a script runs against.
type World interface {
	Dial() (net.Conn, error)              // a connection that speaks as domain 0
	Guest(domid uint16) (net.Conn, error) // the connection of a domain that has been introduced
	Kill(domid uint16) error              // the hypervisor no longer knows the domain; the store finds out soon
	Revive(domid uint16) error            // the hypervisor knows the domain again
}

// player runs one script.
type player struct {
	world World
	conns map[string]*scriptConn
	order []*scriptConn
	tx    map[string]uint32
	out   strings.Builder
}

type scriptConn struct {
	name string
	conn net.Conn
	in   *bufio.Reader
	id   uint32
	gone bool
}

const patience = 20 * time.Second // for an answer: a store that takes longer is stuck

// Play talks to a store as a script says, and gives the script back with what happened. A line is
//
//	NAME[TX] OP PAYLOAD     a request; NAME is a connection, made at its first use: "domN" is domain N's, others are domain 0's
//	T=...                   before OP: what the reply names is transaction T from now on
//	A..B NAME OP PAYLOAD    the same for each number, which $i stands for in the payload; replies only, counted
//	NAME oversize           sends a header that announces more than the protocol allows
//	kill N, revive N, close NAME
//	# a comment
//
// In a payload | is a NUL and {x*9} is nine x. Each line is followed by what came of it, indented: "NAME < PAYLOAD" for a reply, "NAME ! ERRNO",
// "NAME * PAYLOAD" for a watch event, "NAME EOF"; events that came before the reply stand before it. Every connection is asked for an answer
// after each line, so all events that the line causes are there.
//
// Lines that are indented are left out of what runs: a transcript is a script.
func Play(w World, script string) (transcript string, err error) {
	s := &player{world: w, conns: map[string]*scriptConn{}, tx: map[string]uint32{}}
	defer func() {
		for _, c := range s.order {
			err = errors.Join(err, c.conn.Close())
		}
	}()
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		line = strings.TrimRight(line, "\n")
		s.out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.line(line); err != nil {
			return s.out.String(), fmt.Errorf("xenstoretest: line %q: %w", line, err)
		}
	}
	return s.out.String(), nil
}

func (s *player) line(line string) error {
	words := strings.SplitN(line, " ", 2)
	if len(words) != 2 {
		return errors.New("want two words")
	}
	switch {
	case words[0] == "kill":
		return s.kill(words[1])
	case words[0] == "revive":
		id, err := strconv.ParseUint(words[1], 10, 16)
		return errors.Join(err, s.world.Revive(uint16(id)))
	case words[0] == "close":
		return s.close(words[1])
	case strings.Contains(words[0], ".."):
		return s.repeat(words[0], words[1])
	}
	if err := s.ask(line, true); err != nil {
		return err
	}
	return s.settle()
}

// repeat asks for each number, and counts replies that are alike.
func (s *player) repeat(span, line string) error {
	var from, to int
	if _, err := fmt.Sscanf(span, "%d..%d", &from, &to); err != nil {
		return err
	}
	last, count := "", 0
	flush := func() {
		if count > 0 {
			fmt.Fprintf(&s.out, "%s (%d times)\n", strings.TrimRight(last, "\n"), count)
		}
		count = 0
	}
	for i := from; i <= to; i++ {
		head := s.out.String()
		s.out.Reset()
		err := s.ask(strings.ReplaceAll(line, "$i", strconv.Itoa(i)), false)
		got := s.out.String()
		s.out.Reset()
		s.out.WriteString(head)
		if err != nil {
			return err
		}
		if got != last {
			flush()
		}
		last = got
		count++
	}
	flush()
	return s.drain()
}

// ask sends a request and writes down its reply, with the events before it if wanted.
func (s *player) ask(line string, events bool) error {
	name, rest, _ := strings.Cut(line, " ")
	name, tx, inTx := strings.Cut(strings.TrimSuffix(name, "]"), "[")
	c, err := s.connection(name)
	if err != nil {
		return err
	}
	if rest == "oversize" {
		return c.oversize()
	}
	op, payload, _ := strings.Cut(rest, " ")
	as, op, naming := strings.Cut(op, "=")
	if !naming {
		op = as
	}
	h := wire.Header{}
	if h.Type, err = typeOf(op); err != nil {
		return err
	}
	if inTx {
		if h.TxID = s.tx[tx]; h.TxID == 0 {
			id, err := strconv.ParseUint(tx, 10, 32)
			if err != nil {
				return fmt.Errorf("transaction %s was not started", tx)
			}
			h.TxID = uint32(id)
		}
	}
	if err := c.send(h, expand(payload)); err != nil {
		return err
	}
	reply, got, err := s.await(c, events)
	if err != nil || c.gone {
		return err
	}
	if naming && reply.Type != wire.Error {
		id, err := strconv.ParseUint(strings.TrimRight(string(got), "\x00"), 10, 32)
		if err != nil {
			return err
		}
		s.tx[as], got = uint32(id), []byte("the id of "+as+"\x00")
	}
	s.reply(c, reply, h.Type, got)
	return nil
}

func (s *player) reply(c *scriptConn, h wire.Header, asked wire.Type, payload []byte) {
	text := string(payload)
	switch {
	case h.Type == wire.Error:
		fmt.Fprintf(&s.out, "  %s ! %s\n", c.name, strings.TrimRight(text, "\x00"))
		return
	case h.Type != asked:
		text = "(" + h.Type.String() + ") " + text
	case asked == wire.DirectoryPart:
		_, list, _ := strings.Cut(text, "\x00")
		text = "GENERATION\x00" + list
	}
	fmt.Fprintf(&s.out, "  %s < %s\n", c.name, show(text))
}

// settle collects the events that are on their way.
func (s *player) settle() error { return s.each(true) }

func (s *player) drain() error { return s.each(false) }

func (s *player) each(events bool) error {
	for _, c := range s.order {
		if c.gone {
			continue
		}
		if err := c.send(wire.Header{Type: wire.GetDomainPath}, []byte("0\x00")); err != nil && !ended(err) {
			return err
		}
		if _, _, err := s.await(c, events); err != nil {
			return err
		}
	}
	return nil
}

// kill waits until the store has found out.
func (s *player) kill(what string) error {
	id, err := strconv.ParseUint(what, 10, 16)
	if err != nil {
		return err
	}
	if err := s.world.Kill(uint16(id)); err != nil {
		return err
	}
	c, err := s.connection("killer")
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		if err := c.send(wire.Header{Type: wire.IsDomainIntroduced}, []byte(what+"\x00")); err != nil {
			return err
		}
		_, got, err := s.await(c, true)
		if err != nil {
			return err
		}
		if string(got) == "F\x00" {
			return s.settle()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the store does not find domain %s dead", what)
		}
	}
}

func (s *player) close(name string) error {
	c := s.conns[name]
	if c == nil {
		return fmt.Errorf("there is no connection %s", name)
	}
	delete(s.conns, name)
	for i := range s.order {
		if s.order[i] == c {
			s.order = append(s.order[:i], s.order[i+1:]...)
			break
		}
	}
	if err := c.conn.Close(); err != nil {
		return err
	}
	return s.settle()
}

func (s *player) connection(name string) (*scriptConn, error) {
	if c := s.conns[name]; c != nil && !c.gone {
		return c, nil
	}
	var conn net.Conn
	var err error
	if id, guest := strings.CutPrefix(name, "dom"); guest {
		var n uint64
		if n, err = strconv.ParseUint(id, 10, 16); err == nil {
			conn, err = s.world.Guest(uint16(n))
		}
	} else {
		conn, err = s.world.Dial()
	}
	if err != nil {
		return nil, err
	}
	c := &scriptConn{name: name, conn: conn, in: bufio.NewReader(conn)}
	s.conns[name] = c
	s.order = append(s.order, c)
	return c, nil
}

func (c *scriptConn) send(h wire.Header, payload []byte) error {
	c.id++
	h.ReqID = c.id
	_, err := c.conn.Write(wire.AppendMessage(nil, h, payload))
	return err
}

// await reads up to the reply to the last request.
func (s *player) await(c *scriptConn, events bool) (wire.Header, []byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil && !ended(err) {
		return wire.Header{}, nil, err
	}
	for {
		h, payload, err := c.read()
		switch {
		case ended(err):
			c.gone = true
			fmt.Fprintf(&s.out, "  %s EOF\n", c.name)
			return h, nil, nil
		case err != nil:
			return h, nil, fmt.Errorf("%s awaits a reply: %w", c.name, err)
		case h.Type != wire.WatchEvent && h.ReqID == c.id:
			return h, payload, nil
		case h.Type != wire.WatchEvent || h.ReqID != 0 || h.TxID != 0:
			return h, nil, fmt.Errorf("%s got an unexpected message %+v", c.name, h)
		case events:
			fmt.Fprintf(&s.out, "  %s * %s\n", c.name, show(string(payload)))
		}
	}
}

// ended says whether the store has ended the connection.
func ended(err error) bool {
	for _, end := range []error{io.EOF, io.ErrClosedPipe, net.ErrClosed, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func (c *scriptConn) read() (wire.Header, []byte, error) {
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return wire.Header{}, nil, err
	}
	h, err := wire.ParseHeader(head[:])
	if err != nil || h.Len > wire.PayloadMax {
		return h, nil, fmt.Errorf("reply of %d bytes: %w", h.Len, err)
	}
	payload := make([]byte, h.Len)
	_, err = io.ReadFull(c.in, payload)
	return h, payload, err
}

// oversize announces one byte more than a payload may have.
func (c *scriptConn) oversize() error {
	h := wire.AppendMessage(nil, wire.Header{Type: wire.Write}, make([]byte, wire.PayloadMax+1))
	_, err := c.conn.Write(h[:wire.HeaderSize])
	return err
}
