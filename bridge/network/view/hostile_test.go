package view

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// hosts are random ones: any declaration, much of it missing, guests anywhere, names of every kind. Much of it Check would refuse: a view must
// show what it is given.
var hosts = rapid.Custom(func(t *rapid.T) Input {
	h := &made{in: Input{Title: rapid.String().Draw(t, "title"), Drift: map[bridge.Name]string{}}}
	on := []bridge.Name{"", "eth0", "eth1"}
	for i := range rapid.IntRange(0, 4).Draw(t, "bonds") {
		b := network.Bond{Name: bridge.Name(fmt.Sprintf("bond%d", i)), Mode: "802.3ad"}
		for range rapid.IntRange(1, 4).Draw(t, "ports") {
			b.Ports = append(b.Ports, bridge.Name(fmt.Sprintf("eth%d", rapid.IntRange(0, 15).Draw(t, "port"))))
		}
		on, h.in.Spec.Bonds = append(on, b.Name), append(h.in.Spec.Bonds, b)
	}
	bridges := []bridge.Name{"", "xenbr0", "nosuch"}
	for i := range rapid.IntRange(0, 25).Draw(t, "networks") {
		n := network.Network{
			Name: rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"guests", "x", "a network with a rather long name of many words"})).Draw(t, "name"),
			ID:   bridge.Name(fmt.Sprintf("%07X", i*7919)), On: rapid.SampledFrom(on).Draw(t, "on"), VLAN: rapid.IntRange(0, 3).Draw(t, "vlan"),
			Roles: network.Roles(rapid.IntRange(0, 31).Draw(t, "roles")),
		}
		if n.On == "" {
			n.VLAN = 0
			n.Roles |= network.VirtualMachine
		}
		if rapid.Bool().Draw(t, "addressed") && (n.On != "" || n.Roles.Has(network.VirtualMachine)) {
			n.Address = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128")}
		}
		bridges, h.in.Spec.Networks = append(bridges, n.ID), append(h.in.Spec.Networks, n)
	}
	h.add(bridge.Device{Name: "eth0"})
	h.add(bridge.Device{Name: "eth1"})
	h.build()
	h.add(bridge.Device{Name: "xenbr0", Kind: "bridge"})
	for range rapid.IntRange(0, 70).Draw(t, "nics") {
		id, nic := uint16(rapid.IntRange(1, 50).Draw(t, "domain")), rapid.IntRange(0, 3).Draw(t, "nic")
		h.plug(rapid.OneOf(rapid.String(), rapid.Just("web01")).Draw(t, "guest"), id, nic, rapid.SampledFrom(bridges).Draw(t, "bridge"), rapid.SliceOfN(rapid.Just(true), 0, 1).Draw(t, "tap")...)
		g := &h.in.Guests[len(h.in.Guests)-1]
		g.State, g.Reason = rapid.SampledFrom([]string{"plugged", "failed", ""}).Draw(t, "state"), rapid.String().Draw(t, "reason")
	}
	for _, d := range slices.Clone(h.Devices) {
		switch rapid.IntRange(0, 19).Draw(t, "fate") {
		case 0:
			h.remove(d.Name)
		case 1:
			h.in.Drift[d.Name] = rapid.String().Draw(t, "drift")
		case 2:
			h.Device(d.Name).Master = rapid.SampledFrom(bridges).Draw(t, "elsewhere")
		}
	}
	return h.input()
})

// uniqueLabels says which letters' labels two devices share.
func uniqueLabels(v Logical) (twice []string) {
	seen := map[string]bool{}
	for _, n := range v.Nodes {
		if n.Label == "" || n.Label[len(n.Label)-1] <= '9' {
			continue
		}
		if seen[n.Label] {
			twice = append(twice, n.Label)
		}
		seen[n.Label] = true
	}
	return twice
}

func TestAnyHostIsShownByTheRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := hosts.Draw(rt, "host")
		m := New(in)
		v := m.Logical()
		require.Empty(rt, uniqueLabels(v))
		keys := map[string]int{}
		for _, n := range v.Nodes {
			keys[n.Key] = n.Layer.column()
		}
		require.Len(rt, keys, len(v.Nodes), "keys are unique")
		for _, n := range v.Nodes {
			for _, s := range n.On {
				column, ok := keys[s.Key]
				require.True(rt, ok && column < keys[n.Key], "%s stands on %s", n.Key, s.Key)
			}
		}
		for view, d := range picturesOf(t, in) {
			require.Empty(rt, d.faults(), view)
		}
		for _, name := range Names {
			v, err := m.View(name)
			require.NoError(rt, err)
			fits(rt, write(t, v, "text", Options{}), 80)
			fits(rt, write(t, v, "text", Options{Width: 132, ASCII: true}), 132)
		}
		same(rt, m)
	})
}

// fits says that a text keeps to a width.
func fits(t rapid.TB, text string, width int) {
	for l := range strings.Lines(text) {
		require.LessOrEqual(t, cells(strings.TrimRight(l, "\n")), width, l)
	}
}

// same says that the logical view survives JSON.
func same(t rapid.TB, m *Model) {
	v := m.Logical()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	var back Logical
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, v, back)
}

// The same input gives the same picture.
func TestViewsAreTheSameEachTime(t *testing.T) {
	for _, in := range []Input{troubled(), crowd(30)} {
		for _, name := range Names {
			for _, format := range Formats {
				a, _ := New(in).View(name)
				b, _ := New(in).View(name)
				assert.Equal(t, write(t, a, format, Options{}), write(t, b, format, Options{}))
			}
		}
	}
}

// dotCode is what a DOT text says outside of its quoted strings; false where one does not end.
func dotCode(text string) (code string, ok bool) {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted:
			b.WriteByte(text[i])
		}
	}
	return b.String(), !quoted
}

// mermaidCode is what a Mermaid text says outside of its quoted strings, and what is quoted.
func mermaidCode(text string) (code string, labels []string) {
	parts := strings.Split(text, `"`)
	for i, p := range parts {
		if i%2 == 0 {
			code += p
		} else {
			labels = append(labels, p)
		}
	}
	return code, labels
}

// named is the worked example with one guest's and one network's name, and a reason.
func namedAs(name string) Input {
	in := worked()
	in.Title = name
	in.Spec.Networks[3].Name = name
	for i := range in.Guests {
		in.Guests[i].Domain, in.Guests[i].State, in.Guests[i].Reason, in.Guests[i].MAC = name, "failed", name, name
	}
	in.Drift = map[bridge.Name]string{"eth0": name}
	return in
}

// A name says nothing in the language of a picture: what is outside of quotes is the same as for a harmless one.
func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"", "web01", `a"b`, `a\`, `\"];x[label="`, "<script>alert(1)</script>", "&amp;&lt;", "]]>", "a\x00b\x1b[31m", "x\ny", "\u202eevil", "#quot;", "`**b**`",
		"end", "a-->b", "%%{init: {}}%%", "日本語の名前", strings.Repeat("W", 400), "\xff\xfe", "a|b{c}d", "--\n---", "click n0 call()",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		m, plainModel := New(namedAs(name)), New(namedAs("x"))
		for _, view := range Names {
			v, err := m.View(view)
			require.NoError(t, err)
			harmless, _ := plainModel.View(view)
			code, ok := dotCode(write(t, v, "dot", Options{}))
			want, _ := dotCode(write(t, harmless, "dot", Options{}))
			require.True(t, ok)
			require.Equal(t, want, code)
			code, quoted := mermaidCode(write(t, v, "mermaid", Options{}))
			want, _ = mermaidCode(write(t, harmless, "mermaid", Options{}))
			require.Equal(t, want, code)
			for _, l := range quoted {
				require.NotContains(t, strings.ReplaceAll(l, "<br/>", ""), "<")
				require.NotContains(t, l, "`")
			}
			for _, r := range write(t, v, "text", Options{}) {
				require.True(t, r == '\n' || unicode.IsPrint(r), "%q", r)
			}
			var any map[string]any
			require.NoError(t, json.Unmarshal([]byte(write(t, v, "json", Options{})), &any))
		}
		for view, d := range picturesOf(t, namedAs(name)) {
			require.Empty(t, d.faults(), view)
		}
	})
}

// A name is in the picture as it is, or elided with the whole of it to be read by pointing.
func TestNamesAreWhole(t *testing.T) {
	for _, name := range []string{`a"b<c>&'`, strings.Repeat("long name ", 30)} {
		all := picturesOf(t, namedAs(name))["logical"].all
		assert.True(t, slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, name) }), name)
	}
}
