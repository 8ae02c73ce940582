package bridge

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
)

// vifMAC is the address of every port that vifplug makes.
var vifMAC = MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}

func TestSetEachFieldAlone(t *testing.T) {
	c, _ := isolated(t)
	br, v := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0")
	before, err := c.Link(v)
	require.NoError(t, err)
	for _, tc := range []struct {
		change     Change
		file, want string
		says       func(*Link)
	}{
		{Change{MAC: &vifMAC}, "address", "fe:ff:ff:ff:ff:ff", func(l *Link) { l.MAC = vifMAC }},
		{Change{MTU: 9000}, "mtu", "9000", func(l *Link) { l.MTU = 9000 }},
		{Change{Alias: ptr("vifplug:web01 (5) eth0")}, "ifalias", "vifplug:web01 (5) eth0", func(l *Link) { l.Alias = "vifplug:web01 (5) eth0" }},
		{Change{Alias: ptr("")}, "ifalias", "", func(l *Link) { l.Alias = "" }},
		{Change{NoAddrGen: true}, "", "", func(l *Link) { l.NoAddrGen = true }},
		{Change{Master: &br}, "master/ifindex", strconv.Itoa(br), func(l *Link) { l.Master, l.IsPort = br, true }},
		{Change{Up: ptr(true)}, "", "", func(l *Link) { l.Up = true }},
		{Change{Up: ptr(false)}, "", "", func(l *Link) { l.Up = false }},
		{Change{Master: ptr(0)}, "", "", func(l *Link) { l.Master, l.IsPort = 0, false }},
		{Change{Name: "web01"}, "ifindex", strconv.Itoa(v), func(l *Link) { l.Name = "web01" }},
		{Change{}, "", "", func(*Link) {}},
	} {
		require.NoError(t, c.Set(v, tc.change), "%+v", tc.change)
		tc.says(&before)
		after := carried(t, c, v, before.Running)
		assert.Equal(t, before, after, "%+v changes just that", tc.change)
		same(t, after)
		if tc.file != "" {
			assert.Equal(t, tc.want, sys(t, string(after.Name), tc.file), "%+v", tc.change)
		}
	}
	assert.NoDirExists(t, "/sys/class/net/vif5.0", "it was renamed")
}

func TestSetAllTogether(t *testing.T) {
	c, _ := isolated(t)
	br, v := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0")
	require.NoError(t, c.Set(v, Change{
		Name: "web01", Alias: ptr("vifplug:web01"), MAC: &vifMAC, MTU: 1400, Master: &br, Up: ptr(true), NoAddrGen: true,
	}))
	l := carried(t, c, v, false)
	same(t, l)
	l.MinMTU, l.MaxMTU, l.parentIsReported = 0, 0, false
	assert.Equal(t, Link{
		Index: v, Name: "web01", Alias: "vifplug:web01", Kind: "veth", MAC: vifMAC, MTU: 1400, Master: br, Up: true, IsPort: true, NoAddrGen: true,
	}, l)
}

// A device that is told to make no IPv6 address has none when it comes up; another makes one.
func TestNoAddrGen(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	m := monitored(t, monitorBuffer)
	require.NoError(t, c.Set(v, Change{NoAddrGen: true}))
	require.NoError(t, c.Set(v, Change{Up: ptr(true)}))
	require.NoError(t, bridgetest.SetUp("g5.0"))
	for _, name := range []Name{"vif5.0", "g5.0"} { // the kernel makes addresses as it reports the carrier
		for l := (Link{}); !l.Running; {
			var err error
			if l, err = c.LinkByName(name); err == nil && !l.Running {
				_, err = m.Receive()
			}
			require.NoError(t, err)
		}
	}
	mine, err := c.Addresses(v)
	require.NoError(t, err)
	assert.Empty(t, mine)
	other, err := c.Addresses(sysNumber(t, "g5.0", "ifindex"))
	require.NoError(t, err)
	require.Len(t, other, 1)
	assert.True(t, other[0].Addr().IsLinkLocalUnicast())
}

// What the kernel refuses comes back as its own sentence, where it has one.
func TestSetRefused(t *testing.T) {
	c, _ := isolated(t)
	br, v := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0")
	lo, err := c.LinkByName("lo")
	require.NoError(t, err)
	const toosmallForIPv6 = 1000
	require.NoError(t, bridgetest.SetMTU("g5.0", toosmallForIPv6))
	peer := sysNumber(t, "g5.0", "ifindex")
	before, err := c.Link(v)
	require.NoError(t, err)
	for _, tc := range []struct {
		index  int
		change Change
		is     error
		text   string
	}{
		{v, Change{MTU: 65536}, ErrInvalid, "mtu greater than device maximum (invalid argument)"},
		{v, Change{MTU: 67}, ErrInvalid, "mtu less than device minimum (invalid argument)"},
		{v, Change{Name: "xenbr0"}, ErrExists, "file exists"},
		{v, Change{Name: "a/b"}, ErrInvalid, "invalid argument"},
		{v, Change{Name: "all"}, ErrInvalid, "invalid argument"},
		{v, Change{Name: Name(strings.Repeat("x", NameMax+1))}, ErrInvalid, "Attribute failed policy validation (numerical result out of range)"},
		{v, Change{Alias: ptr(strings.Repeat("x", 256))}, ErrInvalid, "Attribute failed policy validation (numerical result out of range)"},
		{v, Change{MAC: &MAC{1, 0, 0, 0, 0, 1}}, ErrInvalid, "cannot assign requested address"},
		{v, Change{Master: &v}, ErrUnsupported, "operation not supported"},
		{v, Change{Master: &lo.Index}, ErrUnsupported, "operation not supported"},
		{v, Change{Master: ptr(77)}, ErrInvalid, "invalid argument"},
		{br, Change{Master: &br}, nil, "too many levels of symbolic links"},
		{lo.Index, Change{Master: &br}, ErrInvalid, "invalid argument"},
		{peer, Change{NoAddrGen: true}, ErrUnsupported, "address family not supported by protocol"},
		{77, Change{MTU: 1500}, ErrNotFound, "no such device"},
		{0, Change{Name: "x"}, ErrNotFound, "no such device"},
		{-1, Change{}, ErrNotFound, "no such device"},
	} {
		err := c.Set(tc.index, tc.change)
		require.Error(t, err, "%+v", tc.change)
		assert.ErrorContains(t, err, "bridge: change link ")
		assert.ErrorContains(t, err, tc.text)
		if tc.is != nil {
			assert.ErrorIs(t, err, tc.is)
		}
		if tc.is != ErrNotFound {
			assert.NotErrorIs(t, err, ErrNotFound, "it is there")
		}
	}
	after, err := c.Link(v)
	require.NoError(t, err)
	assert.Equal(t, before, after, "what was refused has changed nothing")
}

// Every name that ParseName takes, the kernel takes too; and those that only ParseName refuses are its own choice.
func TestKernelTakesNames(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	for _, text := range []string{"...", "a", "eth0@x+y=z,~^[]", strings.Repeat("x", NameMax), "-rf", "vif65535.99-emu"} {
		name, err := ParseName(text)
		require.NoError(t, err)
		require.NoError(t, c.Set(v, Change{Name: name}), "%q", text)
		l, err := c.LinkByName(name)
		require.NoError(t, err)
		assert.Equal(t, v, l.Index)
		assert.Equal(t, name, l.Name)
	}
	_, err := ParseName("vif%d")
	require.Error(t, err)
	require.NoError(t, c.Set(v, Change{Name: "vif%d"}))
	l, err := c.Link(v)
	require.NoError(t, err)
	assert.Equal(t, Name("vif0"), l.Name, "a template: this is why ParseName refuses it")
}

// What it is all for: frames.
func TestPortForwards(t *testing.T) {
	c, _ := isolated(t)
	br := bridgeOf(t, "xenbr0")
	one, two := veth(t, "vif1.0", "g1.0"), veth(t, "vif2.0", "g2.0")
	for _, end := range []string{"g1.0", "g2.0"} {
		require.NoError(t, bridgetest.SetUp(end))
	}
	for _, v := range []int{one, two} {
		require.NoError(t, c.Set(v, Change{MAC: &vifMAC, Master: &br}))
		require.NoError(t, c.Set(v, Change{Up: ptr(true)}))
	}
	_, err := bridgetest.Frame("g1.0", "g2.0")
	require.NoError(t, err)
	require.NoError(t, c.Set(two, Change{Master: ptr(0)}))
	_, err = bridgetest.Frame("g1.0", "g2.0")
	require.ErrorIs(t, err, bridgetest.ErrNotArrived, "it is no port any more")
	require.NoError(t, c.Set(two, Change{Master: &br}))
	_, err = bridgetest.Frame("g1.0", "g2.0")
	require.NoError(t, err)
	require.NoError(t, c.Set(one, Change{Up: ptr(false)}))
	_, err = bridgetest.Frame("g1.0", "g2.0")
	require.ErrorIs(t, err, bridgetest.ErrNotArrived, "it is down")
}

func TestDeviceVanishes(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	require.NoError(t, bridgetest.Delete("g5.0"))
	_, err := c.Link(v)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = c.LinkByName("vif5.0")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, c.Set(v, Change{Up: ptr(true)}), ErrNotFound)
	_, err = c.Addresses(v)
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, c.IgnoreRA("vif5.0"), "a device without IPv6 is fine")
}

func TestIgnoreRA(t *testing.T) {
	c, _ := isolated(t)
	veth(t, "vif5.0", "g5.0")
	const conf = "/proc/sys/net/ipv6/conf/"
	read := func(name string) string {
		b, err := os.ReadFile(conf + name + "/accept_ra")
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	}
	require.Equal(t, "1", read("vif5.0"))
	require.NoError(t, c.IgnoreRA("vif5.0"))
	assert.Equal(t, "0", read("vif5.0"))
	for _, other := range []string{"g5.0", "all", "default", "lo"} {
		assert.Equal(t, "1", read(other), other)
	}
	require.NoError(t, bridgetest.SetMTU("g5.0", 1000)) // too small for IPv6
	require.NoFileExists(t, conf+"g5.0/accept_ra")
	require.NoError(t, c.IgnoreRA("g5.0"))
}
