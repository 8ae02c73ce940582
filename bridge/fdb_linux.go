package bridge

import (
	"cmp"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// FDB lists the forwarding database of one bridge, by port, address and VLAN. One that is gone is ErrNotFound.
//
// The kernel walks the whole database once for each port: it is nothing to ask at every event. Ask once, then follow a [PathMonitor].
func (c *Conn) FDB(bridge int) ([]FDBEntry, error) {
	object := strconv.Itoa(bridge)
	if bridge <= 0 {
		return nil, fail("list stations of bridge", object, unix.ENODEV)
	}
	req := make([]byte, ndmsg, 32)
	req[0] = unix.AF_BRIDGE
	msgs, err := c.dump(unix.RTM_GETNEIGH, appendUint32(req, unix.NDA_MASTER, uint32(bridge)))
	if err != nil {
		return nil, fail("list stations of bridge", object, err)
	}
	var out []FDBEntry
	for _, m := range msgs {
		if e, ok := decodeFDB(m.Data); ok && e.Bridge == bridge {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b FDBEntry) int {
		return cmp.Or(a.Port-b.Port, slices.Compare(a.MAC[:], b.MAC[:]), a.VLAN-b.VLAN)
	})
	return slices.Compact(out), nil
}
