// Package echo asks for ICMP echoes at a steady rate and knows which of them came back: for tests in which not one may be lost.
package echo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pinger asks, and listens.
type Pinger struct {
	conn    *net.IPConn
	to      *net.IPAddr
	payload int
	stop    chan struct{}
	once    sync.Once
	sending sync.WaitGroup
	hearing sync.WaitGroup

	mu       sync.Mutex // guards all following fields
	sent     []time.Time
	answered map[int]bool
	errs     []error
	from     int // the first that counts
}

// Start begins to ask an IPv4 address every interval, from the network namespace of the calling thread. Each request carries payload bytes, and
// none may be fragmented.
func Start(address string, interval time.Duration, payload int) (*Pinger, error) {
	p := &Pinger{to: &net.IPAddr{IP: net.ParseIP(address)}, payload: payload, stop: make(chan struct{}), answered: map[int]bool{}}
	var err error
	if p.conn, err = net.ListenIP("ip4:icmp", nil); err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	raw, err := p.conn.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		})
		err = errors.Join(err, set)
	}
	if err != nil {
		return nil, fmt.Errorf("echo: %w", errors.Join(err, p.conn.Close()))
	}
	p.sending.Go(func() { p.runSend(interval) })
	p.hearing.Go(p.runReceive)
	return p, nil
}

const ident = 0x7066

// request is an echo request (RFC 792).
func request(seq, payload int) []byte {
	b := make([]byte, 8+payload)
	b[0] = 8
	binary.BigEndian.PutUint16(b[4:], ident)
	binary.BigEndian.PutUint16(b[6:], uint16(seq))
	for i := range payload {
		b[8+i] = byte(i + seq)
	}
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}

func (p *Pinger) runSend(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for seq := 0; ; seq++ {
		p.send(seq)
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
	}
}

func (p *Pinger) send(seq int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, time.Now())
	if _, err := p.conn.WriteTo(request(seq, p.payload), p.to); err != nil {
		p.errs = append(p.errs, fmt.Errorf("echo: request %d: %w", seq, err))
	}
}

// runReceive ends with the socket. That a host is unreachable is an answer that did not come, not an error.
func (p *Pinger) runReceive() {
	b := make([]byte, 65536)
	for {
		n, from, err := p.conn.ReadFrom(b)
		if err != nil && !errors.Is(err, syscall.EHOSTUNREACH) {
			return
		}
		if err == nil && n == 8+p.payload && b[0] == 0 && binary.BigEndian.Uint16(b[4:]) == ident && from.String() == p.to.String() {
			p.mu.Lock()
			p.answered[int(binary.BigEndian.Uint16(b[6:]))] = true
			p.mu.Unlock()
		}
	}
}

// Answered is how many answers have come.
func (p *Pinger) Answered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.answered)
}

// Settle waits until all requests of a second have been answered, and forgets those before.
func (p *Pinger) Settle(limit time.Duration) error {
	return p.until(limit, "a second in which every request is answered", func() bool { return p.settled(time.Now()) })
}

// More waits until so many more requests have been answered.
func (p *Pinger) More(n int, limit time.Duration) error {
	want := p.Answered() + n
	return p.until(limit, fmt.Sprintf("%d more answers", n), func() bool { return p.Answered() >= want })
}

func (p *Pinger) until(limit time.Duration, what string, done func() bool) error {
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("echo: %v did not give %s within %v; %d answers in all", p.to, what, limit, p.Answered())
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
	return nil
}

// Times for settled: how long an answer may take, and how long all must have come.
const (
	answerTime = 500 * time.Millisecond
	steadyTime = answerTime + time.Second
)

// settled is Settle's look.
func (p *Pinger) settled(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq, at := range slices.Backward(p.sent) {
		switch age := now.Sub(at); {
		case age < answerTime && !p.answered[seq]: // it may still come
		case !p.answered[seq]:
			return false
		case age > steadyTime:
			p.from = seq
			return true
		}
	}
	return false
}

// grace is how long the last answers may take.
const grace = 3 * time.Second

// Stop stops asking, gives the last ones time to come back, and says how many were sent since [Pinger.Settle], and which of them were lost.
func (p *Pinger) Stop() (sent int, lost []int, err error) {
	p.halt()
	p.sending.Wait()
	_ = p.until(grace, "the rest", func() bool { return len(p.missing()) == 0 })
	p.Close()
	lost = p.missing()
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent) - p.from, lost, errors.Join(p.errs...)
}

// missing are those that count and have not been answered.
func (p *Pinger) missing() (seqs []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq := p.from; seq < len(p.sent); seq++ {
		if !p.answered[seq] {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

func (p *Pinger) halt() { p.once.Do(func() { close(p.stop) }) }

// Close ends it at once. It may be called again.
func (p *Pinger) Close() {
	p.halt()
	p.sending.Wait()
	_ = p.conn.Close()
	p.hearing.Wait()
}
