// Package xenstoretest gives a test a xenstore of its own: the embedded one, or Debian's C xenstored beside a stand-in for the hypervisor.
//
// Both listen on a Unix socket, both end with the test, and one conformance suite (../xenstored/conformance_test.go) keeps them alike.
package xenstoretest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"vifplug/test/realstore"
	"vifplug/xenstore/xenstored"
)

// Start serves an embedded store until the test ends. The target is what xenstore.Open takes: "unix:PATH".
func Start(t testing.TB) (target string) {
	target, _ = StartServer(t)
	return target
}

// StartServer is Start for a test that needs the server too: to speak as a guest (ServeConn) or to have a domain die (Kill).
func StartServer(t testing.TB) (target string, s *xenstored.Server) {
	t.Helper()
	path := socketPath(t)
	l, err := xenstored.Listen(path)
	if err != nil {
		t.Fatalf("xenstoretest: %v", err)
	}
	s = xenstored.New(nil)
	served := make(chan error, 1)
	go runServe(s, l, served)
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Errorf("xenstoretest: %v", err)
		}
	})
	return "unix:" + path, s
}

func runServe(s *xenstored.Server, l net.Listener, served chan<- error) { served <- s.Serve(l) }

// socketPath is a path short enough for a socket, whatever the test's name.
func socketPath(t testing.TB) string {
	const most = 100 // sun_path holds 107 bytes
	if p := filepath.Join(t.TempDir(), "xenstored.sock"); len(p) < most {
		return p
	}
	dir, err := os.MkdirTemp("", "xs")
	if err != nil {
		t.Fatalf("xenstoretest: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// StartReal runs Debian's C xenstored until the test ends; kill has it find a domain dead. Where the daemon or gcc is not installed the test is
// skipped, or fails in CI (VIFPLUG_CI=1), where they must be.
func StartReal(t testing.TB) (target string, kill func(domid uint16)) {
	t.Helper()
	s := StartRealStore(t)
	return "unix:" + s.Socket, func(domid uint16) {
		if err := s.Kill(domid); err != nil {
			t.Errorf("xenstoretest: %v", err)
		}
	}
}

// StartRealStore is StartReal for a test that needs more of the daemon, such as its process id or a guest's ring.
func StartRealStore(t testing.TB) *realstore.Store {
	t.Helper()
	s, err := realstore.Start()
	if errors.Is(err, realstore.ErrMissing) && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("xenstoretest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("xenstoretest: %v", err)
		}
	})
	return s
}
