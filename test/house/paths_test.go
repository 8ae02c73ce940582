package house

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// doors are paths that one package alone opens: what there is to know about them is known once.
var doors = []struct {
	path  string // a regular expression over string literals
	owner string
	why   string
}{
	{`^/(dev|proc)/xen/xenbus|xenstored/socket|^XENSTORED_(PATH|RUNDIR)$`, "xenstore", "how to reach the store, and which way first"},
	{`^/dev/xen/(privcmd|hypercall)`, "hotplug/domctl", "hypercalls"},
	{`^/proc/sys/net|^/sys/class/net`, "bridge", "a device's settings by name race with its renaming"},
	{`^/run/systemd|^(NOTIFY_SOCKET|LISTEN_FDS|LISTEN_FDNAMES|WATCHDOG_USEC|JOURNAL_STREAM)$`, "systemd", "one package speaks to systemd"},
}

func TestDoors(t *testing.T) {
	for _, door := range doors {
		match, opened := regexp.MustCompile(door.path), false
		for _, f := range files(t) {
			if !f.product() {
				continue
			}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(l.Value)
				require.NoError(t, err, f.at(l.Pos()))
				if match.MatchString(text) {
					opened = true
					assert.True(t, under(f.dir, door.owner), "%s says %s: that is for %s alone (%s)", f.at(l.Pos()), l.Value, door.owner, door.why)
				}
				return true
			})
		}
		assert.True(t, opened || door.owner == "systemd", "nobody says %s: the rule is out of date", door.path)
	}
}

// Whoever clones the repository has other folders.
func TestNoDeveloperPaths(t *testing.T) {
	foreign := regexp.MustCompile(`(^|[^A-Za-z0-9_.*])(/(work|home|Users)/[A-Za-z0-9]|/root/go/|/tmp/bash|\.\./shared/)`)
	require.NoError(t, each("", func(path string, text []byte) error {
		if path == "test/house/paths_test.go" {
			return nil
		}
		for i, line := range strings.Split(string(text), "\n") {
			assert.False(t, foreign.MatchString(line), "%s:%d names a folder of somebody's machine: %.100q", path, i+1, line)
		}
		return nil
	}))
}
