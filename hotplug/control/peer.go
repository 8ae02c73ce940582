package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a connection, by the kernel's word.
type peer struct {
	uid, gid int
	pid      int
	err      error
}

type peerKey struct{}

// withPeer reads the credentials once a connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

func peerOf(c net.Conn) peer {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return peer{err: errors.New("not a Unix socket")}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	var cred *unix.Ucred
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return peer{err: err}
	}
	if sockErr != nil {
		return peer{err: sockErr}
	}
	return peer{uid: int(cred.Uid), gid: int(cred.Gid), pid: int(cred.Pid)}
}

// mayWrite is a pure judgement: root, and the user that the daemon itself runs as.
func (p peer) mayWrite(self int) bool { return p.err == nil && (p.uid == 0 || p.uid == self) }

// mayRead adds the members of the reader group. groups gives a process's supplementary groups.
func (p peer) mayRead(self, readers int, groups func(pid int) []int) bool {
	if p.mayWrite(self) {
		return true
	}
	return p.err == nil && readers >= 0 && (p.gid == readers || slices.Contains(groups(p.pid), readers))
}

// groupsOf reads a process's supplementary groups (linux: Documentation/filesystems/proc.rst, status, Groups).
func groupsOf(pid int) []int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		list, ok := strings.CutPrefix(line, "Groups:")
		if !ok {
			continue
		}
		var out []int
		for _, f := range strings.Fields(list) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
		return out
	}
	return nil
}

func (s *Server) read(h http.HandlerFunc) http.HandlerFunc {
	return s.guard(h, "read", func(p peer) bool { return p.mayRead(os.Geteuid(), s.opt.Readers, groupsOf) })
}

func (s *Server) write(h http.HandlerFunc) http.HandlerFunc {
	return s.guard(h, "change anything", func(p peer) bool { return p.mayWrite(os.Geteuid()) })
}

func (s *Server) guard(h http.HandlerFunc, what string, may func(peer) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		if !may(p) {
			s.opt.Logger.Warn("refused", "path", r.URL.Path, "uid", p.uid, "pid", p.pid)
			refuse(w, r, http.StatusForbidden, fmt.Errorf("user %d may not %s here. Run it as root, or name a reader group in vifplug.toml", p.uid, what))
			return
		}
		h(w, r)
	}
}
