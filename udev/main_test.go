package udev

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sysname(front uint16, dev uint32) string { return fmt.Sprintf("vif-%d-%d", front, dev) }

// trigger makes the kernel send a real uevent of the namespace's loopback device.
func trigger(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile("/sys/class/net/lo/uevent", []byte(text), 0o600))
}
