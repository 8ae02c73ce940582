// Package bridgetest makes the links that tests, the demo and the benchmarks work with, in the calling thread's network namespace (test/netns
// makes one), and sends frames through them. It speaks to the kernel by another library than package bridge, so that each judges the other.
package bridgetest

import (
	"fmt"
	"net/netip"
	"sort"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// MakeBridge makes a bridge that is up.
func MakeBridge(name string, mtu int) error {
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu, TxQLen: -1, Flags: 1}} // net.FlagUp
	return wrap("make bridge", name, netlink.LinkAdd(b))
}

// MakeVeth makes a veth pair.
func MakeVeth(name, peer string) error {
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}, PeerName: peer}
	return wrap("make veth", name, netlink.LinkAdd(v))
}

// MakeVethIn makes a veth pair whose first is in a group of devices, for [DeleteGroup].
func MakeVethIn(group uint32, name, peer string) error {
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1, Group: group}, PeerName: peer}
	return wrap("make veth", name, netlink.LinkAdd(v))
}

// DeleteGroup removes all links of a group by one message: a thousand of them in the time that a few take.
func DeleteGroup(group uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return wrap("delete", fmt.Sprintf("group %d", group), err)
}

// Index is a link's index.
func Index(name string) (int, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0, wrap("find", name, err)
	}
	return l.Attrs().Index, nil
}

// Peer is the index of a veth's other end, whatever that is called.
func Peer(name string) (int, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0, wrap("find", name, err)
	}
	return l.Attrs().ParentIndex, nil
}

// Delete removes a link.
func Delete(name string) error {
	return with(name, netlink.LinkDel, "delete")
}

// SetUp sets a link up.
func SetUp(name string) error { return with(name, netlink.LinkSetUp, "set up") }

// SetDown sets a link down.
func SetDown(name string) error { return with(name, netlink.LinkSetDown, "set down") }

// SetMTU changes a link's MTU.
func SetMTU(name string, mtu int) error {
	return with(name, func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) }, "set the MTU of")
}

// SetAlias changes a link's alias.
func SetAlias(name, alias string) error {
	return with(name, func(l netlink.Link) error { return netlink.LinkSetAlias(l, alias) }, "set the alias of")
}

// Rename renames a link, which should be down.
func Rename(name, to string) error {
	return with(name, func(l netlink.Link) error { return netlink.LinkSetName(l, to) }, "rename")
}

// MoveTo moves a link to the network namespace of a process.
func MoveTo(name string, pid int) error {
	return with(name, func(l netlink.Link) error { return netlink.LinkSetNsPid(l, pid) }, "move")
}

// AddAltName gives a link a further name.
func AddAltName(name, alt string) error {
	return with(name, func(l netlink.Link) error { return netlink.LinkAddAltName(l, alt) }, "add a name to")
}

// AddPeer gives a link a point-to-point address.
func AddPeer(name string, own, peer netip.Prefix) error {
	a, err := netlink.ParseAddr(own.String())
	if err != nil {
		return wrap("add address to", name, err)
	}
	if a.Peer, err = netlink.ParseIPNet(peer.String()); err != nil {
		return wrap("add address to", name, err)
	}
	return with(name, func(l netlink.Link) error { return netlink.AddrAdd(l, a) }, "add address to")
}

// AddAddress gives a link an address.
func AddAddress(name string, p netip.Prefix) error {
	a, err := netlink.ParseAddr(p.String())
	if err != nil {
		return wrap("add address to", name, err)
	}
	return with(name, func(l netlink.Link) error { return netlink.AddrAdd(l, a) }, "add address to")
}

// SetMaster makes a link a port of a bridge; "" of none.
func SetMaster(name, master string) error {
	if master == "" {
		return with(name, netlink.LinkSetNoMaster, "release")
	}
	m, err := netlink.LinkByName(master)
	if err != nil {
		return wrap("find", master, err)
	}
	return with(name, func(l netlink.Link) error { return netlink.LinkSetMaster(l, m) }, "enslave")
}

// Describe says what the kernel has of a link, in one line.
func Describe(name string) (string, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return "", wrap("find", name, err)
	}
	a, master := l.Attrs(), "none"
	if a.MasterIndex != 0 {
		if m, err := netlink.LinkByIndex(a.MasterIndex); err == nil {
			master = m.Attrs().Name
		}
	}
	state := "down"
	if a.Flags&1 != 0 {
		state = "up"
	}
	return fmt.Sprintf("%s %s mtu %d %v master %s %s", l.Type(), a.Name, a.MTU, a.HardwareAddr, master, state), nil
}

// Names lists the links' names, sorted.
func Names() ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, wrap("list", "links", err)
	}
	var out []string
	for _, l := range links {
		out = append(out, l.Attrs().Name)
	}
	sort.Strings(out)
	return out, nil
}

func with(name string, do func(netlink.Link) error, what string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return wrap("find", name, err)
	}
	return wrap(what, name, do(l))
}

func wrap(what, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bridgetest: %s %s: %w", what, name, err)
}
