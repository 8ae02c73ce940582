package bridge

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

func TestCreateVeth(t *testing.T) {
	c, _ := isolated(t)
	require.NoError(t, c.CreateVeth("tap5.0", "tap5.0-in", "vifplug:loop of web01 (5) eth0", 9000))
	for name, peer := range map[Name]Name{"tap5.0": "tap5.0-in", "tap5.0-in": "tap5.0"} {
		l, err := c.LinkByName(name)
		require.NoError(t, err)
		same(t, l)
		assert.Equal(t, "veth", l.Kind)
		assert.Equal(t, "vifplug:loop of web01 (5) eth0", l.Alias)
		assert.Equal(t, 9000, l.MTU)
		assert.False(t, l.Up)
		assert.True(t, l.NoAddrGen)
		assert.Equal(t, sysNumber(t, string(peer), "ifindex"), sysNumber(t, string(name), "iflink"), "they are a pair")
		assert.NotZero(t, sysNumber(t, string(name), "flags")&unix.IFF_NOARP, name)
	}
	require.NoError(t, c.Delete("tap5.0"))
	_, err := c.LinkByName("tap5.0-in")
	require.ErrorIs(t, err, ErrNotFound, "both go")
	require.NoError(t, c.CreateVeth("a", "b", "", 0))
	l, err := c.LinkByName("b")
	require.NoError(t, err)
	assert.Equal(t, 1500, l.MTU)
}

func TestCreateVethThatIsRefused(t *testing.T) {
	c, _ := isolated(t)
	before := devicesInSysfs(t)
	require.NoError(t, bridgetest.MakeBridge("taken", 1500))
	require.ErrorIs(t, c.CreateVeth("taken", "b", "", 0), ErrExists)
	require.ErrorIs(t, c.CreateVeth("a", "taken", "", 0), ErrExists)
	require.ErrorIs(t, c.CreateVeth("a", "b", "", 70000), ErrInvalid)
	err := c.CreateVeth("a", "b", strings.Repeat("x", 300), 0)
	require.ErrorContains(t, err, "bridge: make veth a with b: ")
	assert.Equal(t, before+1, devicesInSysfs(t), "nothing is left")
}

// feature reads one of a device's offloads.
func feature(t *testing.T, name string, command uint32) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{command: command}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], name)
	_, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	require.Zero(t, no)
	return value.data != 0
}

func TestNoOffloads(t *testing.T) {
	c, _ := isolated(t)
	require.NoError(t, c.CreateVeth("tap5.0", "tap5.0-in", "", 0))
	features := []uint32{unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_GTSO, unix.ETHTOOL_GGSO}
	for _, f := range features {
		assert.True(t, feature(t, "tap5.0", f), "%#x: else there is nothing to switch off", f)
	}
	require.NoError(t, c.NoOffloads("tap5.0"))
	for _, f := range features {
		assert.False(t, feature(t, "tap5.0", f), "%#x", f)
		assert.True(t, feature(t, "tap5.0-in", f), "%#x: the other end's are its own", f)
	}
	require.NoError(t, c.NoOffloads("tap5.0"), "again")
	err := c.NoOffloads("none")
	require.ErrorIs(t, err, ErrNotFound)
	assert.ErrorContains(t, err, "bridge: switch tso off on none: ")
	require.ErrorIs(t, c.NoOffloads("a-name-that-is-too-long"), ErrNotFound)
}

func TestIgnoreIPv6(t *testing.T) {
	c, _ := isolated(t)
	require.NoError(t, c.CreateVeth("tap5.0", "tap5.0-in", "", 0))
	require.NoError(t, c.IgnoreIPv6("tap5.0-in"))
	got, err := os.ReadFile("/proc/sys/net/ipv6/conf/tap5.0-in/disable_ipv6")
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
		assert.Equal(t, "1\n", string(got))
	}
	require.NoError(t, c.IgnoreIPv6("none"))
}
