// Package domctl asks the hypervisor what state a domain is in. The store does not tell a shutdown from a crash; Xen does.
//
// It makes one hypercall, XEN_DOMCTL_getdomaininfo, through /dev/xen/privcmd (xen: xen/include/public/domctl.h). Only the fields at the
// beginning of the answer are read, which have stood where they are since Xen 4.2.
package domctl

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNoXen says that this machine has no hypervisor that it may ask.
var ErrNoXen = errors.New("domctl: no /dev/xen/privcmd: not a Xen control domain")

// ErrNotFound says that there is no domain with the id.
var ErrNotFound = errors.New("domctl: no such domain")

// Info is a domain's state.
type Info struct {
	Domid    uint16
	Dying    bool // being destroyed
	Paused   bool
	Shutdown bool   // it has shut down or crashed, and is still there
	Reason   string // of the shutdown: poweroff, reboot, suspend, crash, watchdog, soft-reset; "" while it runs
}

// Flags of a domain (xen: domctl.h XEN_DOMINF_*).
const (
	flagDying     = 1 << 0
	flagShutdown  = 1 << 2
	flagPaused    = 1 << 3
	reasonShift   = 16
	reasonMask    = 255
	getDomainInfo = 5 // XEN_DOMCTL_getdomaininfo
)

// reasons of a shutdown (xen: xen/include/public/sched.h SHUTDOWN_*).
var reasons = []string{"poweroff", "reboot", "suspend", "crash", "watchdog", "soft-reset"}

// requestSize is sizeof(struct xen_domctl): 16 bytes before a union of 128.
const requestSize = 16 + 128

// request writes the question: cmd, interface_version, domain.
func request(b []byte, version uint32, domid uint16) {
	clear(b[:requestSize])
	binary.NativeEndian.PutUint32(b, getDomainInfo)
	binary.NativeEndian.PutUint32(b[4:], version)
	binary.NativeEndian.PutUint16(b[8:], domid)
}

// answer reads what Xen wrote in the request's place. Xen answers with the next domain that there is when the one asked for does not exist.
func answer(b []byte, domid uint16) (Info, error) {
	got := binary.NativeEndian.Uint16(b[16:])
	flags := binary.NativeEndian.Uint32(b[20:])
	if got != domid {
		return Info{}, fmt.Errorf("%w: %d", ErrNotFound, domid)
	}
	i := Info{Domid: got, Dying: flags&flagDying != 0, Shutdown: flags&flagShutdown != 0, Paused: flags&flagPaused != 0}
	if i.Shutdown {
		i.Reason = reasonText(int(flags >> reasonShift & reasonMask))
	}
	return i, nil
}

// The versions of the interface that are tried, newest first: Xen 4.2 has 8, Xen 4.17 has 21. Xen answers EACCES to a wrong one.
const (
	firstVersion = 8
	lastVersion  = 40
)

// interfaceVersion is the version that the hypervisor takes; 0 while it is not known.
type interfaceVersion uint32

// info asks with the version that is known, or finds it: an answer that only the right version gets, be it that there is no such domain, is
// conclusive and kept; any other error is not.
func (known *interfaceVersion) info(domid uint16, ask func(version uint32, domid uint16) (Info, error)) (Info, error) {
	if *known != 0 {
		return ask(uint32(*known), domid)
	}
	for v := uint32(lastVersion); v >= firstVersion; v-- {
		i, err := ask(v, domid)
		if errors.Is(err, unix.EACCES) {
			continue
		}
		if err == nil || errors.Is(err, ErrNotFound) {
			*known = interfaceVersion(v)
		}
		return i, err
	}
	return Info{}, fmt.Errorf("domctl: the hypervisor takes none of the interface versions %d to %d", firstVersion, lastVersion)
}

func reasonText(code int) string {
	if code < len(reasons) {
		return reasons[code]
	}
	return fmt.Sprintf("reason %d", code)
}
