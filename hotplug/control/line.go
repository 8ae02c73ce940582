package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"vifplug/hotplug"
	"vifplug/hotplug/ask"
)

// lines stands before the server of HTTP and answers questions of one line itself: vif-plug's, as package ask has it, and those about taps.
type lines struct {
	answer func(net.Conn, string) (string, []*os.File)

	mu     sync.Mutex // guards all following fields
	open   map[net.Conn]struct{}
	closed bool
	busy   sync.WaitGroup // the run… goroutines
}

// firstWord is how long a connection may take to say what it wants.
const firstWord = 10 * time.Second

// front gives the connections of l that are not vif-plug's.
func (s *lines) front(l net.Listener) net.Listener {
	f := &front{Listener: l, lines: s, others: make(chan net.Conn), failed: make(chan error), done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed { // the server of HTTP, which is closed too then, accepts nothing
		s.busy.Add(1)
		go f.runAccept()
	}
	return f
}

// begin counts a connection in; false: the server is closed.
func (s *lines) begin(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = map[net.Conn]struct{}{}
	}
	_ = c.SetReadDeadline(time.Now().Add(firstWord)) // here, so that it cannot come after that of close
	s.open[c] = struct{}{}
	s.busy.Add(1)
	return true
}

func (s *lines) end(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.busy.Done()
}

// close ends those who have not said what they want, and waits for the others' answers, which are on their way.
func (s *lines) close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		_ = c.SetReadDeadline(time.Now())
	}
	s.mu.Unlock()
	s.busy.Wait()
}

// front is a listener that looks at the first bytes of each connection.
type front struct {
	net.Listener
	lines  *lines
	others chan net.Conn
	failed chan error
	once   sync.Once
	done   chan struct{} // closed by Close
}

func (f *front) runAccept() {
	defer f.lines.busy.Done()
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			// the server of HTTP decides what an error means: of one that passes it asks again, after a pause
			select {
			case f.failed <- err:
				continue
			case <-f.done:
				return
			}
		}
		if !f.lines.begin(c) {
			_ = c.Close()
			continue
		}
		go f.runFirst(c)
	}
}

// runFirst reads the beginning of what a connection has to say, and answers it or hands it on.
func (f *front) runFirst(c net.Conn) {
	defer f.lines.end(c)
	head, isLine, err := beginning(c)
	if err != nil {
		_ = c.Close()
		return
	}
	if isLine {
		text, files := f.lines.answer(c, string(head))
		send(c, text, files)
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	select {
	case f.others <- &begun{Conn: c, head: head}:
	case <-f.done:
		_ = c.Close()
	}
}

// beginning reads a whole line where the first word is that of a question, else as much as shows that it is not.
func beginning(r io.Reader) (head []byte, isLine bool, err error) {
	head = make([]byte, 0, ask.MaxLine)
	for {
		n, err := r.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		text := string(head)
		switch {
		case !begins(text, ask.Word) && !begins(text, tapWord):
			return head, false, nil
		case strings.HasSuffix(text, "\n"):
			return head, true, nil
		case len(head) == cap(head):
			return nil, false, errors.New("control: a question without an end")
		case err != nil:
			return nil, false, err
		}
	}
}

// begins says that a text begins with a word, as far as it goes.
func begins(text, word string) bool { return strings.HasPrefix(text, word[:min(len(text), len(word))]) }

// Accept gives the next connection that speaks HTTP.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.others:
		return c, nil
	case err := <-f.failed:
		return nil, err
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (f *front) Close() error {
	f.once.Do(func() { close(f.done) })
	return f.Listener.Close()
}

// begun is a connection of which the beginning has been read.
type begun struct {
	net.Conn
	head []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.head) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.head)
	b.head = b.head[n:]
	return n, nil
}

// CloseWrite lets the server of HTTP end an answer without cutting off who still sends.
func (b *begun) CloseWrite() error {
	if half, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// answerLine answers a question of one line. The files go with the answer, and are the caller's to close.
func (s *Server) answerLine(c net.Conn, line string) (text string, files []*os.File) {
	p := peerOf(c)
	isTap := strings.HasPrefix(line, tapWord)
	switch {
	case p.mayWrite(os.Geteuid()) && isTap:
		return s.answerTap(line)
	case p.mayWrite(os.Geteuid()):
		return s.answerPlug(line), nil
	case isTap:
		s.opt.Logger.Warn("refused", "path", "tap", "uid", p.uid, "pid", p.pid)
		return ask.Refusal(fmt.Errorf("user %d may not change anything here. Run it as root", p.uid)), nil
	}
	s.opt.Logger.Warn("refused", "path", "vif-plug", "uid", p.uid, "pid", p.pid)
	return ask.Refusal(fmt.Errorf("user %d may not change anything here. Run vif-plug as root", p.uid)), nil
}

// answerPlug answers vif-plug's question.
func (s *Server) answerPlug(line string) string {
	inv, err := ask.ParseLine(line)
	if err == nil {
		err = s.hotplug(s.ctx, inv)
	}
	switch {
	case err == nil:
		return ask.Done()
	case errors.Is(err, hotplug.ErrStopping):
		return ask.Stopping()
	}
	return ask.Refusal(err)
}
