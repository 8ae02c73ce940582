package bridge

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// playedSysfs hides /sys, for this test alone, behind one in which a device has a parent, as netback's devices do.
func playedSysfs(t *testing.T, name string, index int) {
	t.Helper()
	require.NoError(t, unix.Mount("tmpfs", "/sys", "tmpfs", 0, ""))
	dev, net := "/sys/devices/vif-5-0", filepath.Join("/sys/class/net", name)
	for _, dir := range []string{dev, net, "/sys/bus/xen-backend"} {
		require.NoError(t, os.MkdirAll(dir, 0o700))
	}
	require.NoError(t, os.Symlink("/sys/bus/xen-backend", dev+"/subsystem"))
	require.NoError(t, os.Symlink("../../../devices/vif-5-0", net+"/device"))
	require.NoError(t, os.WriteFile(net+"/ifindex", []byte(strconv.Itoa(index)+"\n"), 0o600))
}

func TestParentBySysfs(t *testing.T) {
	isolated(t)
	playedSysfs(t, "vif5.0", 42)
	for name, tc := range map[string]struct {
		link   Link
		parent string
	}{
		"an old kernel's netback device":       {Link{Index: 42, Name: "vif5.0"}, "vif-5-0"},
		"a kernel that names parents, no such": {Link{Index: 42, Name: "vif5.0", parentIsReported: true}, ""},
		"a namesake in another namespace":      {Link{Index: 43, Name: "vif5.0"}, ""},
		"one that sysfs does not know":         {Link{Index: 42, Name: "vif6.0"}, ""},
	} {
		l := tc.link
		l.findParent()
		assert.Equal(t, tc.parent, l.Parent, name)
		assert.Equal(t, tc.parent != "", l.ParentBus == "xen-backend", name)
	}
	require.NoError(t, os.Remove("/sys/devices/vif-5-0/subsystem"))
	l := Link{Index: 42, Name: "vif5.0"}
	l.findParent()
	assert.Zero(t, l.Parent, "half an answer is none")
}

// A device without a parent has none, whoever is asked: on a kernel that names parents sysfs is not even looked at.
func TestNoParent(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	l, err := c.Link(v)
	require.NoError(t, err)
	assert.Zero(t, l.Parent)
	assert.Zero(t, l.ParentBus)
	playedSysfs(t, "vif5.0", v)
	again, err := c.Link(v)
	require.NoError(t, err)
	assert.Equal(t, !l.parentIsReported, again.Parent == "vif-5-0")
}
