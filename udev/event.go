package udev

import (
	"strconv"
	"strings"
)

// Event is one uevent of the kernel. Everything in it has come through [Parse], yet values of Env are raw: a driver may have put there what
// somebody wrote to xenstore (linux: drivers/net/xen-netback/xenbus.c netback_uevent).
type Event struct {
	Action    string            // add, remove, change, move, online, offline, bind, unbind
	DevPath   string            // below /sys, beginning with a slash
	Subsystem string            // net, xen-backend...
	Env       map[string]string // all of it, ACTION, DEVPATH and SUBSYSTEM included
}

// SysName is the device's name on its bus: the last element of DevPath.
func (e Event) SysName() string {
	return e.DevPath[strings.LastIndexByte(e.DevPath, '/')+1:]
}

// maxDomID is the greatest domid that a guest can have: DOMID_FIRST_RESERVED is 0x7FF0 (xen: xen/include/public/xen.h).
const maxDomID = 0x7FEF

// Backend tells which guest's NIC a xen-backend event is about: the frontend's domid and the device's number, from the sysname vif-FE-N
// (linux: drivers/xen/xenbus/xenbus_probe_backend.c backend_bus_id). It is not ok for other subsystems and for backends of other kinds.
func (e Event) Backend() (front uint16, dev uint32, ok bool) {
	if e.Subsystem != "xen-backend" {
		return 0, 0, false
	}
	rest, found := strings.CutPrefix(e.SysName(), "vif-")
	if !found {
		return 0, 0, false
	}
	fe, n, found := strings.Cut(rest, "-")
	if !found {
		return 0, 0, false
	}
	f, okFront := decimal(fe, maxDomID)
	d, okDev := decimal(n, 1<<31-1) // libxl's devid is an int
	if !okFront || !okDev {
		return 0, 0, false
	}
	return uint16(f), uint32(d), true
}

// decimal reads a number as the kernel prints it: no sign, no leading zero.
func decimal(s string, most uint64) (uint64, bool) {
	if s == "" || s[0] == '+' || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= most
}
