package bridge

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// header is the fixed part of a link message.
func header(family uint8, index int32, flags uint32) []byte {
	b := make([]byte, ifinfo)
	b[0] = family
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

// netbackVIF is what the kernel says of a netback device that is a port of a bridge.
func netbackVIF() []byte {
	b := header(unix.AF_UNSPEC, 42, unix.IFF_UP|unix.IFF_RUNNING|unix.IFF_BROADCAST)
	b = appendString(b, unix.IFLA_IFNAME, "vif5.0")
	b = appendString(b, unix.IFLA_IFALIAS, "vifplug:web01 (5) eth0 on xenbr0")
	b = appendAttr(b, unix.IFLA_ADDRESS, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff})
	b = appendUint32(b, unix.IFLA_MTU, 9000)
	b = appendUint32(b, unix.IFLA_MIN_MTU, 68)
	b = appendUint32(b, unix.IFLA_MAX_MTU, 65517)
	b = appendUint32(b, unix.IFLA_MASTER, 7)
	info := appendString(appendString(nil, unix.IFLA_INFO_KIND, "vif"), unix.IFLA_INFO_SLAVE_KIND, "bridge")
	b = appendAttr(b, unix.IFLA_LINKINFO|unix.NLA_F_NESTED, info)
	ip6 := appendAttr(appendUint32(nil, 1, 3), inet6AddrGenMode, []byte{addrGenNone})
	b = appendAttr(b, unix.IFLA_AF_SPEC, appendAttr(appendAttr(nil, unix.AF_INET, []byte{1, 2, 3, 4}), unix.AF_INET6, ip6))
	b = appendString(b, unix.IFLA_PARENT_DEV_NAME, "vif-5-0")
	return appendString(b, unix.IFLA_PARENT_DEV_BUS_NAME, "xen-backend")
}

func TestDecodeLink(t *testing.T) {
	got, family, err := decodeLink(netbackVIF())
	require.NoError(t, err)
	assert.EqualValues(t, unix.AF_UNSPEC, family)
	assert.Equal(t, Link{
		Index: 42, Name: "vif5.0", Alias: "vifplug:web01 (5) eth0 on xenbr0", Kind: "vif", MAC: MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff},
		MTU: 9000, MinMTU: 68, MaxMTU: 65517, Master: 7, Up: true, Running: true, IsPort: true, Parent: "vif-5-0", ParentBus: "xen-backend",
		NoAddrGen: true, parentIsReported: true,
	}, got)
}

func TestDecodeLinkParts(t *testing.T) {
	down := func(attributes ...[]byte) []byte { return append(header(0, 3, 0), concat(attributes...)...) }
	bare := Link{Index: 3, NoAddrGen: true}
	spec := func(mode ...byte) []byte {
		return appendAttr(nil, unix.IFLA_AF_SPEC, appendAttr(nil, unix.AF_INET6, appendAttr(nil, inet6AddrGenMode, mode)))
	}
	for name, tc := range map[string]struct {
		in   []byte
		want func(*Link)
	}{
		"nothing":                    {down(), func(*Link) {}},
		"up, no carrier":             {header(0, 3, unix.IFF_UP), func(l *Link) { l.Up = true }},
		"an index that is negative":  {header(0, -1, 0), func(l *Link) { l.Index = -1 }},
		"InfiniBand's long address":  {down(appendAttr(nil, unix.IFLA_ADDRESS, make([]byte, 20))), func(*Link) {}},
		"a tunnel's short address":   {down(appendAttr(nil, unix.IFLA_ADDRESS, []byte{10, 0, 0, 1})), func(*Link) {}},
		"an MTU of two bytes":        {down(appendAttr(nil, unix.IFLA_MTU, []byte{1, 2})), func(*Link) {}},
		"a port of a bond":           {down(appendAttr(nil, unix.IFLA_LINKINFO, appendString(nil, unix.IFLA_INFO_SLAVE_KIND, "bond"))), func(*Link) {}},
		"a bridge":                   {down(appendAttr(nil, unix.IFLA_LINKINFO, appendString(nil, unix.IFLA_INFO_KIND, "bridge"))), func(l *Link) { l.Kind = "bridge" }},
		"addresses from the MAC":     {down(spec(0)), func(l *Link) { l.NoAddrGen = false }},
		"addresses that are private": {down(spec(2)), func(l *Link) { l.NoAddrGen = false }},
		"no addresses":               {down(spec(1)), func(*Link) {}},
		"a mode without a value":     {down(spec()), func(*Link) {}},
		"an attribute of the future": {down(appendAttr(nil, 0x3000, []byte("new"))), func(l *Link) { l.parentIsReported = true }},
		"one that is cut off":        {append(down(appendString(nil, unix.IFLA_IFNAME, "x")), 200, 0, 4, 0, 1), func(l *Link) { l.Name = "x" }},
	} {
		want := bare
		tc.want(&want)
		got, _, err := decodeLink(tc.in)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
}

func concat(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func TestDecodeLinkCutShort(t *testing.T) {
	whole := netbackVIF()
	for n := range len(whole) {
		_, _, err := decodeLink(whole[:n])
		if n < ifinfo {
			assert.ErrorContains(t, err, "bridge: a link message of ", n)
			continue
		}
		assert.NoError(t, err, n)
	}
}

// changes are those that a request can carry and a report shows again.
func changes() *rapid.Generator[Change] {
	return rapid.Custom(func(t *rapid.T) Change {
		return Change{
			Name:      Name(rapid.StringMatching(`([a-z][a-z0-9.\-]{0,14})?`).Draw(t, "name")),
			Alias:     rapid.Ptr(rapid.StringMatching(`[ -~]{0,255}`), true).Draw(t, "alias"),
			MAC:       rapid.Ptr(rapid.Map(rapid.SliceOfN(rapid.Byte(), 6, 6), func(b []byte) MAC { return MAC(b) }), true).Draw(t, "mac"),
			MTU:       rapid.IntRange(0, 1<<17).Draw(t, "mtu"),
			Master:    rapid.Ptr(rapid.IntRange(0, 1<<31-1), true).Draw(t, "master"),
			Up:        rapid.Ptr(rapid.Bool(), true).Draw(t, "up"),
			NoAddrGen: rapid.Bool().Draw(t, "no address generation"),
		}
	})
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// The kernel reads a request as it writes a report, so the decoder judges the encoder.
func TestChangeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, index := changes().Draw(t, "change"), rapid.IntRange(1, 1<<31-1).Draw(t, "index")
		b := c.encode(index)
		got, _, err := decodeLink(b)
		require.NoError(t, err)
		assert.Equal(t, Link{
			Index: index, Name: c.Name, Alias: orZero(c.Alias), MAC: orZero(c.MAC), MTU: c.MTU, Master: orZero(c.Master), Up: orZero(c.Up),
			NoAddrGen: true,
		}, got)
		carried := map[uint16]bool{}
		for kind := range attrs(b[ifinfo:]) {
			assert.False(t, carried[kind], "twice")
			carried[kind] = true
		}
		assert.Equal(t, asked(c), carried, "a zero field is left alone, and only that")
		assert.Equal(t, c.Up != nil, binary.NativeEndian.Uint32(b[12:]) == unix.IFF_UP, "the mask of flags")
	})
}

// asked are the attributes that a change needs.
func asked(c Change) map[uint16]bool {
	out := map[uint16]bool{}
	for kind, set := range map[uint16]bool{
		unix.IFLA_IFNAME: c.Name != "", unix.IFLA_IFALIAS: c.Alias != nil, unix.IFLA_ADDRESS: c.MAC != nil, unix.IFLA_MTU: c.MTU != 0,
		unix.IFLA_MASTER: c.Master != nil, unix.IFLA_AF_SPEC: c.NoAddrGen,
	} {
		if set {
			out[kind] = true
		}
	}
	return out
}

// FuzzLink decodes what the kernel could send. What was understood, asked for again, must be understood as the same.
func FuzzLink(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		l, family, err := decodeLink(b)
		if err != nil {
			assert.Less(t, len(b), ifinfo)
			assert.Zero(t, l)
			return
		}
		assert.Equal(t, b[0], family)
		for _, s := range []string{string(l.Name), l.Alias, l.Kind, l.Parent, l.ParentBus} {
			assert.False(t, strings.ContainsRune(s, 0), "%q", s)
			assert.LessOrEqual(t, len(s), len(b))
		}
		c := Change{Name: l.Name, Alias: &l.Alias, MAC: &l.MAC, MTU: l.MTU, Master: &l.Master, Up: &l.Up, NoAddrGen: true}
		again, _, err := decodeLink(c.encode(l.Index))
		require.NoError(t, err)
		assert.Equal(t, Link{
			Index: l.Index, Name: l.Name, Alias: l.Alias, MAC: l.MAC, MTU: l.MTU, Master: l.Master, Up: l.Up, NoAddrGen: true,
		}, again)
	})
}
