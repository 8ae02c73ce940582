// Package hotplug is the heart of vifplug: the NICs of Xen guests, what each should be, what it is, and the steps between.
//
// What a newcomer must know first: events are hints. A xenstore watch, an rtnetlink message, a uevent, a call of vif-plug and a timer all do
// the same thing: they mark the [Key] of a NIC dirty. One worker a key then observes the NIC afresh (backend node, netdev, bridge), decides
// with the pure function [Decide], does the steps, and reports. So lost, doubled, reordered or forged events change nothing but timing, and
// starting, reconnecting and SIGHUP are one piece of code: every key marked.
//
// A NIC that QEMU emulates as well has a second device in dom0, QEMU's tap. It has a [Key] of its own, and all of the above for itself; only the
// node is the NIC's. See tap.go.
//
// The engine's memory may be lost at any moment. What must survive lives in xenstore and in the kernel (a port that vifplug made its own
// carries an ifalias that begins with "vifplug:").
package hotplug
