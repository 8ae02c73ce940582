package main

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"vifplug/hotplug/ask"
)

// daemons are where vifplugd may be, besides where this program is.
var daemons = []string{"/usr/sbin/vifplugd", "/usr/local/sbin/vifplugd"}

// alone has this process go on as a daemon for one NIC: to plug or release it, or to leave an error in its node. It returns only when it
// cannot.
func alone(command string, inv ask.Invocation, deadline time.Time, text string) error {
	paths := daemons
	if self, err := os.Executable(); err == nil {
		paths = append([]string{self[:strings.LastIndexByte(self, '/')+1] + "vifplugd"}, daemons...)
	}
	left := max(time.Until(deadline), time.Second).Round(time.Millisecond).String()
	args := []string{"vifplugd", "--once", command, "--xenbus-path", inv.XenbusPath, "--patience", left, "--error-text", text}
	if dir := os.Getenv("VIFPLUG_CONFIG"); dir != "" {
		args = append(args, "--config", dir)
	}
	if os.Getenv("VIFPLUG_ANY_NETDEV") == "1" {
		args = append(args, "--any-netdev")
	}
	for _, p := range paths {
		if err := syscall.Exec(p, args, os.Environ()); !errors.Is(err, syscall.ENOENT) {
			return errors.New("vif-plug: " + p + ": " + err.Error())
		}
	}
	return errors.New("vif-plug: vifplugd is not running, and there is no " + strings.Join(paths, " or ") + " to do the work alone. Install vifplug completely, then start vifplugd")
}
