package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckPlain(t *testing.T) {
	for name, tt := range map[string]struct {
		without, want string
		free          uint64
		built         bool
	}{
		"all":             {free: 1000},
		"qemu, built":     {without: "qemu-system-x86_64", built: true, want: "Install Debian's package qemu-system-x86:"},
		"busybox, built":  {without: busybox, built: true, want: "Install Debian's package busybox-static:"},
		"dpkg":            {without: "dpkg-deb", free: 1000, want: "Install Debian's package dpkg:"},
		"dpkg, built":     {without: "dpkg-deb", built: true},
		"xen":             {without: xenFile, free: 1000},
		"no space":        {free: 199, want: "/cache has 199 MiB free, and building the guest takes 200. Free some space"},
		"no space, built": {built: true},
	} {
		has := func(path string) bool { return path != tt.without }
		err := Host{Exists: has, LookPath: has, FreeDisk: func(string) uint64 { return tt.free }}.checkPlain("/cache", tt.built)
		if tt.want == "" {
			assert.NoError(t, err, name)
			continue
		}
		assert.ErrorContains(t, err, tt.want, name)
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	assert.False(t, plain.complete(dir))
	for _, f := range plain.files {
		assert.False(t, plain.complete(dir), "without %s", f)
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), nil, 0o600))
	}
	assert.True(t, plain.complete(dir))
	assert.False(t, lab.complete(dir))
}
