package bridge

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
)

// other values than the default, for every option of bonds. arp_interval and miimon exclude each other.
var otherValues = map[Key]string{
	"miimon": "50", "updelay": "100", "downdelay": "150", "peer_notif_delay": "200", "use_carrier": "0", "arp_interval": "1000",
	"arp_ip_target": "10.0.0.1,10.0.0.2", "ns_ip6_target": "2001:db8::1,2001:db8::2", "arp_validate": "backup", "arp_all_targets": "all",
	"primary_reselect": "failure", "fail_over_mac": "active", "xmit_hash_policy": "layer3+4", "resend_igmp": "7",
	"num_peer_notif": "9", "all_slaves_active": "1", "min_links": "2", "lp_interval": "30", "packets_per_slave": "5", "lacp_active": "off",
	"lacp_rate": "fast", "ad_select": "count", "ad_actor_sys_prio": "100", "ad_user_port_key": "1000", "ad_actor_system": "02:16:3e:00:00:07",
	"tlb_dynamic_lb": "0", "arp_missed_max": "5", "coupled_control": "off", "broadcast_neighbor": "on",
}

// bondFile is what sysfs says of a bond's option, in our spelling; false where it has no such file.
func bondFile(t *testing.T, bond string, o *Option) (string, bool) {
	t.Helper()
	file := map[Key]string{"num_peer_notif": "num_grat_arp"}[o.Key]
	if file == "" {
		file = string(o.Key)
	}
	if _, err := os.Stat("/sys/class/net/" + bond + "/bonding/" + file); err != nil {
		return "", false // what is newer has netlink alone
	}
	v := sys(t, bond, "bonding/"+file)
	if o.Kind == "name" {
		v, _, _ = strings.Cut(v, " ") // "fast 1"
		if n, err := strconv.Atoi(v); err == nil && o.Names[0] == "off" {
			v = o.Names[n]
		}
	}
	got, err := o.Canonical(v)
	require.NoError(t, err, o.Key)
	return got, true
}

func bonded(t *testing.T) *Conn {
	t.Helper()
	c, _ := isolated(t)
	needs(t, "bonding", c.ProbeBonding)
	return c
}

// Every option of every mode is set alone on a new bond, by changing one, and read back both by us and by sysfs.
func TestEveryBondOptionInEveryMode(t *testing.T) {
	for _, mode := range BondModes {
		t.Run(mode, func(t *testing.T) {
			c := bonded(t)
			known := 0
			for i := range BondOptions {
				o := &BondOptions[i]
				value := otherValues[o.Key]
				if o.Kind == "device" {
					continue // TestPrimary
				}
				require.NotEqual(t, o.Default, value, o.Key)
				require.NoError(t, o.Check(value))
				if bondOptionWorks(t, c, mode, o, value) {
					known++
				}
			}
			assert.Greater(t, known, 15)
		})
	}
}

// bondOptionWorks tries one option; false where the mode or the kernel does not have it.
func bondOptionWorks(t *testing.T, c *Conn, mode string, o *Option, value string) bool {
	t.Helper()
	s := Settings{KeyMode: mode, o.Key: value}
	switch {
	case slices.Contains(needMiimon, o.Key):
		s["miimon"] = "50"
	case strings.HasPrefix(string(o.Key), "arp_validate"):
		s["arp_interval"] = "500"
	}
	err := c.Create(Device{Name: "bond7", Kind: "bond", Settings: s})
	if !o.In(mode) && err == nil {
		require.NoError(t, c.Delete("bond7"))
		require.NoError(t, c.Create(Device{Name: "bond7", Kind: "bond", Settings: Settings{KeyMode: o.Modes[0]}}))
		assert.NotContains(t, deviceOf(t, c, "bond7").Settings, o.Key, "a kernel that knows it would refuse it in %s", mode)
		require.NoError(t, c.Delete("bond7"))
		return false
	}
	if !o.In(mode) {
		assert.ErrorContains(t, err, "option not supported in mode", "%s in %s", o.Key, mode)
		assert.NoDirExists(t, "/sys/class/net/bond7")
		return false
	}
	require.NoError(t, err, o.Key)
	got, ok := deviceOf(t, c, "bond7").Settings[o.Key]
	if ok {
		assert.Equal(t, value, got, "%s made in %s", o.Key, mode)
		if file, ok := bondFile(t, "bond7", o); ok {
			assert.Equal(t, value, file, "%s in %s by sysfs", o.Key, mode)
		}
		back := Settings{o.Key: o.Default}
		require.NoError(t, c.Configure("bond7", back), o.Key)
		assert.Equal(t, o.Default, deviceOf(t, c, "bond7").Settings[o.Key], "%s back in %s", o.Key, mode)
		require.NoError(t, c.Configure("bond7", Settings{o.Key: value}), o.Key)
		assert.Equal(t, value, deviceOf(t, c, "bond7").Settings[o.Key], "%s changed in %s", o.Key, mode)
	}
	require.NoError(t, c.Delete("bond7"))
	return ok
}

// A new bond has the table's defaults, and what is read of one makes another like it.
func TestBondIsMadeAgain(t *testing.T) {
	for _, mode := range BondModes {
		t.Run(mode, func(t *testing.T) {
			c := bonded(t)
			require.NoError(t, c.Create(Device{Name: "bond7", Kind: "bond", Settings: Settings{KeyMode: mode}}))
			first := deviceOf(t, c, "bond7")
			for _, o := range BondOptions {
				if v, ok := first.Settings[o.Key]; ok && o.Key != "miimon" {
					assert.Equal(t, o.Default, v, o.Key)
				}
			}
			require.NoError(t, c.Delete("bond7"))
			require.NoError(t, c.Create(first))
			again := deviceOf(t, c, "bond7")
			assert.Equal(t, first.Settings, again.Settings)
			require.NoError(t, c.Configure("bond7", first.Settings), "and takes them once more")
			assert.Equal(t, first.Settings, deviceOf(t, c, "bond7").Settings)
		})
	}
}

// What the table says can be changed only while the bond is down, or empty, is refused otherwise, and nothing else is.
func TestBondOptionsThatNeedItDownOrEmpty(t *testing.T) {
	for _, mode := range []string{"802.3ad", "balance-tlb", "active-backup"} {
		t.Run(mode, func(t *testing.T) {
			c := bonded(t)
			veth(t, "eth0", "w0")
			require.NoError(t, c.Create(Device{Name: "bond7", Kind: "bond", Settings: Settings{KeyMode: mode, "miimon": "50"}}))
			require.NoError(t, c.SetMaster("eth0", "bond7"))
			for i := range BondOptions {
				o := &BondOptions[i]
				if _, known := deviceOf(t, c, "bond7").Settings[o.Key]; !known || o.Kind == "device" {
					continue
				}
				require.NoError(t, c.Configure("bond7", Settings{KeyUp: "0"}))
				err := c.Configure("bond7", Settings{o.Key: otherValues[o.Key]})
				assert.Equal(t, o.Empty, err != nil, "%s with a port: %v", o.Key, err)
				require.NoError(t, c.Configure("bond7", Settings{KeyUp: "1"}))
				err = c.Configure("bond7", Settings{o.Key: otherValues[o.Key]})
				assert.Equal(t, o.Empty || o.Down, err != nil, "%s while up: %v", o.Key, err)
				if err != nil {
					assert.ErrorIs(t, err, ErrBusy, o.Key)
				}
				require.NoError(t, c.Configure("bond7", Settings{"miimon": "50"})) // arp_interval ended it
			}
			err := c.Configure("bond7", Settings{KeyMode: "balance-rr"})
			require.ErrorIs(t, err, ErrBusy)
			assert.ErrorContains(t, err, "bridge: set mode of bond7: ")
			require.NoError(t, c.SetMaster("eth0", ""))
			require.NoError(t, c.Configure("bond7", Settings{KeyMode: "balance-rr", KeyUp: "0"}), "down first, then its mode")
			assert.Equal(t, "balance-rr", deviceOf(t, c, "bond7").Settings[KeyMode])
		})
	}
}

func TestActiveBackup(t *testing.T) {
	c := bonded(t)
	want := Settings{
		KeyMode: "active-backup", "miimon": "10", "primary": "eth1", KeyMTU: "9000", KeyAlias: "vifplug: bond bond7", KeyUp: "1",
	}
	for _, n := range []string{"0", "1"} {
		veth(t, "eth"+n, "w"+n)
		require.NoError(t, bridgetest.SetUp("w"+n))
	}
	require.NoError(t, c.Create(Device{Name: "bond7", Kind: "bond", Settings: want}))
	d := deviceOf(t, c, "bond7")
	assert.Empty(t, d.Settings["primary"], "it is no port yet")
	assert.Equal(t, BondState{}, *d.BondState)
	for _, p := range []Name{"eth0", "eth1"} {
		require.NoError(t, c.SetMaster(p, "bond7"))
		assert.Equal(t, "9000", deviceOf(t, c, p).Settings[KeyMTU], "a bond gives its ports its MTU")
	}
	h := awaitHost(t, c, func(h Host) bool { return h.Device("bond7").BondState.ActivePort == "eth1" })
	d = *h.Device("bond7")
	for k, v := range want {
		assert.Equal(t, v, d.Settings[k], k)
	}
	assert.True(t, d.BondState.HasCarriers)
	assert.Equal(t, "eth1", sys(t, "bond7", "bonding/active_slave"))
	for name, active := range map[Name]bool{"eth0": false, "eth1": true} {
		p := h.Device(name)
		assert.Equal(t, Name("bond7"), p.Master)
		require.NotNil(t, p.BondPort)
		assert.Equal(t, active, p.BondPort.Active)
		assert.True(t, p.BondPort.LinkUp)
		assert.Equal(t, sys(t, string(name), "bonding_slave/perm_hwaddr"), p.BondPort.PermMAC.String())
	}

	require.NoError(t, bridgetest.SetDown("w1"))
	h = awaitHost(t, c, func(h Host) bool { return h.Device("bond7").BondState.ActivePort == "eth0" })
	assert.Equal(t, 1, h.Device("eth1").BondPort.LinkFailures)
	assert.False(t, h.Device("eth1").BondPort.LinkUp)
	require.NoError(t, c.SetMaster("eth1", ""))
	d = deviceOf(t, c, "eth1")
	assert.Nil(t, d.BondPort)
	assert.Empty(t, d.Master)
	require.NoError(t, c.Configure("bond7", Settings{"primary": "eth0"}))
	assert.Equal(t, "eth0", deviceOf(t, c, "bond7").Settings["primary"])
	require.NoError(t, c.Configure("bond7", Settings{"primary": ""}))
	assert.Empty(t, deviceOf(t, c, "bond7").Settings["primary"])
	assert.ErrorIs(t, c.Configure("bond7", Settings{"primary": "eth9"}), ErrNotFound)
}

// awaitHost reads the host after each change until it is as awaited. The bonding driver's timers tell of themselves.
func awaitHost(t *testing.T, c *Conn, awaited func(Host) bool) Host {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		h := hostOf(t, c)
		if awaited(h) {
			return h
		}
		require.True(t, time.Now().Before(end), "%+v", h.Device("bond7").BondState)
	}
}

// Two bonds that speak LACP with each other over two wires.
func TestLACP(t *testing.T) {
	c := bonded(t)
	lacp := Settings{KeyMode: "802.3ad", "miimon": "10", "lacp_rate": "fast", "ad_user_port_key": "3"}
	for _, n := range []Name{"bond7", "bond8"} {
		require.NoError(t, c.Create(Device{Name: n, Kind: "bond", Settings: lacp}))
	}
	for _, n := range []Name{"0", "1"} {
		veth(t, "eth"+string(n), "w"+string(n))
		require.NoError(t, c.SetMaster("eth"+n, "bond7"))
		require.NoError(t, c.SetMaster("w"+n, "bond8"))
	}
	for _, n := range []Name{"bond7", "bond8"} {
		require.NoError(t, c.Configure(n, Settings{KeyUp: "1"}))
	}
	h := awaitHost(t, c, func(h Host) bool {
		return h.Device("bond7").BondState.Ports == 2 && h.Device("eth0").BondPort.Collecting && h.Device("eth1").BondPort.Collecting
	})
	b, partner := h.Device("bond7").BondState, h.Device("bond8")
	assert.Equal(t, partner.Settings[KeyMAC], b.PartnerMAC.String())
	assert.Equal(t, sysNumber(t, "bond7", "bonding/ad_aggregator"), b.Aggregator)
	assert.Equal(t, sysNumber(t, "bond7", "bonding/ad_actor_key"), b.ActorKey)
	assert.Equal(t, sysNumber(t, "bond7", "bonding/ad_partner_key"), b.PartnerKey)
	assert.Equal(t, b.Aggregator, h.Device("eth0").BondPort.Aggregator)
}

func TestLACPWithoutPartner(t *testing.T) {
	c := bonded(t)
	veth(t, "eth0", "w0")
	require.NoError(t, bridgetest.SetUp("w0"))
	require.NoError(t, c.Create(Device{Name: "bond7", Kind: "bond", Settings: Settings{KeyMode: "802.3ad", "miimon": "10"}}))
	require.NoError(t, c.SetMaster("eth0", "bond7"))
	require.NoError(t, c.Configure("bond7", Settings{KeyUp: "1"}))
	h := awaitHost(t, c, func(h Host) bool { return h.Device("eth0").BondPort.LinkUp && h.Device("bond7").BondState.Ports == 1 })
	assert.Zero(t, h.Device("bond7").BondState.PartnerMAC)
	assert.False(t, h.Device("eth0").BondPort.Collecting)
}

// A bond that nobody has touched is taken for the one that is to be made; any other is somebody's.
func TestCreateTakesOverAPristineBond(t *testing.T) {
	c := bonded(t)
	veth(t, "eth0", "w0")
	d := Device{Name: "bond7", Kind: "bond", Settings: Settings{KeyMode: "802.3ad", "lacp_rate": "fast", KeyAlias: "vifplug: bond bond7", KeyUp: "1"}}
	for what, touch := range map[string]string{
		"up": "link set bond7 up", "marked": "link set bond7 alias x", "with a port": "link set eth0 master bond7",
	} {
		ip(t, "link add bond7 type bond")
		ip(t, touch)
		before := deviceOf(t, c, "bond7")
		err := c.Create(d)
		require.ErrorIs(t, err, ErrExists, what)
		assert.EqualError(t, err, "bridge: make bond bond7: file exists")
		assert.Equal(t, before.Settings, deviceOf(t, c, "bond7").Settings, what)
		require.NoError(t, c.Delete("bond7"))
	}
	bridgeOf(t, "bond7")
	require.ErrorIs(t, c.Create(d), ErrExists, "a bridge of that name")
	require.NoError(t, c.Delete("bond7"))

	ip(t, "link add bond7 type bond")
	require.NoError(t, c.Create(d))
	got := deviceOf(t, c, "bond7").Settings
	for k, v := range d.Settings {
		assert.Equal(t, v, got[k], k)
	}
}

// Loading the bonding module makes a bond0: whoever makes bond0 first finds it there. Only the lab's own namespace can show it.
func TestBond0SpringsUp(t *testing.T) {
	if os.Getenv("XENVM") == "" {
		t.Skip("it loads and unloads a module of the whole machine: in the lab alone, with VIFPLUG_CI too")
	}
	unload := func() { assert.NoError(t, exec.Command("modprobe", "-r", "bonding").Run()) }
	unload()
	require.NoDirExists(t, "/sys/class/net/bond0")
	c, err := Open()
	require.NoError(t, err)
	defer unload()
	defer func() { assert.NoError(t, c.Close()) }()
	require.NoError(t, c.Create(Device{Name: "bond0", Kind: "bond", Settings: Settings{KeyMode: "active-backup", KeyAlias: "vifplug: bond bond0"}}))
	assert.Equal(t, "active-backup 1", sys(t, "bond0", "bonding/mode"))
	assert.Equal(t, "vifplug: bond bond0", sys(t, "bond0", "ifalias"))
	require.NoError(t, c.Delete("bond0"))
	assert.NoDirExists(t, "/sys/class/net/bond0")
}
