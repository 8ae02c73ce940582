package systemd

import (
	"fmt"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify tells the service manager about the daemon, in one message of lines such as READY=1 (systemd: sd_notify(3)). Without a service
// manager (no $NOTIFY_SOCKET) it does nothing.
func Notify(state ...string) error {
	_, err := daemon.SdNotify(false, strings.Join(state, "\n"))
	if err != nil {
		return fmt.Errorf("systemd: notify %s: %w", os.Getenv("NOTIFY_SOCKET"), err)
	}
	return nil
}

// Listens says whether there is a service manager that Notify tells.
func Listens() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Ready says that the daemon serves: its first full look at the host is done. status is the line that systemctl status shows.
func Ready(status string) error { return Notify(daemon.SdNotifyReady, statusLine(status)) }

// Stopping says that the daemon is about to end by its own will.
func Stopping() error { return Notify(daemon.SdNotifyStopping) }

// Status changes the line that systemctl status shows.
func Status(status string) error { return Notify(statusLine(status)) }

// statusLine keeps a status on one line: a line break would begin another assignment.
func statusLine(s string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, limit(s, maxValue))
}
