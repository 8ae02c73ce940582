package network

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

// Every key has what the documents need, once.
func TestKeys(t *testing.T) {
	var names []string
	for _, k := range Keys() {
		assert.Regexp(t, `^(bond|network)\.[a-z0-9][a-z0-9-]*$`, k.Name)
		assert.NotContains(t, names, k.Name)
		for _, text := range []string{k.Want, k.Default, k.Text} {
			assert.NotEmpty(t, text, k.Name)
			assert.NotContains(t, text, "|", "%s: tables of documents have it between columns", k.Name)
			assert.NotContains(t, text, "\n", k.Name)
		}
		assert.NotRegexp(t, `[a-z]_[a-z]`, strings.ReplaceAll(k.Want, "filter_", ""), "%s: keys and words are spelt with hyphens", k.Name)
		names = append(names, k.Name)
	}
	for _, want := range []string{"bond.ports", "bond.lacp-rate", "bond.xmit-hash-policy", "network.on", "network.stp", "network.ageing", "network.forward-delay", "network.multicast-querier"} {
		assert.Contains(t, names, want)
	}
	assert.Equal(t, 1, strings.Count(strings.Join(names, " "), "vlan-filtering"), "it has a key of its own")
}

// The default that an option is said to have is a value of it, and to say it is to say what the table of options says.
func TestDefaultsAreValues(t *testing.T) {
	for _, o := range slices.Concat(bridge.BondOptions, bridge.BridgeOptions) {
		i := slices.IndexFunc(Keys(), func(k Key) bool { return strings.HasSuffix(k.Name, "."+OptionKey(o.Key)) })
		require.GreaterOrEqual(t, i, 0, o.Key)
		k := Keys()[i]
		if o.Key == "vlan_filtering" || k.Default == "none" || standing[o.Key] != "" {
			continue
		}
		table, key, _ := strings.Cut(k.Name, ".")
		rest := map[string]string{"bond": "ports = [\"p\"]\n", "network": "roles = [\"storage\"]\n"}[table]
		s, err := parse("[[" + table + "]]\nname = \"a\"\n" + rest + key + " = " + k.Default)
		require.NoError(t, err, k.Name)
		if table == "bond" {
			assert.Equal(t, o.Default, s.Bonds[0].Options[o.Key], k.Name)
		} else {
			assert.Equal(t, o.Default, s.Networks[0].Bridge[o.Key], k.Name)
		}
	}
}

// A bond watches its ports' links unless told otherwise.
func TestBondsAreComplete(t *testing.T) {
	for text, want := range map[string]bridge.Settings{
		"":            {"miimon": "100"},
		"miimon = 0":  {"miimon": "0"},
		"miimon = 50": {"miimon": "50"},
		"updelay = 0": {"updelay": "0", "miimon": "100"},
		"arp-interval = 100\narp-ip-target = [\"10.0.0.1\"]": {"arp_interval": "100", "arp_ip_target": "10.0.0.1"},
	} {
		s, err := parse("[[bond]]\nname = \"b\"\nports = [\"p\"]\n" + text)
		require.NoError(t, err)
		assert.Equal(t, want, s.Bonds[0].Options, text)
		assert.Equal(t, DefaultMode, s.Bonds[0].Mode)
	}
}
