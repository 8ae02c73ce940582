package network

import (
	flags "flag" // a function of this package has its name
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

var update = flags.Bool("update", false, "write the golden files anew")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), text, "if the new text is right: go test ./bridge/network -update")
}

// declare reads a declaration that must be right.
func declare(t *testing.T, text string) Spec {
	t.Helper()
	s, err := Parse([]File{{Name: "test.toml", Text: []byte(text)}})
	require.NoError(t, err)
	_, err = Check(s)
	require.NoError(t, err)
	s, err = Resolve(s, nil)
	require.NoError(t, err)
	return s
}

// carryOut does a plan's steps to a host.
func carryOut(t *testing.T, h bridge.Host, steps []Step) bridge.Host {
	t.Helper()
	for _, s := range steps {
		var err error
		h, err = Simulate(h, s)
		require.NoError(t, err, s.String())
	}
	return h
}

// shown is a plan as a golden holds it.
func shown(p Plan) string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String() + "\n")
	}
	for _, n := range p.Notes {
		b.WriteString("note: " + n + "\n")
	}
	if p.Management != "" {
		b.WriteString("management: " + p.Management + "\n")
	}
	if p.Cuts != "" {
		b.WriteString("cuts: " + p.Cuts + "\n")
	}
	return b.String()
}

const workedExample = `
[[bond]]
name = "bond0"
ports = ["eth0", "eth1"]
mode = "active-backup"
[[bond]]
name = "bond1"
ports = ["eth2", "eth3"]
mode = "802.3ad"
lacp-rate = "fast"
[[bond]]
name = "bond2"
ports = ["eth4", "eth5"]
[[network]]
name = "management"
on = "bond0"
roles = ["server-management"]
address = ["10.11.10.22/24"]
gateway = ["10.11.10.1"]
[[network]]
name = "heartbeat"
on = "bond0"
vlan = 11
roles = ["cluster-heartbeat"]
address = ["10.11.11.22/24"]
[[network]]
name = "migrate"
on = "bond0"
vlan = 12
roles = ["live-migrate"]
address = ["10.11.12.22/24"]
[[network]]
name = "guests"
on = "bond0"
vlan = 13
roles = ["virtual-machine"]
id = "4b"
host-address = true
address = ["10.11.13.22/24"]
[[network]]
name = "red"
on = "bond1"
vlan = 21
roles = ["virtual-machine"]
[[network]]
name = "green"
on = "bond1"
vlan = 22
roles = ["virtual-machine"]
[[network]]
name = "blue"
on = "bond1"
vlan = 23
roles = ["virtual-machine"]
mtu = 9000
[[network]]
name = "test"
on = "bond2"
vlan = 31
roles = ["virtual-machine"]
`

// A host as an installer leaves it: its one configured port carries the address by which it is managed.
func installed(t *testing.T) bridge.Host {
	t.Helper()
	return carryOut(t, bareHost(6), []Step{
		{Op: OpSet, Device: "eth0", Set: bridge.Settings{"up": "1"}},
		{Op: OpAddAddress, Device: "eth0", Address: &bridge.Address{Prefix: prefix("10.11.10.22/24")}},
		{Op: OpAddAddress, Device: "eth0", Address: &bridge.Address{Prefix: prefix("2001:db8::22/64")}},
		{Op: OpAddRoute, Device: "eth0", Route: &bridge.Route{To: prefix("0.0.0.0/0"), Via: prefix("10.11.10.1/32").Addr(), Device: "eth0", Table: mainTable, Type: unicast}},
		{Op: OpAddRoute, Device: "eth0", Route: &bridge.Route{To: prefix("::/0"), Via: prefix("2001:db8::1/128").Addr(), Device: "eth0", Table: mainTable, Type: unicast}},
	})
}

func TestWorkedExample(t *testing.T) {
	spec := declare(t, workedExample)
	for name, have := range map[string]bridge.Host{"bare": bareHost(6), "installed": installed(t)} {
		plan, err := Make(Input{Want: spec, Have: have})
		require.NoError(t, err)
		golden(t, "plan/worked-example-"+name+".txt", shown(plan))
		end := carryOut(t, have, plan.Steps)
		assert.Empty(t, Compare(Input{Want: spec, Have: end}))
	}
}

// change is a declaration that takes another's place on the worked example's host, where nothing but the first declaration has been.
type change struct{ name, from, to string }

var changes = []change{
	{"port-added", `ports = ["eth0", "eth1"]`, `ports = ["eth0", "eth1", "eth6"]`},
	{"port-removed", `ports = ["eth0", "eth1"]`, `ports = ["eth0"]`},
	{"first-port-removed", `ports = ["eth0", "eth1"]`, `ports = ["eth1"]`},
	{"mode-changed", `mode = "active-backup"`, `mode = "802.3ad"`},
	{"option-changed-live", `mode = "active-backup"`, "mode = \"active-backup\"\nprimary = \"eth1\""},
	{"option-needs-down", `lacp-rate = "fast"`, `lacp-rate = "slow"`},
	{"role-added", `roles = ["server-management"]`, `roles = ["server-management", "virtual-machine"]`},
	{"role-removed", "roles = [\"virtual-machine\"]\nid = \"4b\"\nhost-address = true", `roles = ["storage"]`},
	{"id-changed", `id = "4b"`, `id = "net4"`},
	{"mtu-raised", "roles = [\"live-migrate\"]", "roles = [\"live-migrate\"]\nmtu = 9000"},
	{"mtu-lowered", "mtu = 9000", "mtu = 1500"},
	{"mtu-left-out", "mtu = 9000\n", ""},
	{"vlan-changed", "vlan = 13", "vlan = 14"},
	{"address-changed", "10.11.11.22/24", "10.11.11.23/24"},
	{"address-in-another-subnet", "10.11.11.22/24", "10.99.11.22/24"},
	{"gateway-changed", `gateway = ["10.11.10.1"]`, `gateway = ["10.11.10.2"]`},
	{"gateway-removed", "gateway = [\"10.11.10.1\"]\n", ""},
	{"renamed", `name = "heartbeat"`, `name = "pulse"`},
	{"network-removed", workedExample[strings.Index(workedExample, "[[network]]\nname = \"blue\""):strings.Index(workedExample, "[[network]]\nname = \"test\"")], ""},
	{"moved-to-another-bond", "name = \"guests\"\non = \"bond0\"", "name = \"guests\"\non = \"bond1\""},
}

func TestChanges(t *testing.T) {
	spec := declare(t, workedExample)
	have := bareHost(7)
	first, err := Make(Input{Want: spec, Have: have})
	require.NoError(t, err)
	have = carryOut(t, have, first.Steps)
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, workedExample, c.from)
			want := declare(t, strings.Replace(workedExample, c.from, c.to, 1))
			plan, err := Make(Input{Want: want, Before: &spec, Have: have})
			require.NoError(t, err)
			golden(t, "plan/change-"+c.name+".txt", shown(plan))
			assert.Empty(t, Compare(Input{Want: want, Before: &spec, Have: carryOut(t, have, plan.Steps)}))
		})
	}
}
