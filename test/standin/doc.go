// Package standin plays the parts of a Xen host that vifplug works with, on a machine without Xen: the toolstack (as libxl writes domains and
// NICs), netback (as the kernel answers with netdevs and xenbus states), the guest's netfront, and QEMU with the tap of an emulated NIC.
//
// All of them speak to vifplug through the public interfaces alone: a xenstore socket and the kernel's links. Each netdev is a veth pair,
// vifD.N being dom0's end and gD.N the guest's.
package standin
