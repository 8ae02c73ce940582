package bridge

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Statistics are the counters of every link, by index. Whoever may open a socket may read them.
func (c *Conn) Statistics() (map[int]Stats, error) {
	msgs, err := c.execute(unix.RTM_GETLINK, netlink.Dump, make([]byte, ifinfo))
	if err != nil {
		return nil, fail("read", "links' counters", err)
	}
	out := make(map[int]Stats, len(msgs))
	for _, m := range msgs {
		if len(m.Data) < ifinfo {
			return nil, fail("read", "links' counters", errMalformed("link", len(m.Data)))
		}
		for kind, v := range attrs(m.Data[ifinfo:]) {
			if kind == unix.IFLA_STATS64 {
				out[int(int32(binary.NativeEndian.Uint32(m.Data[4:])))] = decodeStats(v)
			}
		}
	}
	return out, nil
}
