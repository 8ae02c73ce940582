// Package qemu makes the taps through which QEMU's emulated NICs reach the host, for toolstacks that want them ready-made: as devices that last until
// they are deleted, or as open descriptors that QEMU is started with (-netdev tap,fd=N).
//
// A tap is a network device whose other end is a file: what is written there comes out of the device, as from a wire. What the tap stands on is
// not this package's affair: package hotplug plugs it.
package qemu
