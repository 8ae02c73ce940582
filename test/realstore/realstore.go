// Package realstore runs Debian's own C xenstored on a machine without Xen: a small library (shim/noxen.c) stands in for the hypervisor calls, the
// store, its protocol, watches, transactions, quotas and permissions are the real daemon's. It needs gcc and xen-utils-4.17.
package realstore

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

//go:embed shim/noxen.c
var noxen []byte

// Binary is the store's daemon.
const Binary = "/usr/lib/xen-4.17/bin/xenstored"

// ErrMissing says that this machine lacks what is needed; the error names it and the package.
var ErrMissing = errors.New("realstore: missing")

// Store is a running daemon.
type Store struct {
	Socket string // its socket; connections speak as dom0
	dir    string
	cmd    *exec.Cmd
	log    bytes.Buffer
}

// Start runs a daemon with an empty store in a directory of its own.
func Start() (*Store, error) {
	if err := check(Binary); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "realstore")
	if err != nil {
		return nil, err
	}
	s := &Store{Socket: filepath.Join(dir, "socket"), dir: dir}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func check(binary string) error {
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("%w: %s. apt-get install xen-utils-4.17", ErrMissing, binary)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		return fmt.Errorf("%w: gcc. apt-get install gcc libc6-dev", ErrMissing)
	}
	return nil
}

func (s *Store) start() error {
	lib := filepath.Join(s.dir, "noxen.so")
	if err := compile(lib); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(s.dead(), 0o755), os.Mkdir(s.rings(), 0o755)); err != nil {
		return err
	}
	if err := syscall.Mkfifo(s.events(), 0o600); err != nil {
		return fmt.Errorf("realstore: %s: %w", s.events(), err)
	}
	s.cmd = exec.Command(Binary, "-N", "--internal-db", "--pid-file", filepath.Join(s.dir, "pid"))
	s.cmd.Env = append(os.Environ(), "LD_PRELOAD="+lib, "XENSTORED_RUNDIR="+s.dir, "XENSTORED_PATH="+s.Socket, "NOXEN_DEAD="+s.dead(), "NOXEN_RINGS="+s.rings())
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("realstore: %w", err)
	}
	return s.await()
}

func compile(lib string) error {
	cc := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-w", "-x", "c", "-o", lib, "-", "-ldl")
	cc.Stdin = bytes.NewReader(noxen)
	if out, err := cc.CombinedOutput(); err != nil {
		return fmt.Errorf("realstore: compile noxen.c: %w\n%s", err, out)
	}
	return nil
}

// await connects until the daemon listens.
func (s *Store) await() error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("unix", s.Socket)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("realstore: the daemon does not listen: %w\n%s", err, s.log.String())
		}
		time.Sleep(5 * time.Millisecond) // between two attempts, not instead of one
	}
}

func (s *Store) dead() string   { return filepath.Join(s.dir, "dead") }
func (s *Store) rings() string  { return filepath.Join(s.dir, "rings") }
func (s *Store) events() string { return filepath.Join(s.rings(), "events") }

// PID is the daemon's.
func (s *Store) PID() int { return s.cmd.Process.Pid }

// Revive has the stand-in know the domain again: its id can be used for another.
func (s *Store) Revive(domid uint16) error {
	if err := os.Remove(filepath.Join(s.dead(), fmt.Sprint(domid))); err != nil {
		return fmt.Errorf("realstore: %w", err)
	}
	return nil
}

// Kill has the daemon find a domain dead, as the hypervisor's VIRQ_DOM_EXC does. The daemon looks soon after, not before Kill returns.
func (s *Store) Kill(domid uint16) error {
	if err := os.WriteFile(filepath.Join(s.dead(), fmt.Sprint(domid)), nil, 0o600); err != nil {
		return err
	}
	return s.cmd.Process.Signal(syscall.SIGUSR1)
}

// Close ends the daemon and removes its directory.
func (s *Store) Close() error {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	return os.RemoveAll(s.dir)
}
