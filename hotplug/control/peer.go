package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is who was at the other end of a connection when it was made, by the kernel's word.
type peer struct {
	uid, gid int
	groups   []int // supplementary
	pid      int
	err      error
}

type peerKey struct{}

// withPeer reads the credentials once a connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

func peerOf(c net.Conn) peer {
	if b, ok := c.(*begun); ok {
		c = b.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return peer{err: errors.New("not a Unix socket")}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	p := peer{err: errors.New("no credentials")}
	if err := raw.Control(func(fd uintptr) { p = credentials(int(fd)) }); err != nil {
		return peer{err: err}
	}
	return p
}

func credentials(fd int) peer {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return peer{err: err}
	}
	groups, _ := peerGroups(fd) // none known, none granted
	return peer{uid: int(cred.Uid), gid: int(cred.Gid), groups: groups, pid: int(cred.Pid)}
}

// peerGroups reads the supplementary groups that the peer had when it connected. /proc would tell those of whoever has its process id now.
func peerGroups(fd int) ([]int, error) {
	gids := make([]uint32, 64)
	for {
		size := uint32(4 * len(gids))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&gids[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size) > 4*len(gids): // size is what is needed
			gids = make([]uint32, size/4)
			continue
		case errno != 0:
			return nil, fmt.Errorf("supplementary groups: %w", errno)
		}
		out := make([]int, size/4)
		for i := range out {
			out[i] = int(gids[i])
		}
		return out, nil
	}
}

// mayWrite is a pure judgement: root, and the user that the daemon itself runs as.
func (p peer) mayWrite(self int) bool { return p.err == nil && (p.uid == 0 || p.uid == self) }

// mayRead adds the members of the reader group; a negative one has none.
func (p peer) mayRead(self, readers int) bool {
	return p.mayWrite(self) || p.err == nil && readers >= 0 && (p.gid == readers || slices.Contains(p.groups, readers))
}

func (s *Server) read(h http.HandlerFunc) http.HandlerFunc {
	return s.guard(h, "read here. Run it as root, or name a group of that user's as control.readers in vifplug.toml", func(p peer) bool { return p.mayRead(os.Geteuid(), int(s.readers.Load())) })
}

func (s *Server) write(h http.HandlerFunc) http.HandlerFunc {
	return s.guard(h, "change anything here. Run it as root", func(p peer) bool { return p.mayWrite(os.Geteuid()) })
}

func (s *Server) guard(h http.HandlerFunc, what string, may func(peer) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		if !may(p) {
			s.opt.Logger.Warn("refused", "path", r.URL.Path, "uid", p.uid, "pid", p.pid)
			refuse(w, r, http.StatusForbidden, fmt.Errorf("user %d may not %s", p.uid, what))
			return
		}
		h(w, r)
	}
}
