package bridge

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseName(t *testing.T) {
	for _, tc := range []struct{ text, wrong string }{
		{"vif5.0", ""},
		{"vif5.0-emu", ""},
		{"xenbr0", ""},
		{"br-lan_1", ""},
		{"a", ""},
		{"...", ""},
		{"eth0@x+y=z,~^[]", ""},
		{strings.Repeat("x", NameMax), ""},
		{"", "it is empty"},
		{strings.Repeat("x", NameMax+1), "it is longer than 15 bytes"},
		{".", "it names a directory"},
		{"..", "it names a directory"},
		{"all", "it names the settings of every device"},
		{"default", "it names the settings of every device"},
		{"a/b", "it has the byte 0x2f"},
		{"../all", "it has the byte 0x2f"},
		{"eth0:1", "it has the byte 0x3a"},
		{"vif%d", "it has the byte 0x25"},
		{"a b", "it has the byte 0x20"},
		{"a\tb", "it has the byte 0x09"},
		{"a\nb", "it has the byte 0x0a"},
		{"a\x00", "it has the byte 0x00"},
		{"a\x7f", "it has the byte 0x7f"},
		{"brücke", "it has the byte 0xc3"},
		{"a\xff", "it has the byte 0xff"},
		{"a;reboot", "it has the byte 0x3b"},
		{"$(id)", "it has the byte 0x24"},
		{"`id`", "it has the byte 0x60"},
	} {
		got, err := ParseName(tc.text)
		if tc.wrong == "" {
			assert.NoError(t, err, "%q", tc.text)
			assert.Equal(t, Name(tc.text), got)
			continue
		}
		assert.EqualError(t, err, "is no legal device name: "+tc.wrong, "%q", tc.text)
		assert.ErrorIs(t, err, ErrName)
		assert.Empty(t, got)
	}
}

// kernelTakes is dev_valid_name of the kernel, and what its sysctl tree refuses besides (linux: net/core/dev.c, net/ipv4/devinet.c).
func kernelTakes(s string) bool {
	if s == "" || len(s) >= 16 || s == "." || s == ".." || s == "all" || s == "default" {
		return false
	}
	for _, c := range []byte(s) {
		if c == '/' || c == ':' || c == 0 || c == 0xa0 || strings.IndexByte(" \t\n\v\f\r", c) >= 0 {
			return false
		}
	}
	return true
}

func checkName(t require.TestingT, s string) {
	name, err := ParseName(s)
	if err != nil {
		assert.ErrorIs(t, err, ErrName)
		assert.Empty(t, name)
		return
	}
	assert.Equal(t, s, string(name))
	assert.True(t, kernelTakes(s), "the kernel refuses %q", s)
	assert.NotContains(t, s, "%")
	assert.Regexp(t, `^[!-~]+$`, s)
}

func checkMAC(t require.TestingT, s string) {
	mac, err := ParseMAC(s)
	if err != nil {
		assert.Zero(t, mac)
		return
	}
	assert.Equal(t, strings.ToLower(s), mac.String())
}

func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkName(t, rapid.OneOf(rapid.StringMatching(`[ -~]{0,18}`), rapid.String()).Draw(t, "text"))
	})
}

// What a toolstack names a device is always taken.
func TestNamesOfVIFs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`vif(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]?)(-emu)?`).Draw(t, "text")
		_, err := ParseName(s)
		assert.NoError(t, err)
	})
}

func TestParseMAC(t *testing.T) {
	for text, want := range map[string]MAC{
		"00:16:3e:01:02:03": {0, 0x16, 0x3e, 1, 2, 3},
		"FE:ff:FF:ff:FF:ff": {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		got, err := ParseMAC(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
		assert.Equal(t, strings.ToLower(text), got.String())
	}
	for _, text := range []string{
		"", "00:16:3e:01:02", "00:16:3e:01:02:03:04", "00-16-3e-01-02-03", "0016.3e01.0203", "00:16:3e:01:02:0g", "0:16:3e:1:2:3",
		"00:16:3e:01:02:03\n", " 00:16:3e:01:02:03", "00:16:3e:01:02:03:04:05", "00:16-3e:01:02:03", "001:6:3e:01:02:03",
	} {
		got, err := ParseMAC(text)
		assert.EqualError(t, err, "is no MAC address: want six pairs of hexadecimal digits between colons", "%q", text)
		assert.Zero(t, got)
	}
}

func TestMACs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
		got, err := ParseMAC(want.String())
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Equal(t, net.HardwareAddr(want[:]).String(), want.String())
		checkMAC(t, rapid.StringMatching(`[0-9a-fA-F:.\-]{15,20}`).Draw(t, "text"))
	})
}

func FuzzName(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		checkName(t, s)
		checkMAC(t, s)
	})
}
