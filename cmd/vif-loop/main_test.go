package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"vifplug/bridge"
	"vifplug/hotplug"
	"vifplug/hotplug/control"
	"vifplug/qemu/loop"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if path, _ := build(); code == 0 { // what is left of a failure may help
			_ = os.RemoveAll(filepath.Dir(path))
		}
		os.Exit(code)
	}))
}

func TestFlags(t *testing.T) {
	o, err := parseFlags(strings.Fields("--instance web.1 --socket af-packet --mtu 9000"))
	require.NoError(t, err)
	assert.Equal(t, "web", o.guest)
	assert.EqualValues(t, 1, o.nic)
	assert.Equal(t, loop.AFPacket, o.socket)
	assert.Equal(t, "nobody", o.user)
	for text, args := range map[string]string{
		"whose NIC is it?": "--listen /x", "whose NIC is it? ": "--guest a --tap tap1.0", "leave --guest and --nic out": "--instance a.0 --nic 1",
		"want NAME.N": "--instance web", `"x" is no number`: "--instance web.x", "the name of --tap says all": "--tap tap1.0 --nic 1",
		"exclude each other": "--guest a --listen /x --connect /y", "--datagram needs --connect": "--guest a --listen /x --datagram /y",
		"--mtu 67": "--guest a --mtu 67", `--socket "fast"`: "--guest a --socket fast", `--tap "a/b"`: "--tap a/b", `--bridge "a:b"`: "--tap a --bridge a:b",
		"vlanametoolong": "--tap anametoolong12", `"x" is not understood`: "--guest a x", "--nic 256": "--guest a --nic 256", "not defined": "--gast a",
	} {
		_, err := parseFlags(strings.Fields(args))
		require.ErrorContains(t, err, strings.TrimSpace(text), args)
	}
}

// A name that systemd-escape has escaped is read back, whatever it is.
func TestInstances(t *testing.T) {
	for instance, want := range map[string]string{"web.0": "web", "my.web-1.0": "my.web-1", `my\x20guest.0`: "my guest", `web\x2d1.0`: "web-1"} {
		o := options{instance: instance}
		require.NoError(t, o.check())
		assert.Equal(t, want, o.guest)
	}
	for _, bad := range []string{`a\x2.0`, `a\xzz.0`, ".0", "a.-1", "a."} {
		require.Error(t, (&options{instance: bad}).check(), bad)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 20, 40).Draw(t, "name")
		var escaped strings.Builder
		for _, c := range []byte(name) {
			escaped.WriteString(`\x` + string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]))
		}
		got, err := unescape(escaped.String())
		require.NoError(t, err)
		assert.Equal(t, name, got)
	})
}

// What the program takes, what its help says and what the man page says is the same.
func TestFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/vif-loop.8.md")
	require.NoError(t, err)
	source, err := os.ReadFile("options.go")
	require.NoError(t, err)
	list := func(pattern, text string) map[string]bool {
		out := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out[m[1]] = true
		}
		return out
	}
	known := list(`fs\.\w+Var\(&[a-z.]+, "([a-z]+)"`, string(source))
	require.Greater(t, len(known), 10)
	assert.Equal(t, known, list(`(?m)^  --([a-z]+)`, help))
	assert.Equal(t, known, list(`(?m)^\*\*--([a-z]+)\*\*`, string(page)))
	for _, r := range []loop.Reason{loop.Short, loop.Long, loop.Down, loop.Refused, loop.Full, loop.Stale, loop.Unfinished} {
		assert.Contains(t, string(page), "| "+r.String()+" |")
	}
	_, err = parseFlags([]string{"--help"})
	require.ErrorIs(t, err, flag.ErrHelp)
}

// Of two guests of a name, as there may be while one restarts, it is the later; the NIC's bridge goes by the number.
func TestFindGuest(t *testing.T) {
	nic := func(id uint16, n uint32, br string) hotplug.NICStatus {
		return hotplug.NICStatus{Domain: hotplug.Domain{ID: id}, Device: n, Backend: &hotplug.BackendStatus{Bridge: br}}
	}
	s := control.Status{
		Domains: []hotplug.Domain{{ID: 3, Name: "web"}, {ID: 7, Name: "web"}, {ID: 9, Name: "db"}},
		NICs:    []hotplug.NICStatus{nic(3, 0, "old"), nic(7, 1, "one"), nic(7, 0, "xenbr0"), {Domain: hotplug.Domain{ID: 9}}},
	}
	id, br, err := findGuest(s, "web", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 7, id)
	assert.Equal(t, bridge.Name("xenbr0"), br)
	id, br, err = findGuest(s, "db", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 9, id)
	assert.Empty(t, br)
	_, _, err = findGuest(s, "mail", 0)
	require.ErrorIs(t, err, errNoGuest)
}

// Only this guest's pairs of other numbers, and others' of this number, are to go.
func TestWhichPairsGo(t *testing.T) {
	p := &pair{tap: "tap7.0", hidden: "vl7.0", owner: "web.0"}
	for _, c := range []struct {
		name  bridge.Name
		kind  string
		alias string
		goes  bool
	}{
		{"vl5.0", "veth", "vifplug: hidden end of tap5.0, web.0", true},
		{"vl7.0", "veth", "vifplug: hidden end of tap7.0, db.0", true},
		{"vl7.0", "veth", "vifplug: hidden end of tap7.0, web.0", false},
		{"vl5.0", "veth", "vifplug: hidden end of tap5.0, db.0", false},
		{"vl5.1", "veth", "vifplug: hidden end of tap5.1, web.1", false},
		{"vl7.0", "veth", "vifplug: hidden end of tap7.0, hand", false},
		{"vl5.0", "dummy", "vifplug: hidden end of tap5.0, web.0", false},
		{"tap5.0", "veth", "vifplug: hidden end of tap5.0, web.0", false},
		{"eth0", "veth", "vifplug: hidden end of tap5.0, web.0", false},
		{"vl5.0", "veth", "", false},
	} {
		assert.Equal(t, c.goes, p.isOther(bridge.Link{Name: c.name, Kind: c.kind, Alias: c.alias}), c)
	}
}
