package netns

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
)

func here(t *testing.T) string {
	t.Helper()
	ns, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	return ns
}

func TestNewIsEmptyAndItsOwn(t *testing.T) {
	before := here(t)
	New(t)
	assert.NotEqual(t, before, here(t))
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, l := range links {
		assert.NotRegexp(t, `^(eth|en|veth|vif)`, l.Name, "only what the kernel makes in every namespace")
	}
	require.NoError(t, bridgetest.MakeBridge("br0", 1500))
	assert.FileExists(t, "/sys/class/net/br0/ifindex", "sysfs is the namespace's")
	out, err := exec.Command("readlink", "/proc/self/ns/net").Output()
	require.NoError(t, err)
	assert.Equal(t, here(t), strings.TrimSpace(string(out)), "a child process is inside")
}

func TestSubtestsAreOutsideUnlessTheyEnter(t *testing.T) {
	s := New(t)
	inside := here(t)
	t.Run("outside", func(t *testing.T) { assert.NotEqual(t, inside, here(t)) })
	t.Run("entered", func(t *testing.T) {
		require.NoError(t, s.Enter())
		assert.Equal(t, inside, here(t))
		assert.NoFileExists(t, "/sys/class/net/eth0/ifindex")
	})
	t.Run("after", func(t *testing.T) { assert.NotEqual(t, inside, here(t), "the thread that entered is gone") })
	assert.Equal(t, inside, here(t))
}

func TestBesideAndDo(t *testing.T) {
	outside := here(t)
	s := Beside(t)
	assert.Equal(t, outside, here(t), "the caller stays")
	var inside string
	require.NoError(t, s.Do(func() error {
		inside = here(t)
		return bridgetest.MakeVeth("one", "two")
	}))
	assert.NotEqual(t, outside, inside)
	require.Error(t, s.Do(func() error { return bridgetest.SetUp("three") }))

	New(t)
	require.NoError(t, s.Bring("two"))
	names, err := bridgetest.Names()
	require.NoError(t, err)
	assert.Contains(t, names, "two")
	assert.NotContains(t, names, "one")
}

func TestAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		require.ErrorIs(t, Again(t.Context()), ErrRoot)
		require.NotEqual(t, "1", os.Getenv("VIFPLUG_CI"), "CI must give root")
		t.Skip("needs root: it makes a network namespace")
	}
	for _, tc := range []struct {
		how  string
		code int
	}{{"succeed", 0}, {"fail", 1}} {
		c := exec.Command(os.Args[0], "some", "arguments")
		c.Env = append(os.Environ(), asked+"="+tc.how)
		out, err := c.CombinedOutput()
		assert.Equal(t, tc.code, c.ProcessState.ExitCode(), "%s: %v", tc.how, err)
		assert.Contains(t, string(out), "[some arguments]")
		assert.NotContains(t, string(out), here(t), "it is elsewhere")
	}
}
