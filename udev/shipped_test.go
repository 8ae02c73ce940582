package udev

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/test/netns"
)

// needUdevadm skips where udev is not installed; the project's own CI installs it, and there its absence is a failure.
func needUdevadm(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("udevadm"); err == nil {
		return
	}
	if os.Getenv("VIFPLUG_CI") == "1" {
		t.Fatal("udevadm is missing: install Debian's package udev")
	}
	t.Skip("needs udevadm (Debian package udev)")
}

// udevadm runs in the test's own namespaces, for the child of a locked thread starts in them.
func udevadm(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("udevadm", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_DEVICE_VERIFY_SYSFS=0", "SYSTEMD_LOG_LEVEL=debug") // the sysfs of some tests is made up
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, complaint := range []string{"ignoring assignment", "Unknown ", "Invalid ", "invalid", "nvalid key", "Conflicting"} {
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "vifplug") {
				assert.NotContains(t, line, complaint)
			}
		}
	}
	return string(out)
}

// install gives the test a machine on which only the shipped files, and systemd's defaults for links, are installed.
func install(t *testing.T) {
	t.Helper()
	needUdevadm(t)
	netns.New(t)
	require.NoError(t, unix.Mount("run", "/run", "tmpfs", 0, ""))
	overlay(t, "/usr/lib/udev/rules.d", "rules/*")
	overlay(t, "/usr/lib/systemd/network", "link/*", "network/*", "/usr/lib/systemd/network/99-default.link")
	for _, dir := range []string{"/etc/udev/rules.d", "/etc/systemd/network"} {
		if _, err := os.Stat(dir); err == nil {
			overlay(t, dir)
		}
	}
}

// overlay hides a directory behind copies of the files named.
func overlay(t *testing.T, dir string, patterns ...string) {
	t.Helper()
	stage := t.TempDir()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(stage, filepath.Base(f)), b, 0o600))
		}
	}
	require.NoError(t, unix.Mount(stage, dir, "", unix.MS_BIND, ""))
}

// backend makes up a xen-backend device in a sysfs of its own, as xenbus shows it.
func backend(t *testing.T, sysname, uevent string) string {
	t.Helper()
	require.NoError(t, unix.Mount("sys", "/sys", "tmpfs", 0, ""))
	dev := "/sys/devices/" + sysname
	for _, dir := range []string{dev, "/sys/bus/xen-backend/devices", "/sys/bus/xen-backend/drivers/vif"} {
		require.NoError(t, os.MkdirAll(dir, 0o700))
	}
	require.NoError(t, os.Symlink("../../bus/xen-backend", dev+"/subsystem"))
	require.NoError(t, os.Symlink("../../bus/xen-backend/drivers/vif", dev+"/driver"))
	require.NoError(t, os.Symlink("../../../devices/"+sysname, "/sys/bus/xen-backend/devices/"+sysname))
	require.NoError(t, os.WriteFile(dev+"/uevent", []byte(uevent), 0o600))
	return dev
}

// runs picks out what udev would run, and with which of the variables that vif-plug reads.
func runs(out string) []string {
	var got []string
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "run: ") {
			got = append(got, strings.Trim(strings.TrimPrefix(line, "run: "), "'"))
		}
	}
	return got
}

func TestRulesRunVifPlug(t *testing.T) {
	const plug = "/usr/sbin/vif-plug"
	for _, tc := range []struct {
		name, sysname, action, script string
		want                          []string
	}{
		{"online", "vif-5-0", "online", "/etc/xen/scripts/vif-plug", []string{plug + " online type_if=vif"}},
		{"offline", "vif-5-0", "offline", "/etc/xen/scripts/vif-plug", []string{plug + " offline type_if=vif"}},
		{"a script that does nothing", "vif-5-0", "online", "/bin/true", []string{plug + " online type_if=vif"}},
		{"no script told", "vif-5-0", "online", "", []string{plug + " online type_if=vif"}},
		{"probe", "vif-5-0", "add", "/bin/true", nil},
		{"bind", "vif-5-0", "bind", "/bin/true", nil},
		{"change", "vif-5-0", "change", "/bin/true", nil},
		{"unregistered", "vif-5-0", "remove", "/bin/true", nil},
		{"a disk", "vbd-5-51712", "online", "/etc/xen/scripts/block", nil},
		{"Xen's script", "vif-5-0", "online", "/etc/xen/scripts/vif-bridge", nil},
		{"Xen's script, bare", "vif-5-0", "online", "vif-route", nil},
		{"Xen's script leaves", "vif-5-0", "offline", "/etc/xen/scripts/vif-openvswitch", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			install(t)
			uevent := "DRIVER=vif\nXENBUS_TYPE=vif\nXENBUS_PATH=backend/vif/5/0\nXENBUS_BASE_PATH=backend\nvif=vif5.0\n"
			if tc.script != "" {
				uevent += "script=" + tc.script + "\n"
			}
			out := udevadm(t, "test", "--action", tc.action, backend(t, tc.sysname, uevent))
			assert.Equal(t, tc.want, runs(out), out)
			for _, v := range []string{"XENBUS_TYPE=vif", "XENBUS_PATH=backend/vif/5/0", "XENBUS_BASE_PATH=backend", "vif=vif5.0"} {
				assert.Contains(t, out, "\n"+v+"\n", "what vif-plug reads passes through")
			}
		})
	}
}

// tap makes a tap device as QEMU does, but one that stays.
func tap(t *testing.T, name string) string {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skipf("needs /dev/net/tun: %v", err)
	}
	require.NoError(t, err, "CI must have /dev/net/tun")
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	require.NoError(t, err)
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	require.NoError(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	require.NoError(t, unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1))
	return "/sys/class/net/" + name
}

func TestTapsAreLeftAlone(t *testing.T) {
	install(t)
	for name, ours := range map[string]bool{
		"vif5.0-emu": true, "vif12345.10-emu": true, "web-emu": true, "tap5.0": true, "tap32751.3": true,
		"tap0": false, "vnet3": false, "tapestry.0": false,
	} {
		dev := tap(t, name)
		rules := udevadm(t, "test", dev)
		link := udevadm(t, "test-builtin", "net_setup_link", dev)
		assert.Equal(t, ours, strings.Contains(rules, "\nNM_UNMANAGED=1\n"), name)
		assert.Equal(t, ours, strings.Contains(rules, "\nID_NET_MANAGED_BY=vifplug\n"), name)
		assert.Equal(t, ours, strings.Contains(link, "\nID_NET_LINK_FILE=/usr/lib/systemd/network/05-vifplug-tap.link\n"), name)
		assert.Equal(t, ours, !strings.Contains(link, "Applying persistent MAC address"), name)
	}
}

// A tap is plugged by its name, wherever it comes from; what only ends like one is not asked about.
func TestRulesRunVifPlugForTaps(t *testing.T) {
	install(t)
	for name, ours := range map[string]bool{
		"vif5.0-emu": true, "vif12345.10-emu": true, "tap5.0": true, "tap32751.3": true, "web-emu": false, "vifweb-emu": false, "tap0": false, "tapestry.0": false,
	} {
		dev := tap(t, name)
		for action, want := range map[string]string{"add": "add", "remove": "remove", "move": "", "change": ""} {
			out := udevadm(t, "test", "--action", action, dev)
			if want == "" || !ours {
				assert.Empty(t, runs(out), "%s %s", action, name)
				continue
			}
			assert.Equal(t, []string{"/usr/sbin/vif-plug " + want + " type_if=tap"}, runs(out), "%s %s", action, name)
			assert.Contains(t, out, "\nINTERFACE="+name+"\n", "what vif-plug reads passes through")
		}
	}
}

// A vif is known by its driver whatever its name is, and a bridge called like a vif or a tap is not taken for one.
func TestVifsAreLeftAlone(t *testing.T) {
	install(t)
	dev := backend(t, "vif-5-0", "DRIVER=vif\n")
	require.NoError(t, os.MkdirAll("/sys/class/net", 0o700))
	for name, parent := range map[string]string{"vif5.0": dev, "uplink": dev, "x-emu": "/sys/devices/virtual"} {
		path := parent + "/net/" + name
		require.NoError(t, os.MkdirAll(path, 0o700))
		require.NoError(t, os.Symlink("/sys/class/net", path+"/subsystem"))
		require.NoError(t, os.WriteFile(path+"/uevent", []byte("INTERFACE="+name+"\nIFINDEX=7\n"), 0o600))
		for _, action := range []string{"add", "move", "change"} {
			out := udevadm(t, "test", "--action", action, path)
			assert.Equal(t, parent == dev, strings.Contains(out, "\nNM_UNMANAGED=1\n"), "%s %s", action, name)
			assert.Empty(t, runs(out))
		}
	}
}
