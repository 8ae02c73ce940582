package bridge

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Classifiers are what tc and XDP have on a link. Programs at tcx, which tc knows nothing of, are not among them: bpf(2) tells those.
type Classifiers struct {
	Qdisc   string // kind of the root queueing discipline: "noqueue", "fq_codel", "tbf"...
	XDP     bool   // an XDP program is attached
	XDPID   int    // its id; of several, the driver's
	Filters []Filter
}

// Foreign lists the filters that are not ours.
func (c Classifiers) Foreign() (out []Filter) {
	for _, f := range c.Filters {
		if !f.Ours {
			out = append(out, f)
		}
	}
	return out
}

// Filter is one filter of tc at a link's ingress or egress.
type Filter struct {
	Kind     string // "bpf", "flower", "u32", "matchall"...
	Name     string // of a program: what who attached it calls it, "prog.o:[section]" for ip and tc
	Priority int    // lower comes first
	Handle   uint32
	Protocol uint16 // EtherType; 3 (ETH_P_ALL): all
	Egress   bool   // else at ingress
	Chain    int    // only chain 0 is gone through unasked
	Direct   bool   // of a program: it decides itself (direct-action)
	ID       int    // of a program: its id; 0: not told
	Ours     bool   // attached by [Conn.AttachClassifier], in this or an earlier life
}

func (f Filter) String() string {
	where, name := "ingress", ""
	if f.Egress {
		where = "egress"
	}
	if f.Name != "" {
		name = " " + f.Name
	}
	return fmt.Sprintf("tc filter %s%s at %s, priority %d, handle %#x", f.Kind, name, where, f.Priority, f.Handle)
}

// ClassifierPrefix begins the name of each classifier of ours: it is how one is told from a stranger's in the same place.
const ClassifierPrefix = "vifplug"

// The place of our classifier. Nobody picks such numbers by accident: "vi" and "vifp" in ASCII.
const (
	ourPriority = 0x7669
	ourHandle   = 0x76696670
)

// The places of filters (linux: include/uapi/linux/pkt_sched.h TC_H_CLSACT, TC_H_MIN_INGRESS, TC_H_MIN_EGRESS).
const (
	clsactHandle = 0xffff0000
	clsactParent = 0xfffffff1 // TC_H_CLSACT
	atIngress    = 0xfffffff2
	atEgress     = 0xfffffff3
	nowhere      = 0xfffffff4 // no place of clsact's
)

// tc's attributes (linux: include/uapi/linux/rtnetlink.h TCA_..., pkt_cls.h TCA_BPF_...).
const (
	tcmsg = 20 // bytes of struct tcmsg

	tcaKind    = 1
	tcaOptions = 2
	tcaChain   = 11

	tcaBPFFD    = 6
	tcaBPFName  = 7
	tcaBPFFlags = 8
	tcaBPFID    = 11

	bpfDirect = 1 // TCA_BPF_FLAG_ACT_DIRECT
)

// blockIndex stands for a link in messages about a filter block that several links share (linux: TCM_IFINDEX_MAGIC_BLOCK).
const blockIndex = -1

// tcRequest is the fixed part of a message about a link's filters.
func tcRequest(index int, parent, handle, info uint32) []byte {
	b := make([]byte, tcmsg, 128)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], handle)
	binary.NativeEndian.PutUint32(b[12:], parent)
	binary.NativeEndian.PutUint32(b[16:], info)
	return b
}

// filterInfo is a filter's priority, and its protocol in network order, as a message has them.
func filterInfo(priority, protocol uint16) uint32 {
	return uint32(priority)<<16 | uint32(swapped(protocol))
}

// swapped takes a number between the machine's order and the network's.
func swapped(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// encodeClassifier is the message that attaches a program as our classifier.
func encodeClassifier(index, progFD int, name string) []byte {
	b := tcRequest(index, atIngress, ourHandle, filterInfo(ourPriority, unix.ETH_P_ALL))
	b = appendString(b, tcaKind, "bpf")
	options := appendUint32(nil, tcaBPFFD, uint32(progFD))
	options = appendString(options, tcaBPFName, name)
	options = appendUint32(options, tcaBPFFlags, bpfDirect)
	return appendAttr(b, tcaOptions, options)
}

// decodeFilter reads a filter message. False: it is none of this link, or the head of a list, which is no filter.
func decodeFilter(m netlink.Message, index int) (f Filter, ok bool) {
	b := m.Data
	if m.Header.Type != unix.RTM_NEWTFILTER || len(b) < tcmsg {
		return f, false
	}
	if at := int(int32(binary.NativeEndian.Uint32(b[4:]))); at != index && at != blockIndex {
		return f, false
	}
	info := binary.NativeEndian.Uint32(b[16:])
	f.Handle, f.Priority, f.Protocol = binary.NativeEndian.Uint32(b[8:]), int(info>>16), swapped(uint16(info))
	var options []byte
	for kind, v := range attrs(b[tcmsg:]) {
		switch kind {
		case tcaKind:
			f.Kind = text(v)
		case tcaOptions:
			options = v
		case tcaChain:
			f.Chain = number(v)
		}
	}
	table := f.Kind == "u32" && f.Handle&0xfffff == 0 // a hash table, in which filters are
	if table || f.Handle == 0 && len(options) == 0 {
		return f, false
	}
	if f.Kind == "bpf" {
		f.program(options)
	}
	f.Ours = f.Kind == "bpf" && f.Priority == ourPriority && f.Handle == ourHandle && strings.HasPrefix(f.Name, ClassifierPrefix)
	return f, true
}

func (f *Filter) program(options []byte) {
	for kind, v := range attrs(options) {
		switch kind {
		case tcaBPFName:
			f.Name = text(v)
		case tcaBPFFlags:
			f.Direct = number(v)&bpfDirect != 0
		case tcaBPFID:
			f.ID = number(v)
		}
	}
}

// link reads what a link message says of XDP and of the root queueing discipline.
func (c *Classifiers) link(b []byte) {
	if len(b) < ifinfo {
		return
	}
	for kind, v := range attrs(b[ifinfo:]) {
		switch kind {
		case unix.IFLA_QDISC:
			c.Qdisc = text(v)
		case unix.IFLA_XDP:
			c.xdp(v)
		}
	}
}

func (c *Classifiers) xdp(b []byte) {
	ids := map[uint16]int{}
	for kind, v := range attrs(b) {
		if kind == unix.IFLA_XDP_ATTACHED {
			c.XDP = len(v) > 0 && v[0] != 0
			continue
		}
		ids[kind] = number(v)
	}
	for _, kind := range []uint16{unix.IFLA_XDP_PROG_ID, unix.IFLA_XDP_DRV_PROG_ID, unix.IFLA_XDP_SKB_PROG_ID, unix.IFLA_XDP_HW_PROG_ID} {
		if c.XDPID == 0 {
			c.XDPID = ids[kind]
		}
	}
}

// errTaken says whose filter is where ours would go.
func errTaken(f Filter) error {
	return fmt.Errorf("its place is taken by somebody else's %v: %w", f, ErrExists)
}
