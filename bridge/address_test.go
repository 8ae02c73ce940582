package bridge

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func sorted(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Compare(b) })
	return list
}

func TestAddresses(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	none, err := c.Addresses(v)
	require.NoError(t, err)
	assert.Empty(t, none)
	all := prefixes("10.0.0.1/24", "192.0.2.1/32", "2001:db8::1/64", "fd00::1/128")
	for _, p := range all {
		require.NoError(t, bridgetest.AddAddress("vif5.0", p))
	}
	require.NoError(t, bridgetest.AddAddress("g5.0", netip.MustParsePrefix("10.9.9.9/24")))
	got, err := c.Addresses(v)
	require.NoError(t, err)
	assert.Equal(t, sorted(all), sorted(got), "the link's own alone")

	for i, p := range got {
		require.NoError(t, c.DeleteAddress(v, p), p)
		left, err := c.Addresses(v)
		require.NoError(t, err)
		assert.Equal(t, len(got)-i-1, len(left), "%v is gone, and nothing else: %v", p, left)
		assert.NotContains(t, left, p)
	}
	kept, err := c.LinkByName("g5.0")
	require.NoError(t, err)
	left, err := c.Addresses(kept.Index)
	require.NoError(t, err)
	assert.Equal(t, prefixes("10.9.9.9/24"), left)
}

// The kernel removes a network's further addresses with its first; a list that was read before is worked off all the same.
func TestFurtherAddressesGoWithTheFirst(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	for _, p := range prefixes("10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24") {
		require.NoError(t, bridgetest.AddAddress("vif5.0", p))
	}
	got, err := c.Addresses(v)
	require.NoError(t, err)
	require.Len(t, got, 3)
	for _, p := range got {
		require.NoError(t, c.DeleteAddress(v, p))
	}
	left, err := c.Addresses(v)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A point-to-point address, as vif-route leaves one, is listed by the device's own side and can be removed by what was listed.
func TestPointToPointAddresses(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	for own, peer := range map[string]string{"10.0.0.1/32": "10.0.0.2/32", "192.0.2.1/32": "198.51.100.0/24", "fd00::1/128": "fd00::2/128"} {
		require.NoError(t, bridgetest.AddPeer("vif5.0", netip.MustParsePrefix(own), netip.MustParsePrefix(peer)))
	}
	got, err := c.Addresses(v)
	require.NoError(t, err)
	assert.Equal(t, prefixes("10.0.0.1/32", "192.0.2.1/24", "fd00::1/128"), sorted(slices.Clone(got)))
	for _, p := range got {
		require.NoError(t, c.DeleteAddress(v, p))
	}
	left, err := c.Addresses(v)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestDeleteAddressThatIsNotThere(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	for _, p := range prefixes("10.0.0.1/24", "fd00::1/64") {
		require.NoError(t, c.DeleteAddress(v, p), "gone already is fine")
		err := c.DeleteAddress(77, p)
		require.ErrorIs(t, err, ErrNotFound, p)
		assert.ErrorContains(t, err, "bridge: remove address "+p.String()+" of link 77: ")
	}
	assert.ErrorIs(t, c.DeleteAddress(v, netip.PrefixFrom(netip.MustParseAddr("fd00::1"), 200)), unix.EINVAL)
}
