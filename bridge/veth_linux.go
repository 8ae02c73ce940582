package bridge

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const vethPeer = 1 // VETH_INFO_PEER (linux: include/uapi/linux/veth.h)

// CreateVeth makes a pair of devices, each of which receives what the other sends, with one alias for both; an MTU of 0 is the kernel's. They
// are down, make no IPv6 address, and take no ARP: they are there for frames, not for the host. Both are there with all of that, or neither
// is; a name that is taken is ErrExists. [Conn.Delete] of either removes both.
func (c *Conn) CreateVeth(name, peer Name, alias string, mtu int) error {
	object := string(name) + " with " + string(peer)
	_, err := c.execute(unix.RTM_NEWLINK, netlink.Acknowledge|netlink.Create|netlink.Excl, encodeVeth(name, peer, mtu))
	if err != nil {
		return fail("make veth", object, err)
	}
	for _, n := range []Name{name, peer} {
		if err := c.finishVeth(n, alias); err != nil {
			return errors.Join(fail("make veth", object, err), c.Delete(name))
		}
	}
	return nil
}

func encodeVeth(name, peer Name, mtu int) []byte {
	end := func(b []byte, name Name) []byte {
		binary.NativeEndian.PutUint32(b[8:], unix.IFF_NOARP)
		binary.NativeEndian.PutUint32(b[12:], unix.IFF_NOARP)
		b = appendString(b, unix.IFLA_IFNAME, string(name))
		if mtu != 0 {
			b = appendUint32(b, unix.IFLA_MTU, uint32(mtu))
		}
		return b
	}
	data := appendAttr(nil, vethPeer, end(linkRequest(0), peer))
	return appendAttr(end(linkRequest(0), name), unix.IFLA_LINKINFO, linkInfo("veth", data))
}

// finishVeth says what the kernel does not hear when it makes a device.
func (c *Conn) finishVeth(name Name, alias string) error {
	index, err := c.indexOf(name)
	if err != nil {
		return err
	}
	_, err = c.execute(unix.RTM_SETLINK, netlink.Acknowledge, Change{Alias: &alias}.encode(index))
	if err != nil {
		return err
	}
	_, err = c.execute(unix.RTM_SETLINK, netlink.Acknowledge, Change{NoAddrGen: true}.encode(index))
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) { // a kernel without IPv6
		return nil
	}
	return err
}

// The offloads (linux: include/uapi/linux/ethtool.h), in an order in which none is refused: segmentation needs checksums.
var offloads = []struct {
	command uint32
	name    string
}{
	{unix.ETHTOOL_STSO, "tso"}, {unix.ETHTOOL_SGSO, "gso"}, {unix.ETHTOOL_STXCSUM, "tx checksum"},
}

// NoOffloads has a device finish its frames before it sends them: checksums are complete, VLAN tags in their place, and none is longer than
// the MTU. Of a pair whose
// one end a program reads, it is the other end that must. A device that cannot is ErrUnsupported.
func (c *Conn) NoOffloads(name Name) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("switch offloads off on", string(name), err)
	}
	defer unix.Close(fd)
	for _, o := range offloads {
		if err := ethtoolOff(fd, name, o.command); err != nil {
			return fail("switch "+o.name+" off on", string(name), err)
		}
	}
	return fail("switch offloads off on", string(name), featuresOff(fd, name, leftForLater))
}

// ethtoolOff sets one of a device's features to 0.
func ethtoolOff(fd int, name Name, command uint32) error {
	return ethtool(fd, name, append(binary.NativeEndian.AppendUint32(nil, command), 0, 0, 0, 0))
}

// IgnoreIPv6 takes IPv6 off a device (sysctl disable_ipv6): no frame that comes in there reaches the host by it. A host without IPv6 is fine.
// It goes by the calling thread's network namespace, and by name, as [Conn.IgnoreRA] does.
func (c *Conn) IgnoreIPv6(name Name) error {
	f, err := os.OpenFile("/proc/sys/net/ipv6/conf/"+string(name)+"/disable_ipv6", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail("take IPv6 off", string(name), err)
	}
	_, err = f.WriteString("1")
	return fail("take IPv6 off", string(name), errors.Join(err, f.Close()))
}
