// Package toolstack attaches, detaches and moves the NICs of running guests: it writes what libxl would write into xenstore, so that xl's own
// commands go on working on such a NIC.
//
// What a newcomer must know first: it only writes nodes. The kernel's netback makes the device of what is written, the engine of package hotplug
// puts it on its bridge, and who asked waits for the engine to say so. A NIC lasts as long as its domain does: the guest's configuration, which
// xl reads when it creates the domain anew, is not changed.
package toolstack
