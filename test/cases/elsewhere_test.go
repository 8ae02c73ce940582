package cases

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// last is the number of the specification's last case.
const last = 43

// elsewhere are the cases of section 9 that are no matter of a vif in bridge mode, with what they concern and whose they are.
var elsewhere = map[int]string{
	19: "script paths: vifplug executes no script. Executing legacy scripts is another issue's",
	21: "the ip list: guards (anti-spoofing) and routed mode",
	36: "nftables flushed, br_netfilter: guards",
	40: "an invalid rate: shaping",
}

// alsoElsewhere are the parts of tested cases that are no matter of a vif in bridge mode.
var alsoElsewhere = map[int]string{
	10: "Open vSwitch bridges: the OVS mode",
	12: "rolling back firewall and OVS entries: guards, OVS",
	15: "moving MAC and IP rules to the newer domain: guards",
	23: "oxenstored's EQUOTA and missing DIRECTORY_PART: package xenstore's own tests",
	26: "the generation in the token of a watch: package xenstore's own tests",
	31: "anti-spoofing that accepts the pair behind a stub domain: guards",
	32: "the same rules on the tap as on the vif: guards",
	34: "a bridge's own MAC: declared networks",
	41: "suspend and resume of the host, watches through /dev/xen/xenbus: package xenstore and the lab",
}

// Every case is tested here or stands in the list, and none in both.
func TestEveryCaseIsTestedOrListed(t *testing.T) {
	tested := map[int]bool{}
	number := regexp.MustCompile(`(?:Case|And)(\d\d)`)
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(fn.Name.Name, "TestCase") {
				continue
			}
			for _, m := range number.FindAllStringSubmatch(fn.Name.Name, -1) {
				n, err := strconv.Atoi(m[1])
				require.NoError(t, err)
				tested[n] = true
			}
		}
	}
	for n := 1; n <= last; n++ {
		_, listed := elsewhere[n]
		assert.True(t, tested[n] != listed, fmt.Sprintf("case %d: tested %v, listed %v", n, tested[n], listed))
	}
	for n := range alsoElsewhere {
		assert.True(t, tested[n], n)
	}
	assert.LessOrEqual(t, len(tested)+len(elsewhere), last, "no other numbers")
}
