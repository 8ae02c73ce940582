package udev

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sysname(front uint16, dev uint32) string { return fmt.Sprintf("vif-%d-%d", front, dev) }

// isolate gives the test's thread a network and a mount namespace of its own, with the sysfs that belongs to them. The thread is never
// unlocked: it dies with the test, and the namespaces with it.
func isolate(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	runtime.LockOSThread()
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS))
	require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	require.NoError(t, unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
}

// trigger makes the kernel send a real uevent of the namespace's loopback device.
func trigger(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile("/sys/class/net/lo/uevent", []byte(text), 0o600))
}
