package config

import (
	"encoding"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
)

// dirOf makes a configuration's directory of files by their names.
func dirOf(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestDefaultsWithoutFiles(t *testing.T) {
	want := Config{Policy: hotplug.DefaultPolicy()}
	for name, dir := range map[string]string{
		"no directory": filepath.Join(t.TempDir(), "none"),
		"no file":      t.TempDir(),
		"no key":       dirOf(t, map[string]string{MainFile: "", "conf.d/a.toml": "[hotplug]\n[control]\n# nothing\n"}),
	} {
		got, err := Load(dir)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
}

func TestEveryKey(t *testing.T) {
	got, err := Load(dirOf(t, map[string]string{MainFile: `
		[hotplug]
		bridge-wait = "33s"
		netdev-wait = "250ms"
		legacy-bridge-names = true
		leave-scripts = ["mine"]
		path = "shortcut"
		guard = "mac"
		[control]
		readers = "adm"`}))
	require.NoError(t, err)
	assert.Equal(t, Config{Readers: "adm", Policy: hotplug.Policy{
		BridgeWait: 33 * time.Second, NetdevWait: 250 * time.Millisecond, LegacyBridgeNames: true, LeaveScripts: []string{"mine"}, Path: paths.Shortcut, Guard: paths.MAC,
	}}, got)
}

// A later file replaces what an earlier one said, key by key; the rest stays.
func TestLaterFilesReplace(t *testing.T) {
	got, err := Load(dirOf(t, map[string]string{
		MainFile:            `hotplug = {bridge-wait = "1s", netdev-wait = "1s", leave-scripts = ["main"]}`,
		"conf.d/10-b.toml":  `hotplug.bridge-wait = "2s"`,
		"conf.d/9-a.toml":   `hotplug.bridge-wait = "3s"`, // "10" is before "9": names, not numbers
		"conf.d/20-c.toml":  `hotplug.leave-scripts = ["c"]`,
		"conf.d/readme.txt": "no TOML",
		"conf.d/x.toml~":    "no TOML",
		"conf.d/.#x.toml":   "an editor's own",
		"other.toml":        "not read",
	}))
	require.NoError(t, err)
	assert.Equal(t, 3*time.Second, got.Policy.BridgeWait)
	assert.Equal(t, time.Second, got.Policy.NetdevWait)
	assert.Equal(t, []string{"c"}, got.Policy.LeaveScripts)

	got, err = Load(dirOf(t, map[string]string{"conf.d/a.toml": "hotplug.leave-scripts = []"}))
	require.NoError(t, err)
	assert.Empty(t, got.Policy.LeaveScripts, "an empty list is a value")
}

// A directory's name is no pattern.
func TestOddDirectoryName(t *testing.T) {
	dir := filepath.Join(dirOf(t, map[string]string{"[x]/conf.d/a.toml": `control.readers = "adm"`}), "[x]")
	got, err := Load(dir)
	require.NoError(t, err)
	assert.Equal(t, "adm", got.Readers)
}

// Each error names file, line and column, shows the line, and speaks of keys, not of Go.
func TestErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "[hotplug]\nbrige-wait = \"3s\"", "2:1: unknown key hotplug.brige-wait. Did you mean hotplug.bridge-wait?\n    brige-wait = \"3s\""},
		{"unknown table", "[contrl]\nreaders = \"adm\"", "1:2: unknown key contrl. Did you mean control?\n    [contrl]"},
		{"unknown dotted", "control.reader = \"adm\"", "1:1: unknown key control.reader. Did you mean control.readers?\n"},
		{"no duration", "[hotplug]\n\tnetdev-wait = \"soon\"", "2:16: hotplug.netdev-wait: \"soon\" is no duration such as \"30s\" or \"0s\"\n     netdev-wait = \"soon\""},
		{"no unit", "[hotplug]\nbridge-wait = \"30\"", "2:15: hotplug.bridge-wait: \"30\" is no duration"},
		{"a number", "[hotplug]\nbridge-wait = 30", "2:15: hotplug.bridge-wait: \"30\" is no duration"},
		{"a fraction", "[hotplug]\nbridge-wait = 1.5", "2:15: hotplug.bridge-wait: \"1.5\" is no duration"},
		{"negative", "[hotplug]\nbridge-wait = \"-1s\"", "2:15: hotplug.bridge-wait: \"-1s\" is no duration"},
		{"too long", "[hotplug]\nbridge-wait = \"33.001s\"", "2:15: hotplug.bridge-wait: 33.001s is longer than 33s. libxl gives up after 40 s: say less"},
		{"netdev too long", "[hotplug]\nnetdev-wait = \"1h\"", "2:15: hotplug.netdev-wait: 1h0m0s is longer than 33s"},
		{"beyond int64", "[hotplug]\nbridge-wait = \"9999999999h\"", "2:15: hotplug.bridge-wait: \"9999999999h\" is no duration"},
		{"no path", "[hotplug]\npath = \"shortcat\"", "2:8: hotplug.path: \"shortcat\" is none of auto, bridge, shortcut, socket, af-xdp. Did you mean \"shortcut\"?"},
		{"no path's type", "[hotplug]\npath = [1]", "2:8: hotplug.path: want one of auto, bridge"},
		{"no guard", "[hotplug]\nguard = \"ip\"", "2:9: hotplug.guard: \"ip\" is none of off, mac"},
		{"a list", "[hotplug]\nbridge-wait = [1]", "2:15: hotplug.bridge-wait: want a duration such as \"30s\" or \"0s\""},
		{"no boolean", "[hotplug]\nlegacy-bridge-names = \"yes\"", "2:23: hotplug.legacy-bridge-names: want true or false"},
		{"no list", "[hotplug]\nleave-scripts = \"x\"", "2:17: hotplug.leave-scripts: want a list of names such as [\"vif-route\"]"},
		{"no names", "[hotplug]\nleave-scripts = [1]", "2:18: hotplug.leave-scripts: want a list of names"},
		{"every name", "[hotplug]\nleave-scripts = [\"\"]", ": hotplug.leave-scripts: every script's name begins with \"\"."},
		{"no table", "hotplug = 5", "1:11: hotplug: want a table\n    hotplug = 5"},
		{"tables", "[[hotplug]]\nlegacy-bridge-names = true", "1:3: hotplug: want a table"},
		{"no group", "[control]\nreaders = 4", "2:11: control.readers: want the name of a group"},
		{"twice", "[control]\nreaders = \"a\"\nreaders = \"b\"", "3:1: key readers is already defined"},
		{"no TOML", "bridge: xenbr0", "1:7: "},
		{"not text", "\x00\xff\x7fELF", "1:1: "},
		{"escapes", "\"a\\u001b[31m\" = 1", "1:1: unknown key a [31m."},
	} {
		dir := dirOf(t, map[string]string{"conf.d/a.toml": tc.text})
		_, err := Load(dir)
		if assert.Error(t, err, tc.name) {
			assert.Contains(t, err.Error(), tc.want, tc.name)
			assert.Contains(t, err.Error(), filepath.Join(dir, "conf.d/a.toml")+":", tc.name)
			assert.NotRegexp(t, `struct|config\.|\x1b|\x00`, strings.ReplaceAll(err.Error(), dir, ""), tc.name)
		}
	}
}

// Bonds and networks stand in the same files, and are judged as a whole.
func TestNetworks(t *testing.T) {
	main := "[control]\nreaders = \"adm\"\n[[network]]\nname = \"m\"\non = \"eth0\"\nroles = [\"server-management\"]\naddress = [\"10.0.0.2/24\"]\n"
	got, err := Load(dirOf(t, map[string]string{
		MainFile:        main,
		"conf.d/a.toml": "[[network]]\nname = \"a\"\non = \"eth1\"\nroles = [\"storage\"]\naddress = [\"10.0.0.3/24\"]\n[[bond]]\nname = \"bond0\"\nports = [\"eth2\"]",
	}))
	require.NoError(t, err)
	assert.Equal(t, "adm", got.Readers)
	assert.Equal(t, bridge.Name("bond0"), got.Networks.Bonds[0].Name)
	assert.Equal(t, "a", got.Networks.Networks[1].Name)
	require.Len(t, got.Warnings, 1)
	assert.Contains(t, got.Warnings[0], "a.toml:5:11: network a: its subnet 10.0.0.0/24 overlaps")

	_, err = Load(dirOf(t, map[string]string{MainFile: main, "conf.d/a.toml": "[[network]]\nname = \"a\"\non = \"eth0\"\nroles = [\"storage\"]"}))
	require.ErrorContains(t, err, "a.toml:3:6: network a: m has the untagged segment of eth0 already")
}

// The errors of both halves come in the order of files and lines, each once: what is no TOML at all is so for both.
func TestErrorsOfBothHalves(t *testing.T) {
	_, err := Load(dirOf(t, map[string]string{
		MainFile:        "[[network]]\nname = 5\nroles = []\n[hotplug]\nbridge = 1\n[[bond]]\nname = \"b\"\nports = []\n[netwrk]\nx = 1",
		"conf.d/a.toml": "[control]\nreader = \"adm\"\n[[bond]]\nname \"b\"",
		"conf.d/b.toml": "control.readers = \"a\"\ncontrol.readers = \"b\"",
	}))
	require.Error(t, err)
	var told []string
	for _, e := range network.Errors(err) {
		told = append(told, fmt.Sprintf("%s:%d:%d %s", filepath.Base(e.At.File), e.At.Line, e.At.Col, e.What))
	}
	assert.Equal(t, []string{
		`vifplug.toml:2:8 network.name: want a name such as "guests", not 5`,
		"vifplug.toml:5:1 unknown key hotplug.bridge. Did you mean hotplug.bridge-wait?",
		"vifplug.toml:8:9 bond.ports: a bond is made of one port or more",
		"vifplug.toml:9:2 unknown key netwrk. Did you mean network?",
		"a.toml:4:6 expected '=' after key",
		"b.toml:2:1 key readers is already defined",
	}, told)
}

// All files' errors come at once, all unknown keys of a file, and what is right holds nevertheless.
func TestAllErrorsAtOnce(t *testing.T) {
	dir := dirOf(t, map[string]string{
		MainFile:        "[hotplug]\nbridge-wait = \"5s\"\nbridge = 1\nmtu = 2\n[network]\nname = \"x\"",
		"conf.d/a.toml": "hotplug.netdev-wait = \"1h\"",
		"conf.d/b.toml": "control.readers = \"adm\"",
	})
	require.NoError(t, os.Mkdir(filepath.Join(dir, "conf.d/c.toml"), 0o755))
	require.NoError(t, os.Symlink("/nonexistent", filepath.Join(dir, "conf.d/d.toml")))
	got, err := Load(dir)
	require.Error(t, err)
	for _, want := range []string{
		MainFile + ":3:1: unknown key hotplug.bridge.", MainFile + ":4:1: unknown key hotplug.mtu.", MainFile + ":5:2: network: there may be several",
		"a.toml:1:23: ", "c.toml: is a directory", "d.toml: no such file",
	} {
		assert.Contains(t, err.Error(), want)
	}
	assert.Equal(t, 5*time.Second, got.Policy.BridgeWait)
	assert.Equal(t, hotplug.DefaultPolicy().NetdevWait, got.Policy.NetdevWait, "a wrong value changes nothing")
	assert.Equal(t, "adm", got.Readers)
}

// What cannot be read is an error, never silence.
func TestUnreadable(t *testing.T) {
	file := filepath.Join(dirOf(t, map[string]string{"f": ""}), "f")
	_, err := Load(file)
	require.ErrorContains(t, err, "not a directory")

	dir := dirOf(t, map[string]string{"conf.d": "a file"})
	_, err = Load(dir)
	require.ErrorContains(t, err, "conf.d: not a directory")

	if os.Geteuid() == 0 {
		return // whom no mode stops
	}
	dir = dirOf(t, map[string]string{MainFile: "", "conf.d/a.toml": ""})
	require.NoError(t, os.Chmod(filepath.Join(dir, MainFile), 0))
	require.NoError(t, os.Chmod(filepath.Join(dir, "conf.d"), 0))
	_, err = Load(dir)
	require.ErrorContains(t, err, MainFile+": permission denied")
	require.ErrorContains(t, err, "conf.d: permission denied")
}

// The table of keys is the document's shape, and the documents for users have each key with its default.
func TestKeysAreTheDocumentsAndDocumented(t *testing.T) {
	var shape []string
	var walk func(reflect.Type, string)
	walk = func(s reflect.Type, prefix string) {
		for i := range s.NumField() {
			name := prefix + s.Field(i).Tag.Get("toml")
			shape = append(shape, name)
			if f := s.Field(i).Type; f.Kind() == reflect.Struct && !reflect.PointerTo(f).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
				walk(f, name+".")
			}
		}
	}
	walk(reflect.TypeFor[document](), "")
	var known, values []string
	for _, k := range keys {
		known = append(known, k.name)
		if k.want != "a table" {
			values = append(values, k.name)
		}
	}
	assert.Equal(t, shape, known)

	for file, row := range map[string]*regexp.Regexp{
		"reference.md":          regexp.MustCompile("(?m)^\\| `((?:hotplug|control)\\.[a-z-]+)` \\| (?:`(.+?)`|none) \\|"),
		"man/vifplug.toml.5.md": regexp.MustCompile(`(?m)^\*\*((?:hotplug|control)\.[a-z-]+)\*\* = (.+)$`),
	} {
		b, err := os.ReadFile(filepath.Join("../../docs", file))
		require.NoError(t, err)
		var said []string
		text := ""
		for _, m := range row.FindAllStringSubmatch(string(b), -1) {
			said = append(said, m[1])
			if m[2] != "" {
				text += m[1] + " = " + m[2] + "\n"
			}
		}
		assert.Equal(t, values, said, file)
		got, err := Load(dirOf(t, map[string]string{MainFile: text}))
		require.NoError(t, err, file)
		assert.Equal(t, Config{Policy: hotplug.DefaultPolicy()}, got, "%s: its defaults are the program's", file)
	}
}

// obeyed says that a terminal would do something.
func obeyed(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }

// FuzzConfig: no file makes Load panic, what it gives is within bounds whether or not there was an error, and errors can be shown,
// each once.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("[hotplug]\nbridge-wait = \"30s\"\nleave-scripts = [\"vif-route\"]\n[control]\nreaders = \"adm\""), []byte("hotplug.netdev-wait = 5"))
	f.Add([]byte("hotplug = {bridge-wait = -9223372036854775808}"), []byte("[[hotplug]]"))
	f.Add([]byte("[hotplug]\nbridge-wait = 0x7fffffffffffffff"), []byte("\"\\u001b\" = 1\n[hotplug.bridge-wait]"))
	f.Add([]byte("hotplug.leave-scripts = [\"\"]"), []byte("\xef\xbb\xbfa.b.\"c\" = [[[[]]]]"))
	f.Add([]byte("[[network]]\nname = \"a\"\nname = \"b\"\n[control]\nreaders = 5"), []byte("[[bond]]\nports = [\"a\" \"b\"]\n[control]\nreaders = 1\nreaders = 2"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		c, err := read([]network.File{{Name: "a.toml", Text: one}, {Name: "b.toml", Text: two}})
		if err != nil {
			if strings.ContainsFunc(err.Error(), obeyed) {
				t.Errorf("%q is no error to show", err)
			}
			told := map[string]bool{}
			for _, f := range network.Errors(err) {
				if told[f.Error()] {
					t.Errorf("%s is told twice:\n%s", f, err)
				}
				told[f.Error()] = true
			}
		}
		got := c.Policy
		for _, d := range []time.Duration{got.BridgeWait, got.NetdevWait} {
			if d < 0 || d > MaxWait {
				t.Errorf("accepted a wait of %v", d)
			}
		}
		for _, s := range got.LeaveScripts {
			if s == "" {
				t.Error("accepted a script's name that leaves every NIC alone")
			}
		}
	})
}

// What is wrong with the networks, or with a file that nobody can read as TOML, is told apart from the rest: the daemon goes on without those.
func TestUnusable(t *testing.T) {
	for name, tc := range map[string]struct {
		files    map[string]string
		err      string
		unusable string
	}{
		"fine":             {map[string]string{MainFile: "[hotplug]\n"}, "", ""},
		"networks":         {map[string]string{MainFile: "[[network]]\nname = \"a\"\nroles = [\"vm\"]"}, "network.roles", ""},
		"rules of them":    {map[string]string{MainFile: "[[network]]\nname = \"a\"\non = \"eth0\"\nroles = [\"storage\"]"}, "server-management", ""},
		"no TOML":          {map[string]string{MainFile: "[[network]\nname"}, ":1:", ""},
		"the rest":         {map[string]string{MainFile: "hotplug.bridge = \"x\""}, "hotplug.bridge", "hotplug.bridge"},
		"both":             {map[string]string{MainFile: "hotplug.bridge = \"x\"\n[[network]]\nname = \"a\"\nroles = [\"vm\"]"}, "network.roles", "hotplug.bridge"},
		"in several files": {map[string]string{MainFile: "[[network]\n", "conf.d/a.toml": "control.readers = 5"}, ":1:", "control.readers"},
		"not readable":     {map[string]string{"conf.d/a.toml/x": ""}, "is a directory", "is a directory"},
	} {
		got, err := Load(dirOf(t, tc.files))
		if tc.err == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, tc.err, name)
		}
		if tc.unusable == "" {
			require.NoError(t, got.Unusable, name)
			continue
		}
		require.ErrorContains(t, got.Unusable, tc.unusable, name)
		assert.NotContains(t, got.Unusable.Error(), "network.", name)
	}
}
