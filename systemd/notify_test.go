package systemd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNotify(t *testing.T) {
	path, read := datagrams(t)
	t.Setenv("NOTIFY_SOCKET", path)
	require.NoError(t, Ready("3 NICs plugged"))
	assert.Equal(t, "READY=1\nSTATUS=3 NICs plugged", read())
	require.NoError(t, Status("4 NICs\nMAINPID=1\x00"))
	assert.Equal(t, "STATUS=4 NICs MAINPID=1 ", read(), "a status stays a status")
	require.NoError(t, Status(strings.Repeat("x", 2*maxValue)))
	assert.Equal(t, "STATUS="+strings.Repeat("x", maxValue)+"…", read())
	require.NoError(t, Stopping())
	assert.Equal(t, "STOPPING=1", read())
	require.NoError(t, Notify("RELOADING=1", "STATUS=reading"))
	assert.Equal(t, "RELOADING=1\nSTATUS=reading", read())
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	require.NoError(t, Ready(""))
	t.Setenv("NOTIFY_SOCKET", t.TempDir()+"/none")
	require.ErrorContains(t, Ready(""), "systemd: notify ")
}
