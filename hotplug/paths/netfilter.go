package paths

import "vifplug/bridge/firewall"

// Netfilter is the kernel's firewall, as [Rules].
type Netfilter struct{ monitor *firewall.Monitor }

// OpenNetfilter listens for changes of rules in the calling thread's network namespace.
func OpenNetfilter() (*Netfilter, error) {
	m, err := firewall.OpenMonitor()
	if err != nil {
		return nil, err
	}
	return &Netfilter{m}, nil
}

// Read tells which rules there are.
func (n *Netfilter) Read() (firewall.State, error) { return firewall.Read() }

// Wait returns when they change.
func (n *Netfilter) Wait() error { return n.monitor.Receive() }

// Close ends that.
func (n *Netfilter) Close() error { return n.monitor.Close() }
