package bridge

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/test/netns"
)

// needs skips a test where the kernel lacks something. The lab's kernel lacks nothing, nor does a distribution's in CI: there "no" is a failure,
// so that skips cannot rot.
func needs(t *testing.T, what string, probe func() (Support, error)) {
	t.Helper()
	answer, err := probe()
	require.NoError(t, err, what)
	require.NotEqual(t, Unknown, answer, what)
	if answer == Supported {
		return
	}
	require.Empty(t, os.Getenv("XENVM"), "Debian's kernel has %s, and the probe says that it has not", what)
	require.False(t, os.Getenv("VIFPLUG_CI") == "1" && modular(t), "a distribution's kernel has %s, and the probe says that it has not", what)
	t.Skipf("this kernel has no %s", what)
}

// modular says that the kernel has modules beside it, as those of distributions have.
func modular(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	require.NoError(t, unix.Uname(&u))
	_, err := os.Stat("/lib/modules/" + unix.ByteSliceToString(u.Release[:]) + "/kernel")
	return err == nil
}

func TestProbesLeaveNothing(t *testing.T) {
	c, _ := isolated(t)
	before := hostOf(t, c)
	for _, probe := range []func() (Support, error){c.ProbeBonding, c.ProbeVLAN, c.ProbeVLANFiltering} {
		answer, err := probe()
		require.NoError(t, err)
		assert.NotEqual(t, Unknown, answer)
		again, err := probe()
		require.NoError(t, err)
		assert.Equal(t, answer, again)
	}
	assert.Equal(t, before, hostOf(t, c))
}

func TestSupportIsAWord(t *testing.T) {
	assert.Equal(t, []string{"unknown", "supported", "not supported"}, []string{Unknown.String(), Supported.String(), NotSupported.String()})
}

func TestProbeThatCannotTell(t *testing.T) {
	netns.New(t)
	c, err := Open()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	for _, probe := range []func() (Support, error){c.ProbeBonding, c.ProbeVLAN, c.ProbeVLANFiltering} {
		answer, err := probe()
		require.Error(t, err)
		assert.Equal(t, Unknown, answer)
	}
}

// A kernel that takes every device and then says nothing of it lacks it.
func TestProbeOfAKernelThatIgnores(t *testing.T) {
	c, _ := isolated(t)
	answer, err := c.probe(Device{Kind: "bridge"}, func(Device) bool { return false })
	require.NoError(t, err)
	assert.Equal(t, NotSupported, answer)
	answer, err = c.probe(Device{Kind: "nothing"}, func(Device) bool { return true })
	require.NoError(t, err)
	assert.Equal(t, NotSupported, answer)
}
