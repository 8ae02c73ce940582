package wire

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var goodPaths = []string{
	"/", "/a", "/a/b", "a", "a/b", "/local/domain/0/backend/vif/5/0/hotplug-status", "@introduceDomain", "@releaseDomain", "@releaseDomain/5",
	"/A-Z_a@z/09", "/-", "@", "/@/@", strings.Repeat("a", RelPathMax), "/" + strings.Repeat("a", AbsPathMax-1),
}

// badPaths are by what the error says of them.
var badPaths = map[string][]string{
	"it is empty":            {""},
	"ends with a slash":      {"a/", "/a/", "@/", "//"},
	"has an empty element":   {"//a", "/a//b", "a//b", "/a///b"},
	"has the byte 0x20":      {" ", "/a b", "/ ", "/a/ b"},
	"has the byte 0x00":      {"/\x00", "/a\x00", "a\x00b"},
	"has the byte 0x2e":      {"/a.b", "/.", "/..", "../a", "/a/./b"},
	"has the byte 0xc3":      {"/\u00e4"},
	"has the byte 0xff":      {"/\xff"},
	"has the byte 0x0a":      {"/a\n"},
	"has the byte 0x3a":      {"/a:b"},
	"2049 bytes are too":     {strings.Repeat("a", RelPathMax+1), "@" + strings.Repeat("a", RelPathMax)},
	"3073 bytes are too":     {"/" + strings.Repeat("a", AbsPathMax)},
	"1000000 bytes are too ": {"/" + strings.Repeat("/", 999999)},
}

func TestCheckPath(t *testing.T) {
	for _, p := range goodPaths {
		assert.NoError(t, CheckPath(p))
		assert.True(t, obvious(p))
	}
	for want, paths := range badPaths {
		for _, p := range paths {
			err := CheckPath(p)
			assert.ErrorIs(t, err, ErrPath)
			assert.ErrorContains(t, err, want)
			assert.Less(t, len(err.Error()), 200, "a long path is cut")
			assert.False(t, obvious(p))
		}
	}
}

var elements = regexp.MustCompile(`^(/|/?[-a-zA-Z0-9_@]+(/[-a-zA-Z0-9_@]+)*)$`)

// obvious is what CheckPath means, slowly.
func obvious(p string) bool {
	most := RelPathMax
	if strings.HasPrefix(p, "/") {
		most = AbsPathMax
	}
	return len(p) <= most && elements.MatchString(p) && !strings.HasSuffix(p, "\n")
}

func TestCheckPathIsTheObvious(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.OneOf(rapid.StringMatching(`[/a@_Z9\-. \x00\n]{0,12}`), rapid.String()).Draw(t, "path")
		if (CheckPath(p) == nil) != obvious(p) {
			t.Fatalf("%q: %v", p, CheckPath(p))
		}
	})
}

func FuzzCheckPath(f *testing.F) {
	for _, p := range goodPaths {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		err := CheckPath(p)
		require.Equal(t, obvious(p), err == nil, "%q: %v", p, err)
		if err != nil {
			require.ErrorIs(t, err, ErrPath)
			require.Less(t, len(err.Error()), 500)
			return
		}
		if p != "/" && len(p)+2 <= RelPathMax {
			require.NoError(t, CheckPath(p+"/x"), "a child's path")
		}
	})
}

func TestParseDomID(t *testing.T) {
	for s, want := range map[string]DomID{"0": 0, "1": 1, "10": 10, "32751": 32751} {
		got, err := ParseDomID(s)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, s := range []string{"", "00", "01", "+1", "-1", " 1", "1 ", "1\x00", "0x1", "1_0", "32752", "32756", "65535", "65536", "99999", "100000", "a", "\u0661"} {
		got, err := ParseDomID(s)
		assert.EqualError(t, err, fmt.Sprintf("xenstore: %q is no domid", s))
		assert.Zero(t, got)
	}
}

func TestParsePerm(t *testing.T) {
	for s, want := range map[string]Perm{
		"n0": {'n', 0}, "r1": {'r', 1}, "w65535": {'w', 65535}, "b32752": {'b', 32752}, "n10": {'n', 10},
	} {
		got, err := ParsePerm(s)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Equal(t, s, want.String())
	}
	for _, s := range []string{"", "n", "0", "x0", "N0", "n00", "n01", "n+1", "n-1", "n 1", "n65536", "n655350", "nn", "r1\x00", "\x00" + "1", "\xee1", "n1_0"} {
		got, err := ParsePerm(s)
		assert.EqualError(t, err, fmt.Sprintf("xenstore: permission %q: want n, r, w or b and a domid", s))
		assert.Zero(t, got)
	}
	_, err := ParsePerm(strings.Repeat("x", 1000))
	assert.Less(t, len(err.Error()), 200)
}

func TestIDsComeBack(t *testing.T) {
	for n := range 1 << 16 {
		s := strconv.Itoa(n)
		id, err := ParseDomID(s)
		if n < int(FirstReserved) {
			require.NoError(t, err)
			require.Equal(t, DomID(n), id)
		} else {
			require.Error(t, err)
		}
		for _, letter := range []byte("nrwb") {
			p := Perm{letter, DomID(n)}
			got, err := ParsePerm(p.String())
			require.NoError(t, err)
			require.Equal(t, p, got)
		}
	}
}

// What is read is printed as it was: no two texts mean the same domain or permission.
func FuzzIDs(f *testing.F) {
	for _, s := range []string{"0", "32751", "32752", "n0", "b65535", "r07"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseDomID(s); err == nil {
			require.Equal(t, s, strconv.Itoa(int(id)))
			require.Less(t, id, FirstReserved)
		}
		if p, err := ParsePerm(s); err == nil {
			require.Equal(t, s, p.String())
			require.Contains(t, "nrwb", string(p.Letter))
		}
	})
}
