// Package udev reads the kernel's uevents, and keeps the files that make udev and its friends treat guest NICs well.
//
// What a newcomer must know first: uevents are hints. The kernel drops them when a reader is slow (then [Monitor.Receive] says [ErrOverflow])
// and sends none again at start, so whoever reads them also lists what is there. They are read from the kernel itself (group 1 of
// NETLINK_KOBJECT_UEVENT), not from systemd-udevd (group 2): a host without udevd works alike, and only the kernel can send them. Everything
// that a program has sent is dropped and counted.
//
// The shipped files stand in the folders rules, link, network and NetworkManager; each says in its head why it is there. The package does not
// embed them: `make install` copies them, and the tests run Debian's udevadm over them.
package udev
