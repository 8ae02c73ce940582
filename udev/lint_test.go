package udev

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	token = regexp.MustCompile(`^([A-Z_]+)(\{[A-Za-z_]+\})?(==|!=|=|\+=)"([^"]*)"$`)
	jump  = regexp.MustCompile(`(GOTO|LABEL)="([^"]*)"`)
)

// rulesKeys are the keys that the shipped rules may use; each appears here with what it may do.
var rulesKeys = map[string][]string{
	"ACTION": {"==", "!="}, "SUBSYSTEM": {"==", "!="}, "KERNEL": {"==", "!="}, "SUBSYSTEMS": {"=="}, "DRIVERS": {"=="},
	"ATTR": {"=="}, "ENV": {"==", "="}, "GOTO": {"="}, "LABEL": {"="}, "RUN": {"+="},
}

func statements(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(b), "\n"), file)
	var lines []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		require.Equal(t, strings.TrimSpace(line), line, file)
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestRulesGrammar(t *testing.T) {
	for _, line := range statements(t, "rules/70-vifplug.rules") {
		for _, part := range strings.Split(line, ", ") {
			m := token.FindStringSubmatch(part)
			require.NotNil(t, m, "%s in %s", part, line)
			assert.Contains(t, rulesKeys[m[1]], m[3], part)
			if m[1] == "RUN" {
				assert.Regexp(t, `^/usr/sbin/vif-plug ((online|offline) type_if=vif|(add|remove) type_if=tap)$`, m[4], "no shell, no value from the event in the command")
			}
		}
	}
}

// Each jump goes forward to a label that is there once, else udev refuses the file or skips the rest.
func TestRulesJumps(t *testing.T) {
	labels := map[string]int{}
	lines := statements(t, "rules/70-vifplug.rules")
	for i, line := range lines {
		for _, m := range jump.FindAllStringSubmatch(line, -1) {
			if m[1] == "LABEL" {
				assert.NotContains(t, labels, m[2])
				labels[m[2]] = i
			}
		}
	}
	for i, line := range lines {
		for _, m := range jump.FindAllStringSubmatch(line, -1) {
			if m[1] == "GOTO" {
				assert.Greater(t, labels[m[2]], i, line)
			}
		}
	}
}

// settings reads an ini file into "Section/Key" -> value, as long as nothing is doubled.
func settings(t *testing.T, file string) map[string]string {
	t.Helper()
	got, section := map[string]string{}, ""
	for _, line := range statements(t, file) {
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, found := strings.Cut(line, "=")
		require.True(t, found, line)
		require.NotContains(t, got, section+"/"+key)
		got[section+"/"+key] = value
	}
	return got
}

func TestIniFiles(t *testing.T) {
	for file, want := range map[string]map[string]string{
		"link/05-vifplug-vif.link":       {"Match/Driver": "vif", "Link/NamePolicy": "keep", "Link/MACAddressPolicy": "none"},
		"link/05-vifplug-tap.link":       {"Match/Driver": "tun", "Match/OriginalName": "*-emu tap[0-9]*.*", "Link/NamePolicy": "keep", "Link/MACAddressPolicy": "none"},
		"network/05-vifplug-vif.network": {"Match/Driver": "vif", "Link/Unmanaged": "yes"},
		"network/05-vifplug-tap.network": {"Match/Driver": "tun", "Match/Name": "*-emu tap[0-9]*.*", "Link/Unmanaged": "yes"},
		"NetworkManager/05-vifplug.conf": {"keyfile/unmanaged-devices+": "driver:vif;interface-name:vif*.*"},
	} {
		assert.Equal(t, want, settings(t, file), file)
	}
}

// Every shipped file says in its head whose it is and where it is installed, and no file lacks its test here.
func TestEveryShippedFileIsKnown(t *testing.T) {
	installed := map[string]string{
		"rules": "/usr/lib/udev/rules.d/", "link": "/usr/lib/systemd/network/", "network": "/usr/lib/systemd/network/",
		"NetworkManager": "/usr/lib/NetworkManager/conf.d/",
	}
	files, err := filepath.Glob("[a-zA-Z]*/[0-9]*")
	require.NoError(t, err)
	assert.Len(t, files, 6)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		head, _, _ := strings.Cut(string(b), "[")
		head = strings.ReplaceAll(head, "\n# ", " ")
		assert.True(t, strings.HasPrefix(head, "# vifplug: "), file)
		dir, name := filepath.Split(file)
		assert.Contains(t, head, "Installed as "+installed[filepath.Clean(dir)]+name+".", file)
	}
}
