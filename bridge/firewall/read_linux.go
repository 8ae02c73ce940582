package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Read tells what the firewalls of the calling thread's network namespace have. It needs CAP_NET_ADMIN.
//
// Of the legacy firewalls it asks only for tables that are there already: asked for another, the kernel would load and set it up, and every
// frame pay for it. Not among the hooks are nftables' flow tables, which speed up what rules have let through, and connection tracking, which
// drops nothing by itself.
func Read() (State, error) {
	var s State
	hooks, err := readNFT()
	if err != nil {
		return State{}, fmt.Errorf("firewall: read nftables: %w", err)
	}
	s.keep(hooks)
	for _, f := range []legacy{ip4Tables, ip6Tables, arpTables} {
		hooks, err := f.read()
		if err != nil {
			return State{}, fmt.Errorf("firewall: read %s: %w", f.by, err)
		}
		s.keep(hooks)
	}
	if hooks, err = readEbtables(); err != nil {
		return State{}, fmt.Errorf("firewall: read ebtables: %w", err)
	}
	s.keep(hooks)
	if err := s.readCalls(); err != nil {
		return State{}, fmt.Errorf("firewall: read br_netfilter: %w", err)
	}
	return s, nil
}

// readCalls reads br_netfilter's sysctls; a kernel without it has none.
func (s *State) readCalls() error {
	const dir = "/proc/sys/net/bridge/bridge-nf-call-"
	for name, on := range map[string]*bool{"iptables": &s.NFCall.IP, "ip6tables": &s.NFCall.IP6, "arptables": &s.NFCall.ARP} {
		b, err := os.ReadFile(dir + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.BrNetfilter, *on = true, !bytes.Equal(bytes.TrimSpace(b), []byte("0"))
	}
	return nil
}
