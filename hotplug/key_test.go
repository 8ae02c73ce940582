package hotplug

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore"
)

func TestParseVIF(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Key
		ok   bool
	}{
		{"vif5.0", Key{Front: 5, Device: 0}, true},
		{"vif32751.12", Key{Front: 32751, Device: 12}, true},
		{"vif0.0", Key{Front: 0, Device: 0}, true},
		{"vif5", Key{}, false},
		{"vif5.", Key{}, false},
		{"vif.0", Key{}, false},
		{"vif05.0", Key{}, false},
		{"vif5.00", Key{}, false},
		{"vif+5.0", Key{}, false},
		{"vif5.0-emu", Key{}, false},
		{"vif5.0 ", Key{}, false},
		{"tap5.0", Key{}, false},
		{"vif5.4294967296", Key{}, false},
		{"vif99999.0", Key{}, false},
		{"", Key{}, false},
	} {
		got, err := ParseVIF(c.in)
		assert.Equal(t, c.ok, err == nil, "%q: %v", c.in, err)
		assert.Equal(t, c.want, got, c.in)
	}
}

func TestParseXenbusPath(t *testing.T) {
	for in, want := range map[string]Key{
		"backend/vif/5/0":                 {Front: 5, Device: 0},
		"/local/domain/0/backend/vif/5/1": {Front: 5, Device: 1},
		"/local/domain/7/backend/vif/5/1": {Front: 5, Device: 1},
	} {
		got, err := ParseXenbusPath(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got)
	}
	for _, in := range []string{
		"", "backend/vif/5", "backend/vif/5/", "backend/vif/5/0/", "backend/vif/5/0/state", "backend/vbd/5/0", "backend/vif/-1/0",
		"/local/domain/x/backend/vif/5/0", "/local/domain/0", "../backend/vif/5/0", "backend/vif/5/0\n", "/backend/vif/5/0",
	} {
		_, err := ParseXenbusPath(in)
		assert.Error(t, err, in)
	}
}

// A name that is cut to the kernel's 15 bytes is still the kernel's name.
func TestVIFNameIsCutAsTheKernelDoes(t *testing.T) {
	assert.Equal(t, "vif5.0", Key{Front: 5, Device: 0}.VIF())
	assert.Equal(t, "vif32751.429496", Key{Front: 32751, Device: 4294967295}.VIF())
	assert.Len(t, Key{Front: 32751, Device: 4294967295}.VIF(), 15)
}

func TestLayoutSplit(t *testing.T) {
	l := newLayout(0)
	for _, c := range []struct {
		path  string
		key   Key
		leaf  string
		depth int
	}{
		{"/local/domain/0/backend/vif", Key{}, "", 0},
		{"/local/domain/0/backend/vif/5", Key{Front: 5}, "", 1},
		{"/local/domain/0/backend/vif/5/0", Key{Front: 5, Device: 0}, "", 2},
		{"/local/domain/0/backend/vif/5/0/state", Key{Front: 5, Device: 0}, "state", 3},
		{"/local/domain/0/backend/vif/5/0/queue-0/x", Key{Front: 5, Device: 0}, "queue-0/x", 3},
		{"/local/domain/0/backend/vif/junk/0", Key{}, "", -1},
		{"/local/domain/0/backend/vif/5/junk", Key{}, "", -1},
		{"/local/domain/0/backend/vbd/5/0", Key{}, "", -1},
		{"/local/domain/7/backend/vif/5/0", Key{}, "", -1},
	} {
		k, leaf, depth := l.split(c.path)
		assert.Equal(t, c.depth, depth, c.path)
		assert.Equal(t, c.key, k, c.path)
		assert.Equal(t, c.leaf, leaf, c.path)
	}
}

func FuzzParseKeys(f *testing.F) {
	for _, s := range []string{"vif5.0", "vif-5-0", "backend/vif/5/0", "/local/domain/0/backend/vif/5/0", "vif05.0", "vif5.0-emu"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseVIF(s); err == nil && len(s) <= maxName && k.VIF() != s {
			t.Errorf("ParseVIF(%q) = %v, which is called %q", s, k, k.VIF())
		}
		if k, err := ParseParent(s); err == nil && k.Parent() != s {
			t.Errorf("ParseParent(%q) gives %q", s, k.Parent())
		}
		if k, err := ParseXenbusPath(s); err == nil && !strings.HasSuffix(newLayout(0).backend(k), s[strings.Index(s, "backend/"):]) {
			t.Errorf("ParseXenbusPath(%q) = %v", s, k)
		}
		l := newLayout(xenstore.DomID(0))
		if k, leaf, depth := l.split(s); depth == 3 && l.backend(k)+"/"+leaf != s {
			t.Errorf("split(%q) = %v %q", s, k, leaf)
		}
	})
}
