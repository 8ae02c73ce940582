package firewall

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Monitor tells when rules of nftables change in one network namespace, ours apart. Nothing tells of br_netfilter's sysctls nor of the legacy
// firewalls: [Read] those now and then.
type Monitor struct{ nl *netlink.Conn }

// OpenMonitor starts to listen in the calling thread's network namespace. It fails where the kernel has no nfnetlink, and so no nftables.
func OpenMonitor() (*Monitor, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("firewall: open the monitor: %w", err)
	}
	if err := nl.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return nil, fmt.Errorf("firewall: open the monitor: %w", errors.Join(err, nl.Close()))
	}
	return &Monitor{nl: nl}, nil
}

// Receive waits until tables, chains or rules change, or until the kernel has dropped events, which may have been such. A change of many rules
// may come as several. An error comes after Close.
func (m *Monitor) Receive() error {
	for {
		msgs, err := m.nl.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("firewall: receive events: %w", err)
		}
		for _, msg := range msgs {
			if matters(msg) {
				return nil
			}
		}
	}
}

// Close ends the monitor and whoever waits in Receive.
func (m *Monitor) Close() error {
	if err := m.nl.Close(); err != nil {
		return fmt.Errorf("firewall: close the monitor: %w", err)
	}
	return nil
}
