// Package bridge is the host's network as the kernel has it, by netlink: links, ports, bridges, addresses, and the news of their changes.
//
// What a newcomer must know first: sockets belong to the network namespace of the thread that opened them, so [Open] and [OpenMonitor] serve
// the caller's. Nothing here decides; who decides is hotplug. This is the only package that speaks rtnetlink (test/house keeps it so).
package bridge
