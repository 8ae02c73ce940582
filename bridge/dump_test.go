package bridge

import (
	"io"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// played is a connection to a kernel that is one function.
func played(t *testing.T, kernel func(asked netlink.Message) ([]netlink.Message, error)) *Conn {
	c := &Conn{nl: nltest.Dial(func(req []netlink.Message) ([]netlink.Message, error) {
		if len(req) != 1 {
			return nil, io.EOF // the end of a dump
		}
		return kernel(req[0])
	})}
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

func named(flags netlink.HeaderFlags, index int32, name string) netlink.Message {
	data := append(header(0, index, 0), appendAttr(nil, 0x3000, nil)...) // a kernel that names parents
	return netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: flags}, Data: appendString(data, unix.IFLA_IFNAME, name)}
}

// answers replies to each question with the next of some lists, then with the last for good.
func answers(asked *int, lists ...[]netlink.Message) func(netlink.Message) ([]netlink.Message, error) {
	return func(req netlink.Message) ([]netlink.Message, error) {
		list := lists[min(*asked, len(lists)-1)]
		*asked++
		out := make([]netlink.Message, 0, len(list)+1)
		for _, m := range list {
			m.Header.Flags |= netlink.Multi
			m.Header.Sequence, m.Header.PID = req.Header.Sequence, nltest.PID
			out = append(out, m)
		}
		return nltest.Multipart(append(out, netlink.Message{Header: netlink.Header{Type: netlink.Done, Flags: netlink.Multi, Sequence: req.Header.Sequence, PID: nltest.PID}}))
	}
}

func namesOf(links []Link) (out []Name) {
	for _, l := range links {
		out = append(out, l.Name)
	}
	return out
}

func TestLinksAreReadAgainWhenInterrupted(t *testing.T) {
	const cut = netlink.DumpInterrupted
	n := 0
	c := played(t, answers(&n,
		[]netlink.Message{named(0, 1, "lo"), named(0, 2, "gone"), named(cut, 3, "before")},
		[]netlink.Message{named(0, 3, "after"), named(0, 1, "lo")},
	))
	links, err := c.Links()
	require.NoError(t, err)
	assert.Equal(t, []Name{"lo", "after"}, namesOf(links), "the whole list alone counts")
	assert.Equal(t, 2, n)
}

func TestLinksWhereTheListNeverStands(t *testing.T) {
	const cut = netlink.DumpInterrupted
	n := 0
	c := played(t, answers(&n,
		[]netlink.Message{named(0, 1, "lo"), named(0, 3, "passed-over"), named(cut, 9, "went")},
		[]netlink.Message{named(0, 1, "lo"), named(cut, 2, "before")},
		[]netlink.Message{named(cut, 1, "lo"), named(0, 2, "after"), named(0, 2, "after")},
	))
	links, err := c.Links()
	require.NoError(t, err)
	assert.Equal(t, []Name{"lo", "after", "passed-over", "went"}, namesOf(links))
	assert.Equal(t, readings, n, "it ends")
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	short := netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: make([]byte, ifinfo-1)}
	for _, tc := range []struct {
		list []netlink.Message
		ask  func(*Conn) error
		want string
	}{
		{[]netlink.Message{short}, func(c *Conn) error { _, err := c.Links(); return err }, "bridge: list links: bridge: a link message of 15 bytes is malformed"},
		{[]netlink.Message{short}, func(c *Conn) error { _, err := c.Link(3); return err }, "bridge: read link 3: bridge: a link message of 15 bytes is malformed"},
		{nil, func(c *Conn) error { _, err := c.Link(3); return err }, "bridge: read link 3: 0 answers instead of one"},
		{[]netlink.Message{named(0, 1, "a"), named(0, 2, "b")}, func(c *Conn) error { _, err := c.LinkByName("a"); return err }, "bridge: read link a: 2 answers instead of one"},
	} {
		n := 0
		assert.EqualError(t, tc.ask(played(t, answers(&n, tc.list))), tc.want)
	}
}

func address(flags netlink.HeaderFlags, index uint32, bits uint8, attributes ...[]byte) netlink.Message {
	b := append([]byte{unix.AF_INET, bits, 0, 0}, appendUint32(nil, 0, index)[4:]...)
	return netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWADDR, Flags: flags}, Data: append(b, concat(attributes...)...)}
}

func TestAddressesAreThoseOfTheLink(t *testing.T) {
	own, peer := appendAttr(nil, unix.IFA_LOCAL, []byte{10, 0, 0, 1}), appendAttr(nil, unix.IFA_ADDRESS, []byte{10, 0, 0, 2})
	n := 0
	c := played(t, answers(&n,
		[]netlink.Message{address(netlink.DumpInterrupted, 3, 24, own)},
		[]netlink.Message{
			address(0, 4, 24, own),                                     // an old kernel lists every link's
			address(0, 3, 32, peer, own), address(0, 3, 32, own, peer), // the device's own, in either order
			address(0, 3, 24, peer),
			address(0, 3, 24), address(0, 3, 24, appendAttr(nil, unix.IFA_LOCAL, []byte{10, 0, 1})),
			{Header: netlink.Header{Type: unix.RTM_NEWADDR}, Data: []byte{unix.AF_INET, 24, 0, 0}},
		},
	))
	got, err := c.Addresses(3)
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/24"),
	}, got)

	c = played(t, answers(&n, []netlink.Message{address(netlink.DumpInterrupted, 3, 24, own)}))
	_, err = c.Addresses(3)
	require.EqualError(t, err, "bridge: list addresses of link 3: the list kept changing while it was read")
}
