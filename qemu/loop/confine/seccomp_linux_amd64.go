package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// archCalls are those that other machines do not have.
var archCalls = []int{unix.SYS_POLL, unix.SYS_EPOLL_WAIT}
