package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readEbtables lists the chains of legacy ebtables' tables. (ebtables-nft makes chains of nftables.) Nothing lists the tables that are there,
// so only those are asked for whose module is loaded, or that may be built in where there are no modules: whoever asks sets the table up for
// the network namespace, empty, if nobody did so before.
func readEbtables() ([]Hook, error) {
	tables, err := ebtTables()
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	var out []Hook
	for _, name := range tables {
		found, err := ebtTable(fd, name)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

func ebtTables() (out []string, err error) {
	all := []string{"broute", "nat", "filter"}
	modules, err := os.ReadFile("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	return loaded(all, string(modules)), nil
}

// loaded picks the tables whose modules are in the list of /proc/modules.
func loaded(tables []string, modules string) (out []string) {
	for _, t := range tables {
		if strings.Contains("\n"+modules, "\nebtable_"+t+" ") {
			out = append(out, t)
		}
	}
	return out
}

// ebtTable reads one table, again while it changes.
func ebtTable(fd int, name string) ([]Hook, error) {
	for range readings {
		info := make([]byte, ebtReplace)
		copy(info, name)
		err := getsockopt(fd, unix.IPPROTO_IP, ebtGetInfo, info)
		if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.ENOENT) { // the kernel has no ebtables, or not this table
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		entries := make([]byte, binary.NativeEndian.Uint32(info[ebtEntriesSize:]))
		if len(entries) == 0 {
			return nil, nil
		}
		err = ebtList(fd, name, info, entries)
		if errors.Is(err, unix.EINVAL) { // the sizes are no longer right
			continue
		}
		if err != nil {
			return nil, err
		}
		return ebtChains(name, entries), nil
	}
	return nil, errChanging
}

// ebtList has the kernel write a table's entries to where the question points.
func ebtList(fd int, name string, info, entries []byte) error {
	list := make([]byte, ebtReplace)
	copy(list, name)
	copy(list[ebtEntryCount:], info[ebtEntryCount:ebtEntriesSize+4])
	var pin runtime.Pinner
	pin.Pin(&entries[0])
	defer pin.Unpin()
	binary.NativeEndian.PutUint64(list[ebtEntriesAt:], uint64(uintptr(unsafe.Pointer(&entries[0]))))
	return getsockopt(fd, unix.IPPROTO_IP, ebtGetEntries, list)
}
