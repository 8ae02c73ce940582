package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn reads and changes the links of one network namespace. It may be used from any goroutine; the kernel serialises changes anyway.
type Conn struct {
	mu sync.Mutex // one request at a time
	nl *netlink.Conn
}

// Open opens a connection to the network namespace of the calling thread.
func Open() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true})
	if err != nil {
		return nil, fail("open", "rtnetlink", err)
	}
	return &Conn{nl: nl}, nil
}

// Close closes it.
func (c *Conn) Close() error { return fail("close", "rtnetlink", c.nl.Close()) }

func (c *Conn) execute(kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nl.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: data})
}

// Link reads the link with an index.
func (c *Conn) Link(index int) (Link, error) {
	if index <= 0 {
		return Link{}, fail("read link", strconv.Itoa(index), unix.ENODEV)
	}
	req := make([]byte, ifinfo, 32)
	binary.NativeEndian.PutUint32(req[4:], uint32(index))
	return c.getLink(strconv.Itoa(index), req)
}

// LinkByName reads the link with a name. Alternative names do not count.
func (c *Conn) LinkByName(name Name) (Link, error) {
	l, err := c.getLink(string(name), appendString(make([]byte, ifinfo, 64), unix.IFLA_IFNAME, string(name)))
	if err == nil && l.Name != name {
		return Link{}, fail("read link", string(name), unix.ENODEV)
	}
	return l, err
}

// skipStats leaves the counters out of replies (linux: RTEXT_FILTER_SKIP_STATS).
const skipStats = 1 << 3

func (c *Conn) getLink(object string, req []byte) (Link, error) {
	msgs, err := c.execute(unix.RTM_GETLINK, 0, appendUint32(req, unix.IFLA_EXT_MASK, skipStats))
	if err != nil {
		return Link{}, fail("read link", object, err)
	}
	if len(msgs) != 1 {
		return Link{}, fail("read link", object, fmt.Errorf("%d answers instead of one", len(msgs)))
	}
	l, _, err := decodeLink(msgs[0].Data)
	if err != nil {
		return Link{}, fail("read link", object, err)
	}
	l.findParent()
	return l, nil
}

// readings bounds how often Links reads a list that changes meanwhile.
const readings = 5

// Links lists every link, by index. A list that the kernel was interrupted in is read again. Where links keep coming and going, as when a
// thousand guests start at once, the readings are put together: every link that stayed is in the list, and maybe some that have gone since.
func (c *Conn) Links() ([]Link, error) {
	found := map[int]Link{}
	for range readings {
		msgs, err := c.execute(unix.RTM_GETLINK, netlink.Dump, appendUint32(make([]byte, ifinfo, 32), unix.IFLA_EXT_MASK, skipStats))
		if err != nil {
			return nil, fail("list", "links", err)
		}
		whole := !interrupted(msgs)
		if whole {
			clear(found)
		}
		for _, m := range msgs {
			l, _, err := decodeLink(m.Data)
			if err != nil {
				return nil, fail("list", "links", err)
			}
			found[l.Index] = l
		}
		if whole {
			break
		}
	}
	out := slices.SortedFunc(maps.Values(found), func(a, b Link) int { return a.Index - b.Index })
	for i := range out {
		out[i].findParent()
	}
	return out, nil
}

// errInterrupted says that a list changed under the dump every time.
var errInterrupted = errors.New("the list kept changing while it was read")

func (c *Conn) dump(kind netlink.HeaderType, req []byte) ([]netlink.Message, error) {
	const attempts = 20
	for range attempts {
		msgs, err := c.execute(kind, netlink.Dump, req)
		if err != nil {
			return nil, err
		}
		if !interrupted(msgs) {
			return msgs, nil
		}
	}
	return nil, errInterrupted
}

func interrupted(msgs []netlink.Message) bool {
	for _, m := range msgs {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

// findParent asks sysfs for the parent device where the kernel's message does not name it (before Linux 5.14). sysfs may show another
// network namespace: the index must agree.
func (l *Link) findParent() {
	if l.parentIsReported {
		return
	}
	dir := "/sys/class/net/" + string(l.Name)
	index, err := os.ReadFile(dir + "/ifindex")
	if err != nil || string(index) != strconv.Itoa(l.Index)+"\n" {
		return
	}
	device, err1 := os.Readlink(dir + "/device")
	bus, err2 := os.Readlink(dir + "/device/subsystem")
	if err1 == nil && err2 == nil {
		l.Parent, l.ParentBus = filepath.Base(device), filepath.Base(bus)
	}
}

// Set changes a link by one message. A link that is gone is ErrNotFound.
func (c *Conn) Set(index int, ch Change) error {
	if index <= 0 {
		return fail("change link", strconv.Itoa(index), unix.ENODEV)
	}
	_, err := c.execute(unix.RTM_SETLINK, netlink.Acknowledge, ch.encode(index))
	return fail("change link", strconv.Itoa(index), err)
}

// ifaddr is the fixed part of an address message (linux: struct ifaddrmsg).
const ifaddr = unix.SizeofIfAddrmsg

// Addresses lists a link's addresses of both families. The kernel picks them out, so the cost does not grow with the host.
func (c *Conn) Addresses(index int) ([]netip.Prefix, error) {
	req := make([]byte, ifaddr)
	binary.NativeEndian.PutUint32(req[4:], uint32(index))
	msgs, err := c.dump(unix.RTM_GETADDR, req)
	if err != nil {
		return nil, fail("list addresses of link", strconv.Itoa(index), err)
	}
	var out []netip.Prefix
	for _, m := range msgs {
		if len(m.Data) < ifaddr || int(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		if p, ok := decodeAddress(m.Data); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// decodeAddress reads an address message; IFA_LOCAL is the device's own where both are given.
func decodeAddress(b []byte) (netip.Prefix, bool) {
	var addr netip.Addr
	local := false
	for kind, v := range attrs(b[ifaddr:]) {
		if kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !local {
			if a, ok := netip.AddrFromSlice(v); ok {
				addr, local = a, kind == unix.IFA_LOCAL
			}
		}
	}
	return netip.PrefixFrom(addr, int(b[1])), addr.IsValid()
}

// DeleteAddress removes an address that Addresses lists. One that is gone already is fine. Only the device's own side is named, or the kernel
// would not find a point-to-point address.
func (c *Conn) DeleteAddress(index int, p netip.Prefix) error {
	b := make([]byte, ifaddr, 64)
	b[0], b[1] = unix.AF_INET, byte(p.Bits())
	if p.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	b = appendAttr(b, unix.IFA_LOCAL, p.Addr().AsSlice())
	_, err := c.execute(unix.RTM_DELADDR, netlink.Acknowledge, b)
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return fail("remove address "+p.String()+" of link", strconv.Itoa(index), err)
}

// IgnoreRA has a device ignore router advertisements (sysctl accept_ra = 0). A device without IPv6 is fine. It goes by the calling thread's
// network namespace, and by name, since the kernel has no message for it.
func (c *Conn) IgnoreRA(name Name) error {
	f, err := os.OpenFile("/proc/sys/net/ipv6/conf/"+string(name)+"/accept_ra", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail("ignore router advertisements on", string(name), err)
	}
	_, err = f.WriteString("0")
	return fail("ignore router advertisements on", string(name), errors.Join(err, f.Close()))
}
