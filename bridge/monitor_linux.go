package bridge

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// LinkEvent says that a link has changed, come or gone. What it says was true when it was sent.
type LinkEvent struct {
	Link    Link
	Deleted bool
}

// Monitor receives the link events of one network namespace.
type Monitor struct{ nl *netlink.Conn }

// monitorBuffer is asked for each monitor, in bytes: room for the events of about 4,000 links that appear at once.
const monitorBuffer = 8 << 20

// OpenMonitor starts to receive events of the calling thread's network namespace.
func OpenMonitor() (*Monitor, error) { return openMonitor(monitorBuffer) }

func openMonitor(buffer int) (*Monitor, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_LINK})
	if err != nil {
		return nil, fail("open", "link monitor", err)
	}
	if err := nl.SetReadBuffer(buffer); err != nil {
		_ = nl.Close()
		return nil, fail("open", "link monitor", err)
	}
	return &Monitor{nl: nl}, nil
}

// Receive waits for events and returns those that came together. ErrOverflow says that some were lost: list the links again, then go on
// receiving. Other errors come after Close.
func (m *Monitor) Receive() ([]LinkEvent, error) {
	for {
		msgs, err := m.nl.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			return nil, ErrOverflow
		}
		if err != nil {
			return nil, fail("receive", "link events", err)
		}
		if out := linkEvents(msgs); len(out) > 0 {
			return out, nil
		}
	}
}

// linkEvents picks the link messages. Those of the bridge family repeat, from the port's side, what others say.
func linkEvents(msgs []netlink.Message) []LinkEvent {
	var out []LinkEvent
	for _, msg := range msgs {
		if msg.Header.Type != unix.RTM_NEWLINK && msg.Header.Type != unix.RTM_DELLINK {
			continue
		}
		l, family, err := decodeLink(msg.Data)
		if err != nil || family == unix.AF_BRIDGE {
			continue
		}
		l.findParent()
		out = append(out, LinkEvent{Link: l, Deleted: msg.Header.Type == unix.RTM_DELLINK})
	}
	return out
}

// Close ends the monitor and whoever waits in Receive.
func (m *Monitor) Close() error { return fail("close", "link monitor", m.nl.Close()) }
