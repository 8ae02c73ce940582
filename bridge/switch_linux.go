package bridge

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// BridgePort reads what the bridge does with one port. A link that is gone, and one that is no port of a bridge, is ErrNotFound.
func (c *Conn) BridgePort(index int) (BridgePort, error) {
	object := strconv.Itoa(index)
	msg, err := c.linkMessage(index)
	if err != nil {
		return BridgePort{}, fail("read bridge port", object, err)
	}
	p, ok := decodeBridgePort(msg)
	if !ok {
		return BridgePort{}, fail("read bridge port", object, fmt.Errorf("it is no port of a bridge: %w", ErrNotFound))
	}
	return p, nil
}

// Switch reads what a bridge is set to. A link that is gone, and one that is no bridge, is ErrNotFound.
func (c *Conn) Switch(index int) (Switch, error) {
	object := strconv.Itoa(index)
	msg, err := c.linkMessage(index)
	if err != nil {
		return Switch{}, fail("read bridge", object, err)
	}
	s, ok := decodeSwitch(msg)
	if !ok {
		return Switch{}, fail("read bridge", object, fmt.Errorf("it is no bridge: %w", ErrNotFound))
	}
	return s, nil
}

// linkMessage is the kernel's message about one link, after its netlink header.
func (c *Conn) linkMessage(index int) ([]byte, error) {
	if index <= 0 {
		return nil, unix.ENODEV
	}
	msgs, err := c.execute(unix.RTM_GETLINK, 0, appendUint32(linkRequest(index), unix.IFLA_EXT_MASK, skipStats))
	if err != nil {
		return nil, err
	}
	if len(msgs) != 1 {
		return nil, fmt.Errorf("%d answers instead of one", len(msgs))
	}
	return msgs[0].Data, nil
}

// BridgePorts lists the ports of one bridge, by index; the kernel picks them out. A bridge that is gone has none.
func (c *Conn) BridgePorts(bridge int) ([]BridgePort, error) {
	if bridge <= 0 {
		return nil, fail("list ports of bridge", strconv.Itoa(bridge), unix.ENODEV)
	}
	req := appendUint32(appendUint32(linkRequest(0), unix.IFLA_MASTER, uint32(bridge)), unix.IFLA_EXT_MASK, skipStats)
	msgs, err := c.dump(unix.RTM_GETLINK, req)
	if err != nil {
		return nil, fail("list ports of bridge", strconv.Itoa(bridge), err)
	}
	var out []BridgePort
	for _, m := range msgs {
		if p, ok := decodeBridgePort(m.Data); ok && p.Bridge == bridge {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b BridgePort) int { return a.Index - b.Index })
	return out, nil
}
