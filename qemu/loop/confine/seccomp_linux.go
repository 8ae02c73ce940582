package confine

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rule is a system call that may be made, where an argument has a value; others end the process.
type rule struct {
	call     int
	argument int // of which the lower half counts; -1: all are fine
	values   []uint32
}

// calls may be made with any arguments. The first are the loop's, the others those of Go's runtime.
var calls = append([]int{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_RECVFROM, unix.SYS_SENDTO, unix.SYS_SENDMMSG, unix.SYS_PPOLL, unix.SYS_ACCEPT4,
	unix.SYS_GETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_MUNMAP,

	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_SCHED_YIELD, unix.SYS_GETPID,
	unix.SYS_GETTID, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL, unix.SYS_MADVISE,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2, unix.SYS_GETRANDOM, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}, archCalls...)

// refused are calls that fail instead of ending the process: Go's runtime tries them, and can do without.
var refused = []int{unix.SYS_PRCTL, unix.SYS_PIPE2}

// threadFlags are what Go's runtime makes threads with (go: runtime/os_linux.go cloneFlags; on some machines sys_linux_*.s adds that of the thread's
// own storage).
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD

// rules say which calls may be made. self is the process's id.
func rules(self int, dial bool) []rule {
	var out []rule
	for _, c := range calls {
		out = append(out, rule{c, -1, nil})
	}
	const anonymous, readWrite, notYet = 2, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_NONE
	out = append(out,
		rule{unix.SYS_MMAP, anonymous, []uint32{notYet, unix.PROT_READ, readWrite}}, // nothing that could be executed
		rule{unix.SYS_MPROTECT, 2, []uint32{notYet, unix.PROT_READ, readWrite}},
		rule{unix.SYS_CLONE, 0, []uint32{threadFlags, threadFlags | unix.CLONE_SETTLS}},
		rule{unix.SYS_IOCTL, 1, []uint32{unix.SIOCGIFNAME, unix.SIOCGIFFLAGS}}, // a device's state
		rule{unix.SYS_TGKILL, 0, []uint32{uint32(self)}},
	)
	if dial {
		out = append(out, rule{unix.SYS_SOCKET, 0, []uint32{unix.AF_UNIX}}, rule{unix.SYS_CONNECT, -1, nil})
	}
	return out
}

// The places of what a filter looks at (linux: include/uapi/linux/seccomp.h struct seccomp_data), on little-endian machines.
const (
	atCall      = 0
	atArch      = 4
	atArguments = 16
)

// filter is the program for [unix.SECCOMP_SET_MODE_FILTER].
func filter(dial bool) []unix.SockFilter {
	const kill, allow = unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_ALLOW
	p := []unix.SockFilter{load(atArch), skipIf(auditArch, 1), answer(kill), load(atCall)}
	for _, c := range refused {
		p = append(p, skipUnless(uint32(c), 1), answer(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)))
	}
	for _, r := range rules(unix.Getpid(), dial) {
		if r.argument < 0 {
			p = append(p, skipUnless(uint32(r.call), 1), answer(allow))
			continue
		}
		p = append(p, skipUnless(uint32(r.call), uint8(2+2*len(r.values))), load(uint32(atArguments+8*r.argument)))
		for _, v := range r.values {
			p = append(p, skipUnless(v, 1), answer(allow))
		}
		p = append(p, answer(kill))
	}
	return append(p, answer(kill))
}

func load(at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
}

func answer(v uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v}
}

func skipIf(v uint32, n uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jt: n}
}

func skipUnless(v uint32, n uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jf: n}
}

// install has the kernel filter the calls of every thread.
func install(p []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	switch {
	case errno != 0:
		return errno
	case r != 0:
		return fmt.Errorf("thread %d cannot be filtered", r)
	}
	return nil
}
