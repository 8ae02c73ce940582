package bridge

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// ip runs iproute2, whose word counts beside ours.
func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", args, out)
	return string(out)
}

// ipAddresses are the addresses of a device as iproute2 lists them.
func ipAddresses(t *testing.T, device string) (out []map[string]any) {
	t.Helper()
	var list []struct {
		Info []map[string]any `json:"addr_info"`
	}
	require.NoError(t, json.Unmarshal([]byte(ip(t, "-j addr show dev "+device)), &list))
	for _, l := range list {
		out = append(out, l.Info...)
	}
	return out
}

func TestAddAddress(t *testing.T) {
	for name, a := range map[string]Address{
		"plain":           {Prefix: prefix("10.11.10.22/24")},
		"ours":            {Prefix: prefix("10.11.10.22/24"), Protocol: OwnProtocol, Broadcast: addr("10.11.10.255")},
		"leased":          {Prefix: prefix("10.11.10.22/24"), Valid: time.Hour, Preferred: 30 * time.Minute},
		"deprecated":      {Prefix: prefix("10.11.10.22/24"), Valid: time.Hour, Preferred: Deprecated},
		"point to point":  {Prefix: prefix("10.0.0.1/32"), Peer: prefix("10.0.0.2/32")},
		"link scope":      {Prefix: prefix("169.254.3.4/16"), Scope: 253},
		"no prefix route": {Prefix: prefix("10.1.0.1/16"), NoPrefixRoute: true},
		"metric":          {Prefix: prefix("10.1.0.1/16"), Metric: 77},
		"label":           {Prefix: prefix("10.1.0.1/16"), Label: "1"},
		"six":             {Prefix: prefix("2001:db8::22/64"), Protocol: OwnProtocol},
		"six leased":      {Prefix: prefix("2001:db8::22/64"), Valid: time.Hour, Preferred: 30 * time.Minute},
		"six peer":        {Prefix: prefix("2001:db8::22/128"), Peer: prefix("2001:db8::23/128")},
		"six link local":  {Prefix: prefix("fe80::1234/64"), Scope: 253, Protocol: OwnProtocol},
		"six metric":      {Prefix: prefix("2001:db8::22/64"), Metric: 77, NoPrefixRoute: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := isolated(t)
			veth(t, "eth0", "wire0")
			require.NoError(t, c.AddAddress("eth0", a))
			got := deviceOf(t, c, "eth0").Addresses
			require.Len(t, got, 1)
			assert.InDelta(t, a.Valid, got[0].Valid, float64(2*time.Second))
			assert.InDelta(t, a.Preferred, got[0].Preferred, float64(2*time.Second))
			got[0].Valid, got[0].Preferred = a.Valid, a.Preferred
			assert.Equal(t, a, got[0])
			theirs := ipAddresses(t, "eth0")
			require.Len(t, theirs, 1)
			assert.Equal(t, a.Prefix.Addr().String(), theirs[0]["local"])
			if a.Label != "" {
				assert.Equal(t, "eth0:"+a.Label, theirs[0]["label"])
			}
			require.NoError(t, c.RemoveAddress("eth0", a))
			assert.Empty(t, deviceOf(t, c, "eth0").Addresses)
			require.NoError(t, c.RemoveAddress("eth0", a), "gone already is fine")
		})
	}
}

func TestAddAddressAgain(t *testing.T) {
	c, _ := isolated(t)
	veth(t, "eth0", "wire0")
	for _, p := range []string{"10.0.0.1/24", "2001:db8::1/64"} {
		a := Address{Prefix: prefix(p), Valid: time.Hour, Preferred: time.Hour}
		require.NoError(t, c.AddAddress("eth0", a))
		a.Valid, a.Preferred = 0, 0
		require.NoError(t, c.AddAddress("eth0", a), "it is valid for ever now")
	}
	got := deviceOf(t, c, "eth0").Addresses
	require.Len(t, got, 2)
	for _, a := range got {
		assert.Zero(t, a.Valid, a.Prefix)
		assert.Zero(t, a.Preferred, a.Prefix)
	}
}

// A moved IPv6 address is of use at once; another is first asked for on the link.
func TestNoDAD(t *testing.T) {
	c, _ := isolated(t)
	veth(t, "eth0", "wire0")
	for _, l := range []string{"eth0", "wire0"} {
		require.NoError(t, bridgetest.SetUp(l))
	}
	require.NoError(t, c.AddAddress("eth0", Address{Prefix: prefix("2001:db8::1/64"), NoDAD: true}))
	require.NoError(t, c.AddAddress("eth0", Address{Prefix: prefix("2001:db8::2/64")}))
	for _, a := range ipAddresses(t, "eth0") {
		if a["local"] == "2001:db8::1" {
			assert.Nil(t, a["tentative"])
		}
		if a["local"] == "2001:db8::2" {
			assert.Equal(t, true, a["tentative"])
		}
	}
}

func TestLinkLocalOfTheKernelIsNoAddress(t *testing.T) {
	c, _ := isolated(t)
	veth(t, "eth0", "wire0")
	for _, l := range []string{"eth0", "wire0"} {
		require.NoError(t, bridgetest.SetUp(l))
	}
	require.Contains(t, ip(t, "-6 addr show dev eth0"), "fe80::")
	assert.Empty(t, deviceOf(t, c, "eth0").Addresses)
	assert.Empty(t, hostOf(t, c).Routes)
}

func TestAddressesOfNobody(t *testing.T) {
	c, _ := isolated(t)
	a := Address{Prefix: prefix("10.0.0.1/24")}
	err := c.AddAddress("eth9", a)
	require.ErrorIs(t, err, ErrNotFound)
	assert.EqualError(t, err, "bridge: add address 10.0.0.1/24 to eth9: no such device")
	assert.NoError(t, c.RemoveAddress("eth9", a))
}

// routed makes two devices that are up, each with addresses of both families.
func routed(t *testing.T) *Conn {
	t.Helper()
	c, _ := isolated(t)
	for _, l := range []string{"eth0", "br0"} {
		veth(t, l, "w"+l)
		require.NoError(t, bridgetest.SetUp(l))
		require.NoError(t, bridgetest.SetUp("w"+l))
		for _, p := range []string{"10.0.0.1/24", "2001:db8::1/64"} {
			require.NoError(t, c.AddAddress(Name(l), Address{Prefix: prefix(p), NoDAD: true}))
		}
	}
	return c
}

func TestAddRoute(t *testing.T) {
	main := Route{Table: 254, Protocol: OwnProtocol, Type: 1, Device: "eth0"}
	for name, change := range map[string]func(*Route){
		"default":       func(r *Route) { r.To, r.Via = prefix("0.0.0.0/0"), addr("10.0.0.254") },
		"subnet":        func(r *Route) { r.To, r.Via, r.Metric = prefix("172.16.0.0/12"), addr("10.0.0.254"), 50 },
		"on the link":   func(r *Route) { r.To, r.Scope = prefix("172.16.0.0/12"), 253 },
		"source":        func(r *Route) { r.To, r.Via, r.Source = prefix("172.16.0.0/12"), addr("10.0.0.254"), addr("10.0.0.1") },
		"table":         func(r *Route) { r.To, r.Via, r.Table = prefix("0.0.0.0/0"), addr("10.0.0.254"), 100 },
		"table beyond":  func(r *Route) { r.To, r.Via, r.Table = prefix("0.0.0.0/0"), addr("10.0.0.254"), 4000 },
		"gateway on":    func(r *Route) { r.To, r.Via, r.OnLink = prefix("0.0.0.0/0"), addr("192.0.2.1"), true },
		"mtu":           func(r *Route) { r.To, r.Via, r.MTU = prefix("172.16.0.0/12"), addr("10.0.0.254"), 1400 },
		"by six":        func(r *Route) { r.To, r.Via = prefix("172.16.0.0/12"), addr("2001:db8::fe") },
		"blackhole":     func(r *Route) { r.To, r.Type, r.Device = prefix("172.16.0.0/12"), 6, "" },
		"six default":   func(r *Route) { r.To, r.Via, r.Metric = prefix("::/0"), addr("2001:db8::fe"), 1024 },
		"six announced": func(r *Route) { r.To, r.Via, r.Metric, r.Protocol = prefix("::/0"), addr("fe80::fe"), 512, 9 },
		"six subnet":    func(r *Route) { r.To, r.Metric = prefix("2001:db8:1::/48"), 1024 },
		"six mtu":       func(r *Route) { r.To, r.Metric, r.MTU = prefix("2001:db8:1::/48"), 1024, 1400 },
	} {
		t.Run(name, func(t *testing.T) {
			c := routed(t)
			r := main
			change(&r)
			require.NoError(t, c.AddRoute(r))
			assert.Equal(t, []Route{r}, hostOf(t, c).Routes)
			require.NoError(t, c.AddRoute(r), "again")
			assert.Equal(t, []Route{r}, hostOf(t, c).Routes)
			r.Protocol = 4
			require.NoError(t, c.AddRoute(r), "of another maker")
			assert.Equal(t, []Route{r}, hostOf(t, c).Routes)
			require.NoError(t, c.DeleteRoute(r))
			assert.Empty(t, hostOf(t, c).Routes)
			require.NoError(t, c.DeleteRoute(r), "gone already is fine")
		})
	}
}

func TestRouteOfNobody(t *testing.T) {
	c := routed(t)
	r := Route{To: prefix("0.0.0.0/0"), Via: addr("10.0.0.254"), Device: "eth9", Table: 254, Type: 1}
	err := c.AddRoute(r)
	require.ErrorIs(t, err, ErrNotFound)
	assert.EqualError(t, err, "bridge: add route to 0.0.0.0/0 by eth9: no such device")
	require.NoError(t, c.DeleteRoute(r))
	r.Device, r.Via = "eth0", addr("192.0.2.1")
	assert.ErrorIs(t, c.AddRoute(r), syscall.ENETUNREACH, "a gateway that is on no link")
}

// The default route goes from one device to another, and there is one at every moment.
func TestDefaultRouteMoves(t *testing.T) {
	c := routed(t)
	old4 := Route{To: prefix("0.0.0.0/0"), Via: addr("10.0.0.254"), Device: "eth0", Table: 254, Type: 1, Protocol: 3}
	old6 := Route{To: prefix("::/0"), Via: addr("2001:db8::fe"), Device: "eth0", Table: 254, Type: 1, Protocol: 3, Metric: 1024}
	other := old6
	other.Via = addr("fe80::1") // another router, which must not be lost: IPv6 knows several of the same metric
	require.NoError(t, c.AddRoute(old4))
	require.NoError(t, c.AddRoute(old6))
	require.NoError(t, c.AddRoute(other))

	new4, new6 := old4, old6
	new4.Device, new6.Device = "br0", "br0"
	require.NoError(t, c.AddRoute(new4))
	require.NoError(t, c.AddRoute(new6))
	var got []Route
	for _, r := range hostOf(t, c).Routes {
		r.Multipath = false // IPv6 shows those of one metric as one
		got = append(got, r)
	}
	assert.ElementsMatch(t, []Route{new4, old6, new6, other}, got, "IPv4's took the old one's place, IPv6's stands beside it")
	require.NoError(t, c.DeleteRoute(old4), "it is gone already")
	require.NoError(t, c.DeleteRoute(old6))
	got = nil
	for _, r := range hostOf(t, c).Routes {
		r.Multipath = false
		got = append(got, r)
	}
	assert.ElementsMatch(t, []Route{new4, new6, other}, got)
}

// What others made is read as iproute2 has it; what the kernel made, and tables' local routes, are not.
func TestRoutesOfOthers(t *testing.T) {
	c := routed(t)
	ip(t, "route add 172.16.0.0/12 proto static nexthop via 10.0.0.2 dev eth0 nexthop via 10.0.0.3 dev br0 onlink")
	ip(t, "route add unreachable 192.0.2.0/24 metric 9")
	ip(t, "route add 198.51.100.0/24 dev eth0 tos 0x10")
	ip(t, "-6 route add 2001:db8:2::/48 via 2001:db8::5 dev br0")
	got := hostOf(t, c).Routes
	assert.Equal(t, []Route{
		{To: prefix("172.16.0.0/12"), Via: addr("10.0.0.2"), Device: "eth0", Table: 254, Protocol: 4, Type: 1, Multipath: true},
		{To: prefix("172.16.0.0/12"), Via: addr("10.0.0.3"), Device: "br0", Table: 254, Protocol: 4, Type: 1, Multipath: true, OnLink: true},
		{To: prefix("192.0.2.0/24"), Table: 254, Protocol: 3, Type: 7, Metric: 9},
		{To: prefix("198.51.100.0/24"), Device: "eth0", Table: 254, Protocol: 3, Type: 1, Scope: 253, Multipath: true},
		{To: prefix("2001:db8:2::/48"), Via: addr("2001:db8::5"), Device: "br0", Table: 254, Protocol: 3, Type: 1, Metric: 1024},
	}, got)
}
