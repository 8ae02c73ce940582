package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// dialAs connects as another user: the kernel notes the credentials of the thread that connects.
func dialAs(socket string, uid, gid int, groups ...int) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		got := make(chan dialed)
		go runDial(socket, uid, gid, groups, got)
		d := <-got
		return d.conn, d.err
	}
}

type dialed struct {
	conn net.Conn
	err  error
}

// runDial never unlocks its thread, which ends with what it has become.
func runDial(socket string, uid, gid int, groups []int, got chan<- dialed) {
	runtime.LockOSThread()
	if err := become(uid, gid, groups); err != nil {
		got <- dialed{nil, err}
		return
	}
	c, err := net.Dial("unix", socket)
	got <- dialed{c, err}
}

// become changes this thread alone, by the system calls themselves: Go's and libc's functions change all threads.
func become(uid, gid int, groups []int) error {
	gids := make([]uint32, len(groups)+1)
	for i, g := range groups {
		gids[i] = uint32(g)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&gids[0])), 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
		return fmt.Errorf("setresgid: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return fmt.Errorf("setresuid: %w", errno)
	}
	return nil
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("VIFPLUG_CI") == "1" {
		t.Fatal("CI must give root")
	}
	t.Skip("needs root: it connects as other users")
}

// Root may all, the reader group's members may read, nobody else anything: by the kernel's word, for every route.
func TestWhoMayWhat(t *testing.T) {
	needRoot(t)
	s := serve(t)
	const readers = 4242
	s.server.SetReaders(readers)
	many := make([]int, 1000)
	for i := range many {
		many[i] = 10_000 + i
	}
	for _, who := range []struct {
		name        string
		uid, gid    int
		groups      []int
		read, write bool
	}{
		{"root", 0, 0, nil, true, true},
		{"root of any group", 0, 77, nil, true, true},
		{"reader by group", 1000, readers, nil, true, false},
		{"reader by supplementary group", 1000, 1000, []int{5, readers}, true, false},
		{"reader of very many groups", 1000, 1000, append(many, readers), true, false},
		{"stranger", 1000, 1000, nil, false, false},
		{"stranger of other groups", 1000, 1000, many, false, false},
		{"stranger whose uid is the group's number", readers, 1000, nil, false, false},
		{"member of root's group", 1000, 0, nil, false, false},
	} {
		ask := func(method, path string) int {
			return s.askWith(dialAs(s.socket, who.uid, who.gid, who.groups...), method, path, nil).code
		}
		for path, ok := range map[string]int{"/v1/status": 200, "/v1/nics": 200, "/v1/nics/vif1.0": 404, "/v1/domains": 200, "/v1/events": 200} {
			assert.Equal(t, allowed(who.read, ok), ask("GET", path), "%s: %s", who.name, path)
		}
		for path, ok := range map[string]int{"/v1/resync": 204, plug + "1/0": 409, "/v1/hotplug?command=add&type_if=tap&interface=vif99.0-emu": 204} {
			assert.Equal(t, allowed(who.write, ok), ask("POST", path), "%s: %s", who.name, path)
		}
	}
}

func allowed(may bool, code int) int {
	if may {
		return code
	}
	return 403
}

// What the refused are told, and that the group can change and go.
func TestRefusedAndReaders(t *testing.T) {
	needRoot(t)
	s := serve(t)
	as := dialAs(s.socket, 1000, 4242)
	got := s.askWith(as, "GET", "/v1/status", nil)
	assert.Equal(t, 403, got.code)
	assert.Equal(t, "user 1000 may not read here. Run it as root, or name a group of that user's as control.readers in vifplug.toml", decodeInto[Error](t, got.body).Error)
	got = s.askWith(as, "POST", "/v1/resync", nil, "Accept: text/plain")
	assert.Equal(t, "user 1000 may not change anything here. Run it as root\n", got.body)
	s.server.SetReaders(4242)
	assert.Equal(t, 200, s.askWith(as, "GET", "/v1/status", nil).code)
	s.server.SetReaders(-1)
	assert.Equal(t, 403, s.askWith(as, "GET", "/v1/status", nil).code)
}

func TestJudgement(t *testing.T) {
	broken := errors.New("no credentials")
	for _, tc := range []struct {
		p             peer
		self, readers int
		read, write   bool
	}{
		{peer{uid: 0}, 900, -1, true, true},
		{peer{uid: 900}, 900, -1, true, true},
		{peer{uid: 901}, 900, -1, false, false},
		{peer{uid: 901, gid: 5}, 900, 5, true, false},
		{peer{uid: 901, groups: []int{4, 5}}, 900, 5, true, false},
		{peer{uid: 901, gid: -1}, 900, -1, false, false},
		{peer{err: broken}, 900, 0, false, false},
		{peer{err: broken, groups: []int{5}}, 0, 5, false, false},
	} {
		assert.Equal(t, tc.read, tc.p.mayRead(tc.self, tc.readers), "%+v", tc)
		assert.Equal(t, tc.write, tc.p.mayWrite(tc.self), "%+v", tc)
	}
}

// Only a Unix socket tells who is there.
func TestPeerOfOtherConnections(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.Error(t, peerOf(a).err)
	p := peerOf(nil)
	require.Error(t, p.err)
	assert.False(t, p.mayRead(0, 0))
}
