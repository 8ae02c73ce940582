package realstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// ring is the page that a domain shares with the store (xen: xen/include/public/io/xs_wire.h struct xenstore_domain_interface).
type ring struct {
	req, rsp         [ringSize]byte
	reqCons, reqProd atomic.Uint32
	rspCons, rspProd atomic.Uint32
}

const (
	ringSize = 1024
	pageSize = 4096
)

// guest is a connection over a ring, from the domain's side.
type guest struct {
	domid  uint16
	page   []byte
	ring   *ring
	events *os.File // to the store
	out    *os.File // from the store
	pump   sync.WaitGroup

	mu       sync.Mutex // guards all following fields
	news     *sync.Cond // the ring has changed, or one of the following
	gone     bool       // the store has let go of the page
	closed   bool
	deadline time.Time // of Read; zero is none
	alarm    *time.Timer
}

// Guest connects as a domain that has been introduced, over the ring that its kernel would use: unprivileged unless it is domain 0. It must be
// the only connection of that domain, and be opened again after the domain is introduced anew.
func (s *Store) Guest(domid uint16) (net.Conn, error) {
	f, err := os.OpenFile(filepath.Join(s.rings(), fmt.Sprintf("%d.ring", domid)), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("realstore: domain %d has no ring, it must be introduced first: %w", domid, err)
	}
	page, err := syscall.Mmap(int(f.Fd()), 0, pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("realstore: ring of domain %d: %w", domid, err)
	}
	g := &guest{domid: domid, page: page, ring: (*ring)(unsafe.Pointer(&page[0]))}
	g.news = sync.NewCond(&g.mu)
	g.events, err = os.OpenFile(s.events(), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		g.out, err = os.OpenFile(filepath.Join(s.rings(), fmt.Sprintf("%d.out", domid)), os.O_RDWR|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("realstore: guest %d: %w", domid, err), g.Close())
	}
	g.pump.Add(1)
	go g.runPump()
	return g, nil
}

// runPump hears what the store has to say until Close.
func (g *guest) runPump() {
	defer g.pump.Done()
	var what [64]byte
	for {
		n, err := g.out.Read(what[:])
		g.mu.Lock()
		g.gone = g.gone || err != nil || bytes.IndexByte(what[:n], 'c') >= 0
		g.news.Broadcast()
		g.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Read takes what the store has written, or waits for it. io.EOF means that the store no longer knows the domain.
func (g *guest) Read(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		switch n := g.take(b); {
		case n > 0:
			return n, nil
		case g.closed:
			return 0, net.ErrClosed
		case g.gone:
			return 0, io.EOF
		case !g.deadline.IsZero() && !time.Now().Before(g.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		g.news.Wait()
	}
}

// take copies what is in the ring, and tells the store of the room.
func (g *guest) take(b []byte) int {
	if g.closed {
		return 0
	}
	cons, n := g.ring.rspCons.Load(), 0
	for ; n < len(b) && cons != g.ring.rspProd.Load(); n++ {
		b[n] = g.ring.rsp[cons%ringSize]
		cons++
	}
	g.ring.rspCons.Store(cons)
	if n > 0 && !g.gone {
		_, _ = g.events.Write([]byte{'r'})
	}
	return n
}

// Write puts all of b into the ring, and waits while that is full.
func (g *guest) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for sent := 0; ; {
		n, err := g.put(b[sent:])
		if sent += n; err != nil || sent == len(b) {
			return sent, err
		}
		g.news.Wait()
	}
}

func (g *guest) put(b []byte) (int, error) {
	if g.closed || g.gone {
		return 0, net.ErrClosed
	}
	prod, n := g.ring.reqProd.Load(), 0
	for ; n < len(b) && prod-g.ring.reqCons.Load() < ringSize; n++ {
		g.ring.req[prod%ringSize] = b[n]
		prod++
	}
	g.ring.reqProd.Store(prod)
	if n == 0 {
		return 0, nil
	}
	if _, err := g.events.Write([]byte{'r'}); err != nil {
		return n, err
	}
	return n, nil
}

// Close lets go of the ring on the domain's side. The store does not notice.
func (g *guest) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	if g.alarm != nil {
		g.alarm.Stop()
	}
	g.news.Broadcast()
	g.mu.Unlock()
	var err error
	for _, f := range []*os.File{g.events, g.out} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	g.pump.Wait()
	g.mu.Lock() // whoever used the page has seen that it is closed
	defer g.mu.Unlock()
	return errors.Join(err, syscall.Munmap(g.page))
}

// SetReadDeadline bounds how long Read waits; zero is for ever.
func (g *guest) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.alarm != nil {
		g.alarm.Stop()
	}
	g.deadline, g.alarm = t, nil
	if !t.IsZero() {
		g.alarm = time.AfterFunc(time.Until(t), g.ringAlarm)
	}
	return nil
}

// ringAlarm wakes Read; under the lock, so that it cannot ring between Read's look at the clock and its wait.
func (g *guest) ringAlarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.news.Broadcast()
}

// The rest of net.Conn; deadlines hold for Read alone.

func (g *guest) LocalAddr() net.Addr                { return g }
func (g *guest) RemoteAddr() net.Addr               { return g }
func (g *guest) Network() string                    { return "ring" }
func (g *guest) String() string                     { return fmt.Sprintf("domain %d", g.domid) }
func (g *guest) SetDeadline(t time.Time) error      { return g.SetReadDeadline(t) }
func (g *guest) SetWriteDeadline(t time.Time) error { return nil }
