package host

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clock tells the time in a way that nobody can set: how long the machine has been up, suspended or not, and which boot that counts from.
type clock interface {
	Boot() (string, error)
	Uptime() (time.Duration, error)
}

type kernelClock struct{}

func (kernelClock) Boot() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("host: read the boot's id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

func (kernelClock) Uptime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("host: read CLOCK_BOOTTIME: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
