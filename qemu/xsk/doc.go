// Package xsk has AF_XDP sockets: frames to and from a queue of a network device through rings in shared memory, without a system call per frame.
//
// A [Socket] has its own memory of equal frames, half of them for receiving and half for sending, and four rings that the kernel and the process
// fill and empty in turn (linux: Documentation/networking/af_xdp.rst). One goroutine may receive while another sends; neither call allocates.
// An [Attachment] is the XDP program that gives a queue's frames to its socket, and passes the others on as if it were not there.
//
// A socket may be made by one process and used by another: [NewFile] needs CAP_NET_RAW, [Attachment.Add] CAP_NET_ADMIN and CAP_BPF, and [Use]
// nothing but the descriptor (and leave to lock the memory). It is thus that vifplug gives sockets to QEMU: see [NetdevOption].
//
// What comes back from the rings is checked as if a stranger had written it: an index or an address that cannot be is counted in [Stats] as broken
// and otherwise ignored, and never makes the process touch memory that is not the frame's.
package xsk
