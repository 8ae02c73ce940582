package systemd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// sendTime is how long a record may wait for a journal whose queue is full, before it is dropped: the daemon serves guests first.
const sendTime = time.Second

// journalSocket is the connection to the journal. It is connected, not only addressed, so that waiting for a full queue can end.
type journalSocket struct {
	path   string
	stderr io.Writer

	mu      sync.Mutex    // guards the following, and keeps records whole on stderr
	conn    *net.UnixConn // nil after close
	dropped int           // records that a full queue has cost so far and that nobody was told of
}

func (s *journalSocket) dial() error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err == nil {
		s.conn = conn
	}
	return err
}

func (s *journalSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	if err != nil {
		return fmt.Errorf("systemd: close the journal: %w", err)
	}
	return nil
}

// send delivers a record, or writes its line to stderr with the priority before it as systemd reads it (systemd: sd-daemon(3)).
func (s *journalSocket) send(fields []byte, priority byte, line string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped > 0 {
		fields = fmt.Appendf(fields, "LOG_DROPPED=%d\n", s.dropped)
	}
	err := s.write(fields)
	if err != nil && s.conn != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.again(fields)
	}
	switch {
	case err == nil:
		s.dropped = 0
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.dropped++
		return nil
	}
	_, err = fmt.Fprintf(s.stderr, "<%c>%s\n", priority, line)
	return err
}

func (s *journalSocket) write(fields []byte) error {
	if s.conn == nil {
		return net.ErrClosed
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
		return err
	}
	_, err := s.conn.Write(fields)
	// The deadline's timer must not wake an idle daemon.
	return errors.Join(err, s.conn.SetWriteDeadline(time.Time{}))
}

// again connects anew: the journal's socket was made again.
func (s *journalSocket) again(fields []byte) error {
	old := s.conn
	if err := s.dial(); err != nil {
		return err
	}
	return errors.Join(s.write(fields), old.Close())
}
