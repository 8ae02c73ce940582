package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Numbers are the files' descriptors in this process, as QEMU's fds= has them: "7:9".
func Numbers(files []*os.File) string {
	words := make([]string, len(files))
	for i, f := range files {
		words[i] = strconv.Itoa(int(f.Fd()))
	}
	return strings.Join(words, ":")
}

// Become has this process go on as another program, which has the files open under the numbers that they have here. It returns only when it cannot.
// The program is looked for as a shell does. lock is how many bytes of memory the program must be able to lock, which it is given leave for if this
// process may do that.
func Become(command []string, files []*os.File, lock uint64) error {
	if len(command) == 0 {
		return errors.New("qemu: start: there is no command")
	}
	path, err := lookPath(command[0])
	if err != nil {
		return fmt.Errorf("qemu: start %s: %w", command[0], err)
	}
	for _, f := range files {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil { // let it be inherited
			return fmt.Errorf("qemu: start %s: hand over %s: %w", command[0], f.Name(), err)
		}
	}
	if err := mayLock(lock); err != nil {
		return fmt.Errorf("qemu: start %s: %w", command[0], err)
	}
	return fmt.Errorf("qemu: start %s: %w", path, unix.Exec(path, command, os.Environ()))
}

// lookPath finds a program in PATH, or where its name says.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if filepath.IsAbs(path) && unix.Access(path, unix.X_OK) == nil {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("there is no such program in PATH: %w", os.ErrNotExist)
}

// mayLock raises RLIMIT_MEMLOCK by so many bytes. Who has CAP_IPC_LOCK needs none, so that not being allowed is no error here.
func mayLock(bytes uint64) error {
	var limit unix.Rlimit
	if bytes == 0 {
		return nil
	}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("ask for RLIMIT_MEMLOCK: %w", err)
	}
	if limit.Cur > unix.RLIM_INFINITY-bytes {
		return nil
	}
	limit.Cur += bytes
	limit.Max = max(limit.Max, limit.Cur)
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("raise RLIMIT_MEMLOCK to %d: %w", limit.Cur, err)
	}
	return nil
}
