package network

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
)

// drawSpec draws a declaration, of which each key is right by itself.
func drawSpec(t *rapid.T) (s Spec) {
	device := rapid.StringMatching(`[a-z]{2,4}[0-9]{1,2}`)
	names := rapid.SliceOfNDistinct(device, 0, 4, rapid.ID[string]).Draw(t, "bonds")
	for _, name := range names {
		b := Bond{
			Name: bridge.Name(name), Mode: rapid.SampledFrom(bridge.BondModes).Draw(t, "mode"), MTU: drawMTU(t), MAC: drawMAC(t),
			Options: drawOptions(t, bridge.BondOptions),
		}
		for _, p := range rapid.SliceOfNDistinct(device, 1, 3, rapid.ID[string]).Draw(t, "ports") {
			b.Ports = append(b.Ports, bridge.Name(p))
		}
		b.complete()
		s.Bonds = append(s.Bonds, b)
	}
	names = rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Za-z0-9]([ -!#-&*+.:-;@-Z^_a-z~]{0,12}[A-Za-z0-9])?`), 0, 4, rapid.ID[string]).Draw(t, "networks")
	for _, name := range names {
		n := Network{
			Name: name, Roles: Roles(rapid.Uint8Range(1, 31).Draw(t, "roles")), MTU: drawMTU(t), MAC: drawMAC(t),
			VLAN: rapid.IntRange(0, 4094).Draw(t, "vlan"), HostAddress: rapid.Bool().Draw(t, "host-address"),
			VLANFiltering: rapid.Bool().Draw(t, "vlan-filtering"), Path: rapid.SampledFrom(append([]string{""}, Paths...)).Draw(t, "path"),
			Guard: rapid.SampledFrom(append([]string{""}, Guards...)).Draw(t, "guard"), Bridge: drawOptions(t, bridge.BridgeOptions),
		}
		if rapid.Bool().Draw(t, "has on") {
			n.On = bridge.Name(device.Draw(t, "on"))
		}
		if rapid.Bool().Draw(t, "has id") {
			n.ID = bridge.Name(device.Draw(t, "id"))
		}
		if rapid.Bool().Draw(t, "has address") {
			n.Address = prefixes("10.0." + rapid.StringMatching(`[1-9]`).Draw(t, "subnet") + ".2/24")
			n.Gateway = []netip.Addr{n.Address[0].Addr().Prev(), netip.MustParseAddr("fe80::1")}
		}
		s.Networks = append(s.Networks, n)
	}
	return s
}

func drawMTU(t *rapid.T) int {
	return rapid.SampledFrom([]int{0, 68, 1500, 9000, 65535}).Draw(t, "mtu")
}

func drawMAC(t *rapid.T) *bridge.MAC {
	if rapid.Bool().Draw(t, "no mac") {
		return nil
	}
	return &bridge.MAC{0x02, rapid.Byte().Draw(t, "mac"), 0, 0, 0, 1}
}

// drawOptions draws values of options, as the kernel spells them; nil where there is none.
func drawOptions(t *rapid.T, from []bridge.Option) (out bridge.Settings) {
	for _, o := range from {
		if o.Key == "vlan_filtering" || rapid.IntRange(0, 3).Draw(t, "has "+string(o.Key)) > 0 {
			continue
		}
		if out == nil {
			out = bridge.Settings{}
		}
		out[o.Key] = drawValue(t, o)
	}
	return out
}

func drawValue(t *rapid.T, o bridge.Option) string {
	draw := ""
	switch o.Kind {
	case "number":
		draw = rapid.StringMatching(`[1-9][0-9]{0,9}`).Draw(t, string(o.Key))
	case "seconds":
		draw = seconds(rapid.IntRange(o.Min, o.Max).Draw(t, string(o.Key)))
	case "bool":
		draw = rapid.SampledFrom([]string{"0", "1"}).Draw(t, string(o.Key))
	case "name":
		draw = rapid.SampledFrom(o.Names).Draw(t, string(o.Key))
	case "device":
		draw = "eth0"
	case "mac":
		draw = rapid.SampledFrom([]string{o.Default, "02:00:00:00:00:09"}).Draw(t, string(o.Key))
	case "addresses":
		draw = rapid.SampledFrom([]string{"", "10.0.0.1", "10.0.0.1,10.0.0.2"}).Draw(t, string(o.Key))
		if strings.Contains(string(o.Key), "ip6") {
			draw = "fd00::1"
		}
	}
	if v, err := o.Canonical(draw); err == nil {
		return v
	}
	v, err := o.Canonical(o.Default)
	require.NoError(t, err)
	return v
}

// What is written reads to what was written: no key is read in one way and written in another.
func TestEncodeParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawSpec(t)
		text := want.Encode()
		got, err := Parse([]File{{"f", text}})
		require.NoError(t, err, "%s", text)
		require.Equal(t, want, got.Bare(), "%s", text)
		assert.Equal(t, string(text), string(got.Encode()))
	})
}

func TestEncodeWorkedExample(t *testing.T) {
	s, err := Resolve(worked(t), nil)
	require.NoError(t, err)
	text := string(s.Encode())
	want, err := os.ReadFile("testdata/worked.encoded.toml")
	require.NoError(t, err)
	assert.Equal(t, string(want), text)
	assert.Equal(t, "# The networks of this host, see vifplug.toml(5). `vifctl plan` shows what a change would do.\n", string(Spec{}.Encode()))
}

func TestBare(t *testing.T) {
	s, err := parse(managed + "[[bond]]\nname = \"b\"\nports = [\"p\"]")
	require.NoError(t, err)
	bare := s.Bare()
	assert.Zero(t, bare.Networks[0].At)
	assert.Nil(t, bare.Bonds[0].Keys)
	assert.NotZero(t, s.Networks[0].At, "what is given stays as it is")
}
