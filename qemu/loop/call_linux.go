package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of a frame's way are raw: their descriptors never wait, and Go's scheduler would take longer to hear of them than they last. Only the
// sleeping poll is an ordinary call, so that nothing in the process waits for a packet.

// recv reads what there is, without waiting.
func recv(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// send writes what is taken, without waiting.
func send(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// yield lets others run on this core, if there are any.
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// poll sleeps until n of the descriptors are ready; for ms milliseconds at most, without end where that is negative.
func poll(fds []unix.PollFd, ms int) (n int, err error) {
	for {
		n, err = unix.Poll(fds, ms)
		if err != unix.EINTR {
			return n, err
		}
	}
}
