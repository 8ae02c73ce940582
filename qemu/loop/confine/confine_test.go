package confine

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buildProbe builds the program that confines itself: without cgo, as what is installed.
func buildProbe(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("VIFPLUG_CI") == "1" {
			t.Fatal("needs root, which CI must give")
		}
		t.Skip("needs root: there is nothing to give up else")
	}
	path := filepath.Join(t.TempDir(), "probe")
	c := exec.Command("go", "build", "-o", path, "./testdata/probe")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// What carrying frames does not need ends the process. What Go's runtime needs does not.
func TestCalls(t *testing.T) {
	probe := buildProbe(t)
	for _, what := range []string{"open", "openat", "socket", "unix", "exec", "fork", "kill", "tgkill", "ptrace", "executable", "connect"} {
		out, err := exec.Command(probe, what).CombinedOutput()
		var end *exec.ExitError
		require.ErrorAs(t, err, &end, "%s: %s", what, out)
		status := end.Sys().(syscall.WaitStatus)
		assert.True(t, status.Signaled() && status.Signal() == syscall.SIGSYS, "%s: %v: %s", what, status, out)
		assert.Equal(t, "confined\n", string(out), what)
	}
	out, err := exec.Command(probe, "work").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "confined\ndone\n", string(out))
}

// One that connects may connect beneath its root, to whatever socket, and has no other use of that.
func TestDialing(t *testing.T) {
	probe, top := buildProbe(t), t.TempDir()
	require.NoError(t, os.Chmod(top, 0o700))
	dir := filepath.Join(top, "qemu")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for _, path := range []string{filepath.Join(dir, "s"), filepath.Join(top, "outside")} {
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		require.NoError(t, os.Chmod(path, 0o600), "root's alone")
	}
	out, err := exec.Command(probe, "connect", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(probe, "escape", dir).CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, "confined\nno such file or directory\n", string(out))
	for _, what := range []string{"open", "openat", "socket", "exec"} {
		_, err := exec.Command(probe, what, dir).CombinedOutput()
		var end *exec.ExitError
		require.ErrorAs(t, err, &end, what)
		assert.Equal(t, syscall.SIGSYS, end.Sys().(syscall.WaitStatus).Signal(), what)
	}
}

// judge runs a filter as the kernel does.
func judge(t *testing.T, p []unix.SockFilter, arch, call uint32, args ...uint32) uint32 {
	t.Helper()
	accumulator := uint32(0)
	for pc := 0; pc < len(p); pc++ {
		switch i := p[pc]; i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch {
			case i.K == atCall:
				accumulator = call
			case i.K == atArch:
				accumulator = arch
			default:
				n := int(i.K-atArguments) / 8
				require.Zero(t, (i.K-atArguments)%8)
				accumulator = 0
				if n < len(args) {
					accumulator = args[n]
				}
			}
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if accumulator == i.K {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		default:
			t.Fatalf("instruction %d: %+v", pc, i)
		}
	}
	t.Fatal("no end")
	return 0
}

func TestFilter(t *testing.T) {
	const kill, allow = unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_ALLOW
	self := uint32(os.Getpid())
	for _, dial := range []bool{false, true} {
		p := filter(dial)
		may := func(call int, args ...uint32) uint32 { return judge(t, p, auditArch, uint32(call), args...) }
		for _, c := range calls {
			assert.EqualValues(t, allow, may(c), c)
			assert.EqualValues(t, kill, judge(t, p, unix.AUDIT_ARCH_I386, uint32(c)), "another machine's calls")
			assert.EqualValues(t, kill, may(c|0x40000000), "x32")
		}
		assert.EqualValues(t, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), may(unix.SYS_PRCTL))
		assert.EqualValues(t, allow, may(unix.SYS_MMAP, 0, 0, unix.PROT_READ|unix.PROT_WRITE))
		assert.EqualValues(t, kill, may(unix.SYS_MMAP, 0, 0, unix.PROT_READ|unix.PROT_EXEC))
		assert.EqualValues(t, kill, may(unix.SYS_MPROTECT, 0, 0, unix.PROT_EXEC))
		assert.EqualValues(t, allow, may(unix.SYS_CLONE, threadFlags))
		assert.EqualValues(t, kill, may(unix.SYS_CLONE, threadFlags|unix.CLONE_NEWUSER))
		assert.EqualValues(t, allow, may(unix.SYS_IOCTL, 0, unix.SIOCGIFFLAGS))
		assert.EqualValues(t, kill, may(unix.SYS_IOCTL, 0, unix.SIOCSIFFLAGS))
		assert.EqualValues(t, allow, may(unix.SYS_TGKILL, self))
		assert.EqualValues(t, kill, may(unix.SYS_TGKILL, self+1))
		want := uint32(kill)
		if dial {
			want = allow
		}
		assert.EqualValues(t, want, may(unix.SYS_SOCKET, unix.AF_UNIX))
		assert.EqualValues(t, want, may(unix.SYS_CONNECT))
		for _, c := range []int{unix.SYS_SOCKET, unix.SYS_OPENAT, unix.SYS_EXECVE, unix.SYS_BIND, unix.SYS_SENDMSG, unix.SYS_PTRACE, unix.SYS_BPF, unix.SYS_KILL, unix.SYS_IO_URING_SETUP, -1} {
			assert.EqualValues(t, kill, may(c), c)
		}
	}
}
