// Command minimal-client is the yardstick of `make bench` for a process that asks a Unix socket one question: the least that a Go program
// with a socket can be. It does nothing else.
package main

import (
	"os"
	"syscall"
)

func main() {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		os.Exit(1)
	}
	if len(os.Args) != 2 || syscall.Connect(fd, &syscall.SockaddrUnix{Name: os.Args[1]}) != nil {
		os.Exit(1)
	}
	if _, err := syscall.Write(fd, []byte("question\n")); err != nil {
		os.Exit(1)
	}
	var b [64]byte
	if n, err := syscall.Read(fd, b[:]); err != nil || n == 0 {
		os.Exit(1)
	}
}
