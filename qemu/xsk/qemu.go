package xsk

import (
	"fmt"
	"strconv"
	"strings"
)

// NetdevOption is what QEMU is told of sockets that were made for it: -netdev af-xdp,id=NAME, and this. fds are the sockets' descriptors in QEMU's
// process, for the device's queues from 0 on, and mode is the program's ([Attachment.Mode]).
//
// QEMU has -netdev af-xdp since 8.2, where it was built with libxdp 1.4 or later; Debian's are not (7.2, 10.0, 11.1 link no libxdp). Who does what
// (qemu 10.0: net/af-xdp.c; libxdp 1.5: lib/libxdp/xsk.c):
//
//   - We make the socket, and put it into the program's map. QEMU's net_init_af_xdp takes sock-fds only together with inhibit=on, one for each queue.
//   - af_xdp_umem_create gives the descriptor to xsk_umem__create_with_fd: QEMU's own memory (8192 frames of 4096 bytes) is registered with our
//     socket, which must have none yet, and the fill and completion rings (2048 each) are made on it. So the socket must be fresh; and the memory
//     counts against QEMU's RLIMIT_MEMLOCK: [LockedByQEMU] bytes a queue.
//   - af_xdp_socket_create has xsk_socket__create make the receive and transmit rings on the same descriptor, since it is the memory's first user
//     (umem->refcount is 0), and bind it to the device and queue with XDP_USE_NEED_WAKEUP. inhibit=on becomes XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD: no
//     program is loaded and no map is touched. So the socket must be in the map already. The kernel takes a socket into a map that is not bound
//     (linux: net/xdp/xskmap.c xsk_map_update_elem asks for the family alone), and drops the queue's frames until it is (net/xdp/xsk.c xsk_rcv_check).
//   - At the end net_init_af_xdp asks whether a program is on the device in the mode that it was told; without mode= that is native. So mode= must be
//     the mode it was attached in, or QEMU ends with "no XDP program loaded".
//   - It finds the device by its name, in its own network namespace, and needs no capability for any of this.
//   - af_xdp_receive writes a guest's frame of up to 4096 bytes into the ring. QEMU does not call the kernel for it: it asks its main loop to poll the
//     descriptor for writing, and it is the poll that sends (linux: net/xdp/xsk.c xsk_poll), once for all frames that the guest has queued until then.
//   - af_xdp_send gives up to 64 received frames a turn to the NIC. When QEMU ends the kernel takes its sockets out of the map.
func NetdevOption(device string, mode Mode, fds []int) string {
	words := make([]string, len(fds))
	for i, fd := range fds {
		words[i] = strconv.Itoa(fd)
	}
	return fmt.Sprintf("ifname=%s,mode=%s,queues=%d,inhibit=on,sock-fds=%s", device, mode, len(fds), strings.Join(words, ":"))
}

// LockedByQEMU is how much memory QEMU has the kernel lock for each socket, in bytes.
const LockedByQEMU = 8192 * 4096
