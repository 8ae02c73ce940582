package netns

import (
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
)

// Do runs a function in the namespace, on a thread of its own that ends with it, and gives its error. Sockets that it opens stay inside; a process
// that it starts with Pdeathsig ends when it returns.
func (s *Space) Do(do func() error) error {
	done := make(chan error)
	go runInside(s, do, done)
	return <-done
}

func runInside(s *Space, do func() error, done chan<- error) {
	err := s.Enter()
	if err == nil {
		err = do()
	}
	done <- err
}

// Bring moves a link of the namespace to that of the calling thread, which must be locked.
func (s *Space) Bring(link string) error {
	here := unix.Gettid()
	return s.Do(func() error { return bridgetest.MoveTo(link, here) })
}
