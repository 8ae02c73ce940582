package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

// hostOf reads the host, and what it says of a device.
func hostOf(t *testing.T, c *Conn) Host {
	t.Helper()
	h, err := c.Host()
	require.NoError(t, err)
	return h
}

func deviceOf(t *testing.T, c *Conn, name Name) Device {
	t.Helper()
	h := hostOf(t, c)
	d := h.Device(name)
	require.NotNil(t, d, name)
	return *d
}

// asSysfs asserts that a device is what sysfs says of it, option by option.
func asSysfs(t *testing.T, d Device) {
	t.Helper()
	name := string(d.Name)
	assert.Equal(t, sysNumber(t, name, "ifindex"), d.Index, name)
	assert.Equal(t, sys(t, name, "address"), d.Settings[KeyMAC], name)
	assert.Equal(t, sys(t, name, "mtu"), d.Settings[KeyMTU], name)
	assert.Equal(t, sys(t, name, "ifalias"), d.Settings[KeyAlias], name)
	assert.Equal(t, strconv.Itoa(sysNumber(t, name, "flags")&1), d.Settings[KeyUp], name)
	master, _ := os.Readlink("/sys/class/net/" + name + "/master")
	if master != "" {
		master = filepath.Base(master)
	}
	assert.Equal(t, master, string(d.Master), name)
	if d.Kind != "bridge" {
		return
	}
	for _, o := range BridgeOptions {
		if got, ok := d.Settings[o.Key]; ok {
			assert.Equal(t, bridgeFile(t, name, &o), got, "%s of %s", o.Key, name)
		}
	}
}

// bridgeFile is what sysfs says of a bridge's option, in our spelling.
func bridgeFile(t *testing.T, name string, o *Option) string {
	t.Helper()
	v := sys(t, name, "bridge/"+string(o.Key))
	if n, err := strconv.ParseUint(v, 0, 64); err == nil && o.Kind == "seconds" {
		return formatSeconds(n)
	}
	got, err := o.Canonical(v)
	require.NoError(t, err, o.Key)
	return got
}

func TestHost(t *testing.T) {
	c, _ := isolated(t)
	bridgeOf(t, "xenbr0")
	v := veth(t, "vif5.0", "g5.0")
	require.NoError(t, bridgetest.SetAlias("vif5.0", "vifplug: domain web01 (5) eth0 on guests"))
	require.NoError(t, bridgetest.SetMTU("vif5.0", 9000))
	require.NoError(t, bridgetest.SetMaster("vif5.0", "xenbr0"))
	require.NoError(t, bridgetest.SetUp("vif5.0"))
	require.NoError(t, bridgetest.SetDown("xenbr0"))
	h := hostOf(t, c)
	assert.Len(t, h.Devices, devicesInSysfs(t))
	for i, d := range h.Devices {
		asSysfs(t, d)
		assert.True(t, i == 0 || h.Devices[i-1].Index < d.Index, "by index")
	}
	d := h.Device("vif5.0")
	assert.Equal(t, "veth", d.Kind)
	assert.Equal(t, h.Device("g5.0").Index, d.Peer)
	assert.Equal(t, v, h.Device("g5.0").Peer)
	assert.Equal(t, []int{68, 65535}, []int{d.MinMTU, d.MaxMTU})
	assert.True(t, h.Device("lo").Loopback)
	assert.Empty(t, h.Device("lo").Kind)
	assert.Nil(t, h.Device("nobody"))
}

// devicesInSysfs counts them; beside them lies bonding_masters, a plain file.
func devicesInSysfs(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/sys/class/net")
	require.NoError(t, err)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			n++
		}
	}
	return n
}

func TestCreateBridge(t *testing.T) {
	c, _ := isolated(t)
	want := Settings{
		KeyMTU: "1500", KeyMAC: "02:16:3e:00:00:01", KeyAlias: "vifplug: network guests (4)", KeyUp: "1",
		"stp_state": "0", "forward_delay": "0", "ageing_time": "17.5", "multicast_snooping": "0", "priority": "100",
	}
	require.NoError(t, c.Create(Device{Name: "9ABCDEF", Kind: "bridge", Settings: want}))
	d := deviceOf(t, c, "9ABCDEF")
	asSysfs(t, d)
	for k, v := range want {
		assert.Equal(t, v, d.Settings[k], k)
	}
	err := c.Create(Device{Name: "9ABCDEF", Kind: "bridge"})
	require.ErrorIs(t, err, ErrExists)
	assert.EqualError(t, err, "bridge: make bridge 9ABCDEF: file exists")
	require.NoError(t, c.Delete("9ABCDEF"))
	require.NoError(t, c.Delete("9ABCDEF"), "gone already is fine")
	assert.NoDirExists(t, "/sys/class/net/9ABCDEF")
}

// A bridge whose MTU was said keeps it when ports join; one without follows its smallest port.
func TestBridgeKeepsItsMTU(t *testing.T) {
	c, _ := isolated(t)
	for _, mtu := range []string{"1500", "1499", "9000", ""} {
		name := Name("br" + mtu)
		s := Settings{}
		if mtu != "" {
			s[KeyMTU] = mtu
		}
		require.NoError(t, c.Create(Device{Name: name, Kind: "bridge", Settings: s}))
		for _, port := range []string{"a" + mtu, "b" + mtu} {
			veth(t, port, "p"+port)
		}
		require.NoError(t, bridgetest.SetMTU("a"+mtu, 4000))
		require.NoError(t, c.SetMaster(Name("a"+mtu), name))
		want := mtu
		if mtu == "" {
			want = "4000"
		}
		assert.Equal(t, want, sys(t, string(name), "mtu"))
	}
}

func BenchmarkHost(b *testing.B) {
	c := benched(b)
	require.NoError(b, bridgetest.MakeBridge("br0", 1500))
	for i := range 1050 { // a bridge has at most 1,023 ports
		require.NoError(b, bridgetest.MakeVeth(fmt.Sprintf("vif%d.0", i), fmt.Sprintf("g%d.0", i)))
		if i < 1000 {
			require.NoError(b, bridgetest.SetMaster(fmt.Sprintf("vif%d.0", i), "br0"))
		}
	}
	for b.Loop() {
		h, err := c.Host()
		require.NoError(b, err)
		require.Greater(b, len(h.Devices), 2100)
	}
}

func benched(b *testing.B) *Conn {
	b.Helper()
	netns.New(b)
	c, err := Open()
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	return c
}
