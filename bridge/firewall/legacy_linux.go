package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// read lists the chains of the tables that are there.
func (f legacy) read() ([]Hook, error) {
	names, err := os.ReadFile("/proc/thread-self/net/" + f.names)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || len(names) == 0 {
		return nil, err
	}
	fd, err := unix.Socket(f.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	var out []Hook
	for _, name := range strings.Fields(string(names)) {
		found, err := f.table(fd, name)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

// table reads one table, again while it changes. One that has gone meanwhile has nothing.
func (f legacy) table(fd int, name string) ([]Hook, error) {
	if len(name) >= tableName {
		return nil, unix.ENAMETOOLONG
	}
	for range readings {
		info := make([]byte, f.infoSize())
		copy(info, name)
		if err := getsockopt(fd, f.level, f.option, info); errors.Is(err, unix.ENOENT) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		list := make([]byte, listHead+f.entriesSize(info))
		copy(list, name)
		copy(list[tableName:], info[len(info)-4:])
		err := getsockopt(fd, f.level, f.option+1, list)
		if errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return f.chains(name, info, list[listHead:]), nil
	}
	return nil, errChanging
}

// getsockopt asks for an option whose value says what is asked.
func getsockopt(fd, level, option int, value []byte) error {
	n := uint32(len(value))
	_, _, no := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(unsafe.Pointer(&n)), 0)
	if no != 0 {
		return no
	}
	return nil
}
