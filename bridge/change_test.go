package bridge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigureBridge(t *testing.T) {
	c, _ := isolated(t)
	require.NoError(t, c.Create(Device{Name: "br0", Kind: "bridge", Settings: Settings{KeyUp: "1"}}))
	for _, s := range []Settings{
		{"stp_state": "1", "forward_delay": "10", "hello_time": "3", "max_age": "15", "priority": "4096"},
		{"stp_state": "0", "forward_delay": "0"}, // which STP would not take
		{KeyUp: "0", KeyMAC: "02:16:3e:00:00:02", KeyMTU: "1400", KeyAlias: "vifplug: network guests (4)"},
		{KeyAlias: ""},
		{"multicast_snooping": "0", "multicast_querier": "1", "multicast_query_interval": "62.5", "hash_max": "512", "group_fwd_mask": "8"},
	} {
		require.NoError(t, c.Configure("br0", s), s)
		d := deviceOf(t, c, "br0")
		asSysfs(t, d)
		for k, v := range s {
			assert.Equal(t, v, d.Settings[k], k)
		}
	}
	require.NoError(t, c.Configure("br0", nil), "nothing to do")
}

// What the kernel reports of a bridge, it takes: a bridge can be made again as it was.
func TestBridgeIsMadeAgain(t *testing.T) {
	c, _ := isolated(t)
	require.NoError(t, c.Create(Device{Name: "br0", Kind: "bridge", Settings: Settings{KeyMTU: "1500", KeyMAC: "02:16:3e:00:00:02", "ageing_time": "100"}}))
	first := deviceOf(t, c, "br0")
	require.NoError(t, c.Delete("br0"))
	require.NoError(t, c.Create(first))
	assert.Equal(t, first.Settings, deviceOf(t, c, "br0").Settings)
	require.NoError(t, c.Configure("br0", first.Settings))
	assert.Equal(t, first.Settings, deviceOf(t, c, "br0").Settings)
}

func TestConfigureRefuses(t *testing.T) {
	c, _ := isolated(t)
	bridgeOf(t, "br0")
	before := deviceOf(t, c, "br0").Settings
	for _, tc := range []struct {
		name Name
		s    Settings
		is   error
		want string
	}{
		{"nobody", Settings{KeyMTU: "1500"}, ErrNotFound, "bridge: set mtu of nobody: no such device"},
		{"br0", Settings{KeyMTU: "wide"}, ErrInvalid, `bridge: set mtu of br0: "wide" is no MTU: invalid argument`},
		{"br0", Settings{KeyMAC: "x"}, nil, `bridge: set mac of br0: "x" is no MAC address: want six pairs of hexadecimal digits between colons`},
		{"br0", Settings{"colour": "red"}, ErrInvalid, `bridge: set colour of br0: "colour" is no setting of such a device: invalid argument`},
		{"br0", Settings{"miimon": "100", "stp_state": "0"}, ErrInvalid, `is no setting of such a device: invalid argument`},
		{"br0", Settings{"hello_time": "99"}, ErrValue, `bridge: set hello_time of br0: hello_time: "99" is no value of it; it takes 1 to 10 seconds, with at most two decimals`},
		{"br0", Settings{"miimon": "100"}, ErrUnsupported, "bridge: set miimon of br0: operation not supported"},
	} {
		err := c.Configure(tc.name, tc.s)
		require.ErrorContains(t, err, tc.want)
		if tc.is != nil {
			require.ErrorIs(t, err, tc.is)
		}
	}
	after := deviceOf(t, c, "br0").Settings
	assert.Equal(t, before, after)
}

func TestSetMaster(t *testing.T) {
	c, _ := isolated(t)
	bridgeOf(t, "br0")
	veth(t, "eth0", "w0")
	require.NoError(t, c.SetMaster("eth0", "br0"))
	assert.Equal(t, Name("br0"), deviceOf(t, c, "eth0").Master)
	require.NoError(t, c.SetMaster("eth0", ""))
	assert.Empty(t, deviceOf(t, c, "eth0").Master)
	for _, tc := range []struct {
		name, master Name
		want         string
	}{
		{"nobody", "br0", "bridge: enslave nobody to br0: no such device"},
		{"eth0", "nobody", "bridge: enslave eth0 to nobody: nobody: no such device"},
		{"nobody", "", "bridge: release nobody: no such device"},
	} {
		err := c.SetMaster(tc.name, tc.master)
		require.ErrorIs(t, err, ErrNotFound)
		assert.EqualError(t, err, tc.want)
	}
}

// Nothing is left of a device that could not be made with all that was asked for.
func TestCreateIsAllOrNothing(t *testing.T) {
	c, _ := isolated(t)
	before := hostOf(t, c)
	for _, d := range []Device{
		{Name: "br0", Kind: "bridge", Settings: Settings{KeyAlias: string(make([]byte, 300))}},
		{Name: "br0", Kind: "bridge", Master: "nobody"},
		{Name: "br0", Kind: "bridge", Settings: Settings{"hello_time": "99"}},
		{Name: "br0", Kind: "bridge", Settings: Settings{KeyMAC: "01:00:5e:00:00:01"}},
		{Name: "br0", Kind: "bridge", Settings: Settings{KeyMTU: "1"}},
		{Name: "br0", Kind: "nothing"},
	} {
		require.Error(t, c.Create(d))
		assert.Equal(t, before, hostOf(t, c))
	}
}

// An alternative name is not a name: what it names is another device's.
func TestAlternativeNamesDoNotCount(t *testing.T) {
	c, _ := isolated(t)
	veth(t, "eth0", "w0")
	ip(t, "link property add dev eth0 altname br0")
	require.NoError(t, c.Delete("br0"))
	assert.Equal(t, Name("eth0"), deviceOf(t, c, "eth0").Name)
	require.ErrorIs(t, c.Configure("br0", Settings{KeyMTU: "1400"}), ErrNotFound)
	require.ErrorIs(t, c.AddAddress("br0", Address{Prefix: prefix("10.0.0.1/24")}), ErrNotFound)
}
