package toolstack

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What xl of Xen 4.17 writes for its own manual's examples, and at the edges.
func TestParseRate(t *testing.T) {
	for text, want := range map[string]string{
		"10Mb/s":        "62500,50000",
		"250KB/s":       "12500,50000",
		"1MB/s@20ms":    "20000,20000",
		"10Mb/s@20ms":   "25000,20000",
		"1Mb/s":         "6250,50000",
		"10MB/s@20ms":   "200000,20000",
		"1GB/s":         "50000000,50000",
		"20B/s":         "1,50000",
		"1B/s@1s":       "1,1000000",
		"8b/s@1s":       "1,1000000",
		"4GB/s@1s":      "4000000000,1000000",
		"100KB/s@500us": "50,500",
	} {
		got, err := ParseRate(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
}

func TestParseRateRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"":                 "does not end with /s",
		"/s":               "does not end with /s",
		"10Mb":             "does not end with /s",
		"10M/s":            "neither bytes (B) nor bits (b)",
		"10mb/s":           `"10m" is no number`,
		"0MB/s":            `"0" is no number`,
		"08MB/s":           `"08" is no number`,
		"-1MB/s":           `"-1" is no number`,
		"+1MB/s":           `"+1" is no number`,
		"1.5MB/s":          `"1.5" is no number`,
		" 1MB/s":           `" 1" is no number`,
		"MB/s":             `"" is no number`,
		"1KMB/s":           `"1K" is no number`,
		"5000000000B/s":    "is no number",
		"5GB/s":            "more than xl takes",
		"1b/s":             "could send nothing",
		"19B/s":            "could send nothing",
		"1MB/s@":           "has no unit",
		"1MB/s@20":         "has no unit",
		"1MB/s@20m":        "has no unit",
		"1MB/s@0ms":        "is no number",
		"1MB/s@5000s":      "too long",
		"1MB/s@20ms@20ms":  "is no number",
		"4GB/s@4294s":      "more than netback can count",
		"1MB/s@\n20ms":     "is no number",
		"1MB/s@99999999us": "",
	} {
		_, err := ParseRate(text)
		if why == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorIs(t, err, ErrArgument, text)
		assert.ErrorContains(t, err, why, text)
		assert.NotContains(t, err.Error(), "\n")
	}
}

// The node is what netback reads: two numbers that fit it, of which neither is 0.
func FuzzParseRate(f *testing.F) {
	f.Add("10Mb/s@20ms")
	f.Add("4294967295GB/s@4294967295us")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseRate(text)
		if err != nil {
			return
		}
		bytes, usec, _ := strings.Cut(got, ",")
		for _, s := range []string{bytes, usec} {
			if n, err := strconv.ParseUint(s, 10, 32); err != nil || n == 0 {
				t.Errorf("%q gives %q", text, got)
			}
		}
	})
}

func TestRateIsProportional(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, 4000).Draw(t, "MB/s")
		ms := rapid.Uint64Range(1, 1000).Draw(t, "ms")
		got, err := ParseRate(strconv.FormatUint(n, 10) + "MB/s@" + strconv.FormatUint(ms, 10) + "ms")
		require.NoError(t, err)
		require.Equal(t, strconv.FormatUint(n*1000*ms, 10)+","+strconv.FormatUint(ms*1000, 10), got)
	})
}

func TestArguments(t *testing.T) {
	full := NIC{MAC: "00:16:3E:01:02:03", MTU: 9000, Rate: "10Mb/s", VLAN: 13, IP: []string{"10.11.13.5", "2001:DB8::/64", "10.11.14.0/24"}}
	n, err := full.nodes()
	require.NoError(t, err)
	assert.Equal(t, Nodes{MAC: "00:16:3e:01:02:03", MTU: 9000, Rate: "62500,50000", VLAN: "13", IP: "10.11.13.5 2001:db8::/64 10.11.14.0/24"}, n)
	n, err = NIC{}.nodes()
	require.NoError(t, err)
	assert.Equal(t, Nodes{}, n)
	for _, c := range []struct {
		nic  NIC
		want string
	}{
		{NIC{MAC: "00:16:3e:01:02"}, `MAC "00:16:3e:01:02" is no MAC address: want six pairs of hexadecimal digits between colons`},
		{NIC{MAC: "01:16:3e:01:02:03"}, "MAC 01:16:3e:01:02:03 is a group's, not one NIC's: its first byte is odd"},
		{NIC{MAC: "ff:ff:ff:ff:ff:ff"}, "MAC ff:ff:ff:ff:ff:ff is a group's, not one NIC's: its first byte is odd"},
		{NIC{MAC: "00:00:00:00:00:00"}, "MAC 00:00:00:00:00:00 is nobody's"},
		{NIC{MTU: 67}, "MTU 67 is not between 68 and 65517"},
		{NIC{MTU: -1}, `MTU -1 "-1" is not a plain decimal number`},
		{NIC{MTU: 65518}, "MTU 65518 is not between 68 and 65517"},
		{NIC{VLAN: 4095}, "VLAN 4095 is no VLAN id from 1 to 4094"},
		{NIC{VLAN: -1}, "VLAN -1 is no VLAN id from 1 to 4094"},
		{NIC{IP: []string{"10.0.0"}}, `"10.0.0" is no IP address or subnet, such as 10.11.13.5 or 2001:db8::/64`},
		{NIC{IP: []string{"10.0.0.1/33"}}, `"10.0.0.1/33" is no IP address or subnet, such as 10.11.13.5 or 2001:db8::/64`},
		{NIC{IP: []string{"fe80::1%eth0"}}, `"fe80::1%eth0" is no IP address or subnet, such as 10.11.13.5 or 2001:db8::/64`},
		{NIC{IP: []string{"10.0.0.1 10.0.0.2"}}, `"10.0.0.1 10.0.0.2" is no IP address or subnet, such as 10.11.13.5 or 2001:db8::/64`},
		{NIC{IP: []string{"224.0.0.1"}}, "224.0.0.1 cannot be a guest's address"},
		{NIC{IP: []string{"::"}}, ":: cannot be a guest's address"},
		{NIC{IP: []string{"10.0.0.1", "10.0.0.1/32"}}, "10.0.0.1/32 is given twice"},
	} {
		_, err := c.nic.nodes()
		require.ErrorIs(t, err, ErrArgument, c.want)
		assert.EqualError(t, err, c.want)
	}
}

func TestPick(t *testing.T) {
	taken := map[string]string{"00:16:3e:01:02:03": "vif7.0"}
	seen := map[string]bool{}
	for range 200 {
		mac, err := pick("", taken)
		require.NoError(t, err)
		assert.Regexp(t, "^00:16:3e(:[0-9a-f]{2}){3}$", mac)
		seen[mac] = true
	}
	assert.Greater(t, len(seen), 195, "at random")
	_, err := pick("00:16:3e:01:02:03", taken)
	require.ErrorIs(t, err, ErrArgument)
	assert.ErrorContains(t, err, "MAC 00:16:3e:01:02:03 is that of vif7.0")
	mac, err := pick("00:16:3e:01:02:04", taken)
	require.NoError(t, err)
	assert.Equal(t, "00:16:3e:01:02:04", mac)
}
