// Package rings makes the port of a NIC whose QEMU is at AF_XDP rings (path af-xdp): a veth pair of which one end stands in the bridge as the NIC's
// tap, and the other gives its frames to a socket that QEMU is handed.
//
// The pair and the program on its hidden end outlive the daemon and QEMU, so that neither's end nor restart touches the other: the program is pinned
// in a bpffs. They go by [Maker.Delete], or when the guest has gone ([Maker.Sweep],
// which takes vif-loop's away, too).
package rings
