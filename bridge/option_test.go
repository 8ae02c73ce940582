package bridge

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func tables() map[string][]Option {
	return map[string][]Option{"bond": append([]Option{bondMode}, BondOptions...), "bridge": BridgeOptions}
}

func TestOptionTables(t *testing.T) {
	for kind, table := range tables() {
		keys, attributes := map[Key]bool{}, map[uint16]bool{}
		for _, o := range table {
			assert.False(t, keys[o.Key] || attributes[o.attribute], "%s %s is there twice", kind, o.Key)
			keys[o.Key], attributes[o.attribute] = true, true
			assert.NotZero(t, o.attribute, o.Key)
			assert.True(t, o.Kind == "mac" || o.width > 0, o.Key)
			assert.NoError(t, o.Check(o.Default), "the default of %s", o.Key)
			assert.Equal(t, o.Kind == "name", o.Names != nil, o.Key)
			for _, m := range o.Modes {
				assert.Contains(t, BondModes, m, o.Key)
			}
			if o.Key != KeyMode {
				assert.NotEmpty(t, o.Text, o.Key)
				assert.False(t, strings.HasSuffix(o.Text, "."), "%s: half a sentence", o.Key)
			}
		}
	}
	for _, o := range BondOptions {
		assert.Nil(t, BridgeOption(o.Key), "a key tells the kind of its device")
	}
}

func TestOptionIsFound(t *testing.T) {
	require.NotNil(t, BondOption("miimon"))
	assert.Equal(t, Key("miimon"), BondOption("miimon").Key)
	assert.Equal(t, Key("ageing_time"), BridgeOption("ageing_time").Key)
	assert.Nil(t, BondOption("ageing_time"))
	assert.Nil(t, BondOption("mode"))
	assert.Nil(t, BridgeOption(""))
	assert.True(t, BondOption("miimon").In("802.3ad"))
	assert.True(t, BondOption("lacp_rate").In("802.3ad"))
	assert.False(t, BondOption("lacp_rate").In("balance-rr"))
}

func optionNamed(key Key) *Option {
	if o := BondOption(key); o != nil {
		return o
	}
	return BridgeOption(key)
}

func TestCanonical(t *testing.T) {
	for _, tc := range []struct {
		key         Key
		value, want string
	}{
		{"miimon", "0", "0"},
		{"miimon", "100", "100"},
		{"miimon", "2147483647", "2147483647"},
		{"group_fwd_mask", "0x8", "8"},
		{"lacp_rate", "fast", "fast"},
		{"lacp_rate", "1", "fast"},
		{"xmit_hash_policy", "vlan+srcmac", "vlan+srcmac"},
		{"use_carrier", "1", "1"},
		{"primary", "", ""},
		{"primary", "eth0", "eth0"},
		{"ad_actor_system", "02:16:3E:00:00:0A", "02:16:3e:00:00:0a"},
		{"ad_actor_system", "00:00:00:00:00:00", "00:00:00:00:00:00"},
		{"arp_ip_target", "", ""},
		{"arp_ip_target", "10.0.0.1 10.0.0.2", "10.0.0.1,10.0.0.2"},
		{"arp_ip_target", "10.0.0.2, 10.0.0.1", "10.0.0.2,10.0.0.1"},
		{"ns_ip6_target", "2001:DB8:0::1", "2001:db8::1"},
		{"ageing_time", "300", "300"},
		{"ageing_time", "15.0", "15"},
		{"ageing_time", "0.5", "0.5"},
		{"ageing_time", "0.50", "0.5"},
		{"ageing_time", "0.05", "0.05"},
		{"forward_delay", "0", "0"},
		{"forward_delay", "30", "30"},
	} {
		got, err := optionNamed(tc.key).Canonical(tc.value)
		require.NoError(t, err, "%s %q", tc.key, tc.value)
		assert.Equal(t, tc.want, got, "%s %q", tc.key, tc.value)
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, tc := range []struct {
		key         Key
		value, want string
	}{
		{"miimon", "", `miimon: "" is no value of it; it takes a number from 0 to 2147483647`},
		{"miimon", "-1", `miimon: "-1" is no value of it; it takes a number from 0 to 2147483647`},
		{"miimon", "2147483648", `miimon: "2147483648" is no value of it; it takes a number from 0 to 2147483647`},
		{"arp_missed_max", "0", `arp_missed_max: "0" is no value of it; it takes a number from 1 to 255`},
		{"use_carrier", "yes", `use_carrier: "yes" is no value of it; it takes a number from 0 to 1`},
		{"lacp_rate", "quick", `lacp_rate: "quick" is no value of it; it takes one of slow, fast`},
		{"lacp_rate", "2", `lacp_rate: "2" is no value of it; it takes one of slow, fast`},
		{"primary", "a/b", `primary: "a/b" is no value of it: it is no legal device name: it has the byte 0x2f; it takes a device's name`},
		{"ad_actor_system", "01:00:5e:00:00:01", `ad_actor_system: "01:00:5e:00:00:01" is no value of it: it is a group's address; it takes a MAC address of one station`},
		{"arp_ip_target", "2001:db8::1", `arp_ip_target: "2001:db8::1" is no value of it; it takes up to 16 different IPv4 addresses between commas`},
		{"arp_ip_target", "10.0.0.1,10.0.0.1", `arp_ip_target: "10.0.0.1,10.0.0.1" is no value of it; it takes up to 16 different IPv4 addresses between commas`},
		{"arp_ip_target", "0.0.0.0", `arp_ip_target: "0.0.0.0" is no value of it; it takes up to 16 different IPv4 addresses between commas`},
		{"ns_ip6_target", "fe80::1%eth0", `ns_ip6_target: "fe80::1%eth0" is no value of it; it takes up to 16 different IPv6 addresses between commas`},
		{"hello_time", "0.5", `hello_time: "0.5" is no value of it; it takes 1 to 10 seconds, with at most two decimals`},
		{"forward_delay", "1.234", `forward_delay: "1.234" is no value of it; it takes 0 to 30 seconds, with at most two decimals`},
		{"forward_delay", ".5", `forward_delay: ".5" is no value of it; it takes 0 to 30 seconds, with at most two decimals`},
		{"forward_delay", "5.", `forward_delay: "5." is no value of it; it takes 0 to 30 seconds, with at most two decimals`},
	} {
		err := optionNamed(tc.key).Check(tc.value)
		require.ErrorIs(t, err, ErrValue, "%s %q", tc.key, tc.value)
		assert.EqualError(t, err, tc.want)
		_, err = optionNamed(tc.key).append(nil, tc.value)
		assert.ErrorIs(t, err, ErrValue)
	}
	var many []string
	for i := range 17 {
		many = append(many, "10.0.0."+string(rune('a'+i)))
	}
	assert.Error(t, BondOption("arp_ip_target").Check(strings.Join(many, ",")))
}

func TestSame(t *testing.T) {
	ageing := BridgeOption("ageing_time")
	assert.True(t, ageing.Same("31.25", "31.24"), "the kernel's ticks are coarser")
	assert.True(t, ageing.Same("31.25", "31.25"))
	assert.False(t, ageing.Same("31.25", "31.23"))
	assert.False(t, ageing.Same("31.24", "31.25"))
	assert.False(t, ageing.Same("31.25", ""))
	assert.True(t, BondOption("miimon").Same("100", "100"))
	assert.False(t, BondOption("miimon").Same("100", "99"))
}

// What is encoded is decoded again, for every option and every value that it takes.
func TestOptionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SampledFrom([][]Option{BondOptions, BridgeOptions}).Draw(t, "table")
		o := rapid.SampledFrom(table).Draw(t, "option")
		if o.Kind == "device" {
			return
		}
		value := valueOf(t, &o)
		b, err := o.append(nil, value)
		if err != nil {
			t.Fatal(err)
		}
		for kind, v := range attrs(b) {
			got, ok := o.format(v)
			if kind != o.attribute || !ok || got != value {
				t.Fatalf("%s %q became %q", o.Key, value, got)
			}
		}
	})
}

func valueOf(t *rapid.T, o *Option) string {
	switch o.Kind {
	case "name":
		return rapid.SampledFrom(o.Names).Draw(t, "name")
	case "mac":
		return MAC{2, rapid.Byte().Draw(t, "byte"), 3, 4, 5, 6}.String()
	case "addresses":
		value := map[int]string{4: "10.0.0.1,10.0.0.2", 16: "2001:db8::1"}[o.width]
		return rapid.SampledFrom([]string{"", value}).Draw(t, "addresses")
	}
	n := rapid.IntRange(o.Min, o.Max).Draw(t, "number")
	if o.Kind == "seconds" {
		return formatSeconds(uint64(n))
	}
	return formatSeconds(uint64(n) * 100)
}

// A value that the kernel has and the table does not name is shown as it is; one of a wrong width is none.
func TestFormatOfTheUnknown(t *testing.T) {
	got, ok := BondOption("lacp_rate").format([]byte{9})
	assert.True(t, ok)
	assert.Equal(t, "9", got)
	for _, bad := range [][]byte{nil, {1, 2, 3}} {
		_, ok = BondOption("lacp_rate").format(bad)
		assert.False(t, ok)
		_, ok = BondOption("ad_actor_system").format(bad)
		assert.False(t, ok)
	}
}
