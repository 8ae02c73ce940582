package bridgetest

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Await waits until a descriptor is ready for one of some events (unix.POLLIN and others), for a time at most, and says whether it is. A signal ends poll(2),
// and a read with a time limit too, whatever its handler says, and Go's runtime signals its own threads when it likes: Await goes on for what is left of the time.
func Await(fd int, events int16, most time.Duration) (bool, error) {
	for late := time.Now().Add(most); ; {
		left := (max(0, time.Until(late)) + time.Millisecond - 1) / time.Millisecond
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(left))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll: %w", err)
		}
		return n > 0, nil
	}
}

// Readable waits until there is something to be read. A descriptor that cannot be asked has nothing.
func Readable(fd int, most time.Duration) bool {
	ok, err := Await(fd, unix.POLLIN, most)
	return ok && err == nil
}
