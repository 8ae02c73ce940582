package bridge

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// rtmsg is the fixed part of a route message (linux: struct rtmsg), rtnexthop that of each of several next hops.
const (
	rtmsg     = unix.SizeofRtMsg
	rtnexthop = unix.SizeofRtNexthop
)

// Of routes, what golang.org/x/sys does not have (linux: include/uapi/linux/rtnetlink.h).
const (
	routeNexthop = 30 // RTA_NH_ID
	metricMTU    = 2  // RTAX_MTU
	scopeAny     = 255
)

// hop is a route by one of its next hops, the device being an index still.
type hop struct {
	Route
	device int
}

// decodeRoute reads a route message: one route for each next hop; none where it is no route of [Host].
func decodeRoute(b []byte) []hop {
	if len(b) < rtmsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return nil
	}
	h := hop{Route: Route{Table: int(b[4]), Protocol: int(b[5]), Scope: int(b[6]), Type: int(b[7])}}
	flags := binary.NativeEndian.Uint32(b[8:])
	h.OnLink = flags&unix.RTNH_F_ONLINK != 0
	h.Multipath = b[2] != 0 || b[3] != 0 // a source prefix, a TOS
	to := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		to = netip.IPv6Unspecified()
	}
	var several []byte
	for kind, v := range attrs(b[rtmsg:]) {
		switch kind {
		case unix.RTA_DST:
			to, _ = netip.AddrFromSlice(v)
		case unix.RTA_MULTIPATH:
			several = v
		default:
			h.attribute(kind, v)
		}
	}
	h.To = netip.PrefixFrom(to, int(b[1])).Masked()
	if !h.To.IsValid() || h.Table == unix.RT_TABLE_LOCAL || h.Protocol == unix.RTPROT_KERNEL || flags&unix.RTM_F_CLONED != 0 {
		return nil
	}
	if several != nil {
		return h.each(several)
	}
	return []hop{h}
}

func (h *hop) attribute(kind uint16, v []byte) {
	switch kind {
	case unix.RTA_OIF:
		h.device = number(v)
	case unix.RTA_GATEWAY:
		h.Via, _ = netip.AddrFromSlice(v)
	case unix.RTA_VIA:
		if len(v) > 2 {
			h.Via, _ = netip.AddrFromSlice(v[2:]) // after the family
		}
	case unix.RTA_PRIORITY:
		h.Metric = number(v)
	case unix.RTA_PREFSRC:
		h.Source, _ = netip.AddrFromSlice(v)
	case unix.RTA_TABLE:
		h.Table = number(v)
	case unix.RTA_METRICS:
		for metric, v := range attrs(v) {
			if metric == metricMTU {
				h.MTU = number(v)
			}
		}
	case routeNexthop, unix.RTA_ENCAP:
		h.Multipath = true
	}
}

// each gives the route by each of several next hops.
func (h *hop) each(b []byte) (out []hop) {
	for len(b) >= rtnexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < rtnexthop || n > len(b) {
			break
		}
		one := *h
		one.Multipath = true
		one.OnLink = b[2]&unix.RTNH_F_ONLINK != 0
		one.device = int(int32(binary.NativeEndian.Uint32(b[4:])))
		for kind, v := range attrs(b[rtnexthop:n]) {
			one.attribute(kind, v)
		}
		out = append(out, one)
		b = b[min((n+3)&^3, len(b)):]
	}
	return out
}

// encode is the message that adds the route by the device with an index; 0: none.
func (r Route) encode(device int) []byte {
	b := r.encodeKey(device)
	b[5] = byte(r.Protocol)
	b[6] = byte(r.Scope)
	if r.OnLink {
		binary.NativeEndian.PutUint32(b[8:], unix.RTNH_F_ONLINK)
	}
	if r.Source.IsValid() {
		b = appendAttr(b, unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	if r.MTU != 0 {
		b = appendAttr(b, unix.RTA_METRICS, appendUint32(nil, metricMTU, uint32(r.MTU)))
	}
	return b
}

// encodeKey is the part of the message that says which route, by whatever maker and of whatever scope.
func (r Route) encodeKey(device int) []byte {
	b := make([]byte, rtmsg, 128)
	b[0], b[1] = unix.AF_INET, byte(r.To.Bits())
	if r.To.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	if r.Table < 256 {
		b[4] = byte(r.Table)
	}
	b[6], b[7] = scopeAny, byte(r.Type)
	b = appendUint32(b, unix.RTA_TABLE, uint32(r.Table))
	if r.To.Bits() > 0 {
		b = appendAttr(b, unix.RTA_DST, r.To.Addr().AsSlice())
	}
	if r.Metric != 0 {
		b = appendUint32(b, unix.RTA_PRIORITY, uint32(r.Metric))
	}
	if device != 0 {
		b = appendUint32(b, unix.RTA_OIF, uint32(device))
	}
	switch {
	case !r.Via.IsValid():
	case r.Via.Is6() && r.To.Addr().Is4():
		b = appendAttr(b, unix.RTA_VIA, append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET6), r.Via.AsSlice()...))
	default:
		b = appendAttr(b, unix.RTA_GATEWAY, r.Via.AsSlice())
	}
	return b
}
