package cases

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"vifplug/bridge"
	"vifplug/hotplug"
	"vifplug/xenstore"
)

func isGone(err error) bool { return errors.Is(err, xenstore.ENOENT) }

// inner names the embedded interface otherwise than its method Links.
type inner = hotplug.Links

// recorder writes down what the engine asks of the kernel, and may have something happen before a change, or let it fail.
type recorder struct {
	inner

	mu      sync.Mutex // guards all following fields
	changes []string   // in order
	reads   int
	before  func(n int, change string) error // n counts from 1
}

// on sets what happens before each change from now on, and counts anew.
func (r *recorder) on(before func(n int, change string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.changes, r.reads = before, nil, 0
}

func (r *recorder) change(text string) error {
	r.mu.Lock()
	r.changes = append(r.changes, text)
	n, before := len(r.changes), r.before
	r.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(n, text)
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.changes...)
}

func (r *recorder) readCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads
}

func (r *recorder) Link(index int) (bridge.Link, error) {
	r.mu.Lock()
	r.reads++
	r.mu.Unlock()
	return r.inner.Link(index)
}

func (r *recorder) Set(index int, c bridge.Change) error {
	if err := r.change("set " + changeText(c)); err != nil {
		return err
	}
	return r.inner.Set(index, c)
}

func (r *recorder) DeleteAddress(index int, a netip.Prefix) error {
	if err := r.change("delete address"); err != nil {
		return err
	}
	return r.inner.DeleteAddress(index, a)
}

func (r *recorder) IgnoreRA(n bridge.Name) error {
	if err := r.change("ignore RA"); err != nil {
		return err
	}
	return r.inner.IgnoreRA(n)
}

// changeText names what a change changes.
func changeText(c bridge.Change) string {
	var out []string
	add := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(c.Name != "", "name %s", c.Name)
	add(c.MAC != nil, "mac")
	add(c.MTU != 0, "mtu %d", c.MTU)
	add(c.NoAddrGen, "addrgen")
	add(c.Master != nil, "master")
	add(c.Up != nil && *c.Up, "up")
	add(c.Up != nil && !*c.Up, "down")
	add(c.Alias != nil, "alias")
	return strings.Join(out, " ")
}

// lossyMonitor loses events as a full socket buffer does: while it is deaf it swallows them, and then says that some were lost.
type lossyMonitor struct {
	hotplug.LinkMonitor
	mu   sync.Mutex // guards the following
	deaf bool
	lost int
}

func (m *lossyMonitor) setDeaf(deaf bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaf = deaf
}

func (m *lossyMonitor) lostCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

func (m *lossyMonitor) Receive() ([]bridge.LinkEvent, error) {
	for {
		out, err := m.LinkMonitor.Receive()
		if err != nil {
			return out, err
		}
		m.mu.Lock()
		deaf, lost := m.deaf, m.lost
		if deaf {
			m.lost += len(out)
		} else {
			m.lost = 0
		}
		m.mu.Unlock()
		switch {
		case !deaf && lost > 0:
			return nil, bridge.ErrOverflow // the events at hand are lost as well
		case !deaf:
			return out, nil
		}
	}
}
