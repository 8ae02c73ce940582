package bridge

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// portFlags are the flags of a port, by their attribute.
var portFlags = map[string]struct {
	attribute uint16
	is        func(BridgePort) bool
}{
	"learning":        {unix.IFLA_BRPORT_LEARNING, func(p BridgePort) bool { return p.Learning }},
	"flood":           {unix.IFLA_BRPORT_UNICAST_FLOOD, func(p BridgePort) bool { return p.UnicastFlood }},
	"hairpin":         {unix.IFLA_BRPORT_MODE, func(p BridgePort) bool { return p.Hairpin }},
	"isolated":        {unix.IFLA_BRPORT_ISOLATED, func(p BridgePort) bool { return p.Isolated }},
	"locked":          {unix.IFLA_BRPORT_LOCKED, func(p BridgePort) bool { return p.Locked }},
	"neigh_suppress":  {unix.IFLA_BRPORT_NEIGH_SUPPRESS, func(p BridgePort) bool { return p.NeighSuppress }},
	"proxy_arp":       {unix.IFLA_BRPORT_PROXYARP, func(p BridgePort) bool { return p.ProxyARP }},
	"vlan_tunnel":     {unix.IFLA_BRPORT_VLAN_TUNNEL, func(p BridgePort) bool { return p.VLANTunnel }},
	"root_block":      {unix.IFLA_BRPORT_PROTECT, func(p BridgePort) bool { return p.RootBlock }},
	"guard":           {unix.IFLA_BRPORT_GUARD, func(p BridgePort) bool { return p.BPDUGuard }},
	"mcast_to_uncast": {unix.IFLA_BRPORT_MCAST_TO_UCAST, func(p BridgePort) bool { return p.MulticastToOne }},
}

// setPort changes an attribute of a port.
func setPort(t *testing.T, c *Conn, index int, attribute []byte) {
	t.Helper()
	req := linkRequest(index)
	req[0] = unix.AF_BRIDGE
	_, err := c.execute(unix.RTM_SETLINK, netlink.Acknowledge, appendAttr(req, unix.IFLA_PROTINFO|unix.NLA_F_NESTED, attribute))
	require.NoError(t, err)
}

// forwarding waits until a port forwards.
func forwarding(t *testing.T, c *Conn, index int) (p BridgePort) {
	t.Helper()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		var err error
		p, err = c.BridgePort(index)
		require.NoError(t, err)
		require.Equal(t, PortForwarding, p.State)
	}, 10*time.Second, 5*time.Millisecond)
	return p
}

// port makes a veth pair that is up, whose first is a port of a bridge, and gives the first's index once it forwards.
func port(t *testing.T, c *Conn, bridge, name, peer string) int {
	t.Helper()
	v := veth(t, name, peer)
	require.NoError(t, bridgetest.SetMaster(name, bridge))
	require.NoError(t, bridgetest.SetUp(name))
	require.NoError(t, bridgetest.SetUp(peer))
	forwarding(t, c, v)
	return v
}

func TestBridgePort(t *testing.T) {
	c, _ := isolated(t)
	br := bridgeOf(t, "xenbr0")
	v := port(t, c, "xenbr0", "vif5.0", "g5.0")
	plain := forwarding(t, c, v)
	assert.Equal(t, BridgePort{Index: v, Bridge: br, State: PortForwarding, Learning: true, UnicastFlood: true}, plain)
	for name, f := range portFlags {
		was := f.is(plain)
		setPort(t, c, v, appendAttr(nil, f.attribute, []byte{map[bool]byte{true: 0, false: 1}[was]}))
		p, err := c.BridgePort(v)
		require.NoError(t, err)
		assert.Equal(t, !was, f.is(p), name)
		setPort(t, c, v, appendAttr(nil, f.attribute, []byte{map[bool]byte{true: 1, false: 0}[was]}))
		p, err = c.BridgePort(v)
		require.NoError(t, err)
		assert.Equal(t, plain, p, "%s changes nothing else", name)
	}
	require.NoError(t, c.Configure("xenbr0", Settings{"stp_state": "1", "forward_delay": "30"}))
	require.NoError(t, bridgetest.SetDown("vif5.0"))
	require.NoError(t, bridgetest.SetUp("vif5.0"))
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		p, err := c.BridgePort(v)
		require.NoError(t, err)
		require.Equal(t, "listening", p.State.String(), "STP lets no frame through yet")
	}, 10*time.Second, 5*time.Millisecond)
}

func TestBridgePortBackup(t *testing.T) {
	c, _ := isolated(t)
	bridgeOf(t, "xenbr0")
	v, other := port(t, c, "xenbr0", "vif5.0", "g5.0"), port(t, c, "xenbr0", "vif6.0", "g6.0")
	setPort(t, c, v, appendUint32(nil, unix.IFLA_BRPORT_BACKUP_PORT, uint32(other)))
	p, err := c.BridgePort(v)
	require.NoError(t, err)
	assert.Equal(t, other, p.BackupPort)
}

func TestBridgePortThatIsNone(t *testing.T) {
	c, _ := isolated(t)
	br, v := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0")
	for _, index := range []int{br, v, 77, 0, -1} {
		p, err := c.BridgePort(index)
		require.ErrorIs(t, err, ErrNotFound, "%d", index)
		assert.ErrorContains(t, err, "bridge: read bridge port ")
		assert.Zero(t, p)
	}
	require.NoError(t, bridgetest.SetMaster("vif5.0", "xenbr0"))
	p, err := c.BridgePort(v)
	require.NoError(t, err)
	assert.Equal(t, PortDisabled, p.State, "it is down")
	require.NoError(t, bridgetest.SetMaster("vif5.0", ""))
	_, err = c.BridgePort(v)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestBridgePorts(t *testing.T) {
	c, _ := isolated(t)
	br, other := bridgeOf(t, "xenbr0"), bridgeOf(t, "xenbr1")
	a, b, d := port(t, c, "xenbr0", "vif5.0", "g5.0"), port(t, c, "xenbr0", "vif6.0", "g6.0"), port(t, c, "xenbr1", "vif7.0", "g7.0")
	indexes := func(bridge int) (out []int) {
		ports, err := c.BridgePorts(bridge)
		require.NoError(t, err)
		for _, p := range ports {
			one, err := c.BridgePort(p.Index)
			require.NoError(t, err)
			assert.Equal(t, one, p, "a list says what one question says")
			out = append(out, p.Index)
		}
		return out
	}
	assert.Equal(t, []int{a, b}, indexes(br))
	assert.Equal(t, []int{d}, indexes(other))
	require.NoError(t, bridgetest.Delete("xenbr1"))
	assert.Empty(t, indexes(other))
	_, err := c.BridgePorts(0)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestSwitch(t *testing.T) {
	c, _ := isolated(t)
	br := bridgeOf(t, "xenbr0")
	// sysfs is the other way to ask; times are in hundredths of a second there
	time100 := func(file string) time.Duration {
		return time.Duration(sysNumber(t, "xenbr0", file)) * 10 * time.Millisecond
	}
	s, err := c.Switch(br)
	require.NoError(t, err)
	assert.Equal(t, Switch{Index: br, Ageing: time100("bridge/ageing_time"), ForwardDelay: time100("bridge/forward_delay")}, s)
	assert.Equal(t, 300*time.Second, s.Ageing)
	for key, is := range map[Key]func(Switch) bool{
		"stp_state":         func(s Switch) bool { return s.STP },
		"nf_call_iptables":  func(s Switch) bool { return s.NFCallIPTables },
		"nf_call_ip6tables": func(s Switch) bool { return s.NFCallIP6Tables },
		"nf_call_arptables": func(s Switch) bool { return s.NFCallARPTables },
		"vlan_filtering":    func(s Switch) bool { return s.Filtering },
	} {
		if _, err := os.Stat(filepath.Join("/sys/class/net/xenbr0/bridge", string(key))); err != nil {
			continue // this kernel is built without it
		}
		require.NoError(t, c.Configure("xenbr0", Settings{key: "1"}), key)
		got, err := c.Switch(br)
		require.NoError(t, err)
		assert.True(t, is(got), key)
		require.NoError(t, c.Configure("xenbr0", Settings{key: "0"}), key)
		got, err = c.Switch(br)
		require.NoError(t, err)
		assert.Equal(t, s, got, key)
	}
	require.NoError(t, c.Configure("xenbr0", Settings{"ageing_time": "0", "forward_delay": "0"}))
	got, err := c.Switch(br)
	require.NoError(t, err)
	assert.Equal(t, Switch{Index: br}, got)
}

func TestSwitchThatIsNone(t *testing.T) {
	c, _ := isolated(t)
	for _, index := range []int{veth(t, "vif5.0", "g5.0"), 77, 0} {
		s, err := c.Switch(index)
		require.ErrorIs(t, err, ErrNotFound)
		assert.ErrorContains(t, err, "bridge: read bridge ")
		assert.Zero(t, s)
	}
}

// portReply is the kernel's message about a port.
func portReply(index, bridge int, kind string, data []byte) []byte {
	info := appendString(nil, unix.IFLA_INFO_SLAVE_KIND, kind)
	info = appendAttr(info, unix.IFLA_INFO_SLAVE_DATA, data)
	b := appendUint32(linkRequest(index), unix.IFLA_MASTER, uint32(bridge))
	return appendAttr(b, unix.IFLA_LINKINFO, info)
}

func TestDecodeBridgePort(t *testing.T) {
	data := appendAttr(nil, unix.IFLA_BRPORT_STATE, []byte{3})
	for _, f := range portFlags {
		data = appendAttr(data, f.attribute, []byte{1})
	}
	data = appendAttr(data, unix.IFLA_BRPORT_MAB, []byte{1})
	data = appendUint32(data, unix.IFLA_BRPORT_BACKUP_PORT, 9)
	data = appendUint32(data, unix.IFLA_BRPORT_BACKUP_NHID, 11)
	p, ok := decodeBridgePort(portReply(7, 3, "bridge", data))
	require.True(t, ok)
	assert.Equal(t, BridgePort{
		Index: 7, Bridge: 3, State: PortForwarding, Learning: true, UnicastFlood: true, Hairpin: true, Isolated: true, Locked: true, MAB: true,
		NeighSuppress: true, ProxyARP: true, VLANTunnel: true, RootBlock: true, BPDUGuard: true, BackupPort: 9, BackupNexthop: 11, MulticastToOne: true,
	}, p, "every field")
	for _, b := range [][]byte{nil, portReply(7, 3, "bond", data), portReply(7, 3, "openvswitch", nil), linkRequest(7)} {
		p, ok := decodeBridgePort(b)
		assert.False(t, ok)
		assert.Zero(t, p)
	}
	assert.Equal(t, "unknown", PortState(9).String())
}

func TestDecodeSwitch(t *testing.T) {
	boolopt := binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, boolMST), 7)
	data := appendAttr(nil, unix.IFLA_BR_MULTI_BOOLOPT, boolopt)
	data = appendUint32(data, brMaxLearned, 100)
	data = appendUint32(data, unix.IFLA_BR_STP_STATE, 2) // a program's
	s, ok := decodeSwitch(appendAttr(linkRequest(3), unix.IFLA_LINKINFO, linkInfo("bridge", data)))
	require.True(t, ok)
	assert.Equal(t, Switch{Index: 3, MST: true, MaxLearned: 100, STP: true}, s)
}

func FuzzDecodeBridgePort(f *testing.F) {
	f.Add(portReply(7, 3, "bridge", appendAttr(nil, unix.IFLA_BRPORT_STATE, []byte{3})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := decodeBridgePort(b); ok != (p != BridgePort{}) {
			t.Errorf("%v: %+v", ok, p)
		}
		if s, ok := decodeSwitch(b); !ok && s != (Switch{}) {
			t.Errorf("%+v", s)
		}
	})
}
