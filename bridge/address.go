package bridge

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Of addresses, what golang.org/x/sys does not have (linux: include/uapi/linux/if_addr.h).
const (
	addressMetric   = unix.IFA_RT_PRIORITY
	addressProtocol = 11 // IFA_PROTO
	madeLinkLocal   = 3  // IFAPROT_KERNEL_LL

	forEver = math.MaxUint32 // of a lifetime
)

// decodeFullAddress reads an address message: the device's index, and the address; false where it is one that does not count.
func decodeFullAddress(b []byte) (index int, a Address, label string, ok bool) {
	if len(b) < ifaddr {
		return 0, Address{}, "", false
	}
	var own, other netip.Addr
	flags, stated := uint32(b[2]), false
	a.Scope = int(b[3])
	for kind, v := range attrs(b[ifaddr:]) {
		switch kind {
		case unix.IFA_LOCAL:
			own, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			other, _ = netip.AddrFromSlice(v)
		case unix.IFA_BROADCAST:
			a.Broadcast, _ = netip.AddrFromSlice(v)
		case unix.IFA_LABEL:
			label = text(v)
		case unix.IFA_FLAGS:
			flags = uint32(number(v))
		case unix.IFA_CACHEINFO:
			if len(v) >= 8 {
				a.Preferred, a.Valid = lifetime(binary.NativeEndian.Uint32(v), Deprecated), lifetime(binary.NativeEndian.Uint32(v[4:]), time.Second)
			}
		case addressMetric:
			a.Metric = number(v)
		case addressProtocol:
			if stated = len(v) > 0; stated {
				a.Protocol = int(v[0])
			}
		}
	}
	if !own.IsValid() {
		own = other
	}
	a.Prefix = netip.PrefixFrom(own, int(b[1]))
	if other.IsValid() && other != own {
		a.Peer = netip.PrefixFrom(other, int(b[1]))
	}
	a.NoPrefixRoute = flags&unix.IFA_F_NOPREFIXROUTE != 0
	return int(binary.NativeEndian.Uint32(b[4:])), a, label, a.Prefix.IsValid() && !a.madeByKernel(flags, stated)
}

// lifetime is what is left of one; over says what stands for none, since 0 means for ever.
func lifetime(seconds uint32, over time.Duration) time.Duration {
	switch seconds {
	case forEver:
		return 0
	case 0:
		return over
	}
	return time.Duration(seconds) * time.Second
}

// madeByKernel says that an address is the link-local one which every device with IPv6 gets. Kernels before 5.18 do not tell who made an
// address: there it is any link-local one with the subnet that the kernel gives.
func (a Address) madeByKernel(flags uint32, stated bool) bool {
	if !a.Prefix.Addr().Is6() || !a.Prefix.Addr().IsLinkLocalUnicast() {
		return false
	}
	return a.Protocol == madeLinkLocal || !stated && a.Prefix.Bits() == 64 && flags&unix.IFA_F_PERMANENT != 0
}

// labelOf is what follows the device's name in a label.
func labelOf(label string, device Name) string {
	rest, ok := strings.CutPrefix(label, string(device)+":")
	if !ok {
		return ""
	}
	return rest
}

// encode is the message that adds the address to a device.
func (a Address) encode(index int, device Name) []byte {
	b := a.encodeKey(index)
	b[3] = byte(a.Scope)
	if a.Broadcast.IsValid() {
		b = appendAttr(b, unix.IFA_BROADCAST, a.Broadcast.AsSlice())
	}
	if a.Label != "" && a.Prefix.Addr().Is4() && len(device)+1+len(a.Label) <= NameMax {
		b = appendString(b, unix.IFA_LABEL, string(device)+":"+a.Label)
	}
	flags := uint32(0)
	if a.NoPrefixRoute {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if a.NoDAD && a.Prefix.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	b = appendUint32(b, unix.IFA_FLAGS, flags)
	if a.Metric != 0 {
		b = appendUint32(b, addressMetric, uint32(a.Metric))
	}
	if a.Protocol != 0 {
		b = appendAttr(b, addressProtocol, []byte{byte(a.Protocol)})
	}
	return appendAttr(b, unix.IFA_CACHEINFO, a.cacheInfo())
}

// encodeKey is the part of the message that says which address.
func (a Address) encodeKey(index int) []byte {
	b := make([]byte, ifaddr, 128)
	b[0], b[1] = unix.AF_INET, byte(a.Prefix.Bits())
	if a.Prefix.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	b = appendAttr(b, unix.IFA_LOCAL, a.Prefix.Addr().AsSlice())
	other := a.Prefix.Addr()
	if a.Peer.IsValid() {
		other, b[1] = a.Peer.Addr(), byte(a.Peer.Bits())
	}
	return appendAttr(b, unix.IFA_ADDRESS, other.AsSlice())
}

// cacheInfo is a struct ifa_cacheinfo. An address cannot be preferred for longer than it is valid.
func (a Address) cacheInfo() []byte {
	valid, preferred := seconds(a.Valid), seconds(a.Preferred)
	b := binary.NativeEndian.AppendUint32(nil, min(preferred, valid))
	b = binary.NativeEndian.AppendUint32(b, valid)
	return append(b, make([]byte, 8)...)
}

func seconds(d time.Duration) uint32 {
	if d <= 0 {
		return forEver
	}
	return uint32(min(d/time.Second, forEver-1))
}
