// Command probe confines itself and then does what its argument says, for the tests of package confine.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vifplug/qemu/loop/confine"
)

var parent = os.Getppid()

func main() {
	o := confine.Options{UID: 65534, GID: 65534}
	if len(os.Args) > 2 {
		o.Root, o.Dial = os.Args[2], true
	}
	if err := confine.Drop(o); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	fmt.Println("confined")
	if err := do(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(4)
	}
	fmt.Println("done")
}

func do(what string) error {
	switch what {
	case "work":
		return work()
	case "open":
		_, err := os.ReadFile("/etc/passwd")
		return err
	case "openat":
		_, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		return err
	case "socket":
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		return err
	case "unix":
		_, err := net.Dial("unix", "/s")
		return err
	case "exec":
		return syscall.Exec("/bin/true", []string{"true"}, nil)
	case "fork":
		_, _, errno := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
		return errno
	case "kill":
		return unix.Kill(1, 0)
	case "tgkill":
		return unix.Tgkill(parent, parent, 0)
	case "ptrace":
		return syscall.PtraceAttach(parent)
	case "executable":
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	case "connect": // what a loop that connects does
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrUnix{Name: "/s"})
	case "escape":
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrUnix{Name: "/../outside"})
	}
	return fmt.Errorf("%q: %w", what, strconv.ErrSyntax)
}

// work does what Go's runtime does in a life: threads, memory, garbage, timers, signals.
func work() error {
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go runThread(&wg)
	}
	wg.Wait()
	var keep [][]byte
	for i := range 200 {
		keep = append(keep, make([]byte, 1<<18))
		if i%50 == 0 {
			keep = nil
			runtime.GC()
		}
	}
	runtime.KeepAlive(keep)
	<-time.After(50 * time.Millisecond)
	return nil
}

func runThread(wg *sync.WaitGroup) {
	defer wg.Done()
	runtime.LockOSThread() // and it ends with the goroutine
	_, _ = unix.Poll(nil, 20)
}
