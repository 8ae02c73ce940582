package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug"
	"vifplug/hotplug/control"
)

// A loop by hand: the port is on the bridge, frames cross, and the process is nobody, may do next to nothing and takes no CPU while nothing comes. Killed,
// it leaves the port, which the next one adopts.
func TestByHand(t *testing.T) {
	for _, kind := range []string{"af-packet", "af-xdp"} {
		t.Run(kind, func(t *testing.T) {
			makeHost(t)
			sock := filepath.Join(t.TempDir(), "s")
			p := launch(t, "--tap", "tap5.0", "--bridge", "br", "--listen", sock, "--socket", kind)
			p.says("carrying frames")
			assert.Equal(t, "veth tap5.0 mtu 1500 fe:ff:ff:ff:ff:ff master br up", describe(t, "tap5.0"))
			info, err := os.Stat(sock)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			q := dial(t, sock)
			bothWays(t, q)
			checkConfined(t, p)
			checkIdle(t, p)
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGUSR1))
			assert.Contains(t, p.says("counters"), "connections=1")

			index, err := bridgetest.Index("tap5.0")
			require.NoError(t, err)
			p.kill()
			assert.Contains(t, describe(t, "tap5.0"), "master br up")
			p = launch(t, "--tap", "tap5.0", "--bridge", "br", "--listen", sock, "--socket", kind)
			p.says("carrying frames")
			again, err := bridgetest.Index("tap5.0")
			require.NoError(t, err)
			assert.Equal(t, index, again, "it is the same port")
			bothWays(t, dial(t, sock))
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
			p.says("counters at the end")
			require.NoError(t, p.ends())
			assert.True(t, exists("tap5.0"), "it outlives the loop")

			require.NoError(t, launch(t, "--tap", "tap5.0", "--remove").ends())
			assert.False(t, exists("tap5.0") || exists("vl5.0"))
		})
	}
}

func checkConfined(t *testing.T, p *process) {
	t.Helper()
	for key, want := range map[string]string{
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": "0000000000000000", "CapInh": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2", "Uid": "65534\t65534\t65534\t65534", "Gid": "65534\t65534\t65534\t65534", "Groups": "",
	} {
		for _, got := range p.status(key) {
			assert.Equal(t, want, got, key)
		}
	}
	root, err := os.Readlink("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/root")
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(root, " (deleted)"), root)
}

// ticks is the CPU time that a process has taken, in the kernel's ticks of 10 ms.
func ticks(t *testing.T, p *process) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	require.NoError(t, err)
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')'):]))
	for _, f := range fields[12:14] {
		v, err := strconv.Atoi(f)
		require.NoError(t, err)
		n += v
	}
	return n
}

func switches(t *testing.T, p *process) (n int) {
	t.Helper()
	for _, s := range p.status("voluntary_ctxt_switches") {
		v, err := strconv.Atoi(s)
		require.NoError(t, err)
		n += v
	}
	return n
}

// checkIdle: it comes to rest. When, nothing tells: Go's own threads look round for a while, the longer the busier the machine is.
func checkIdle(t *testing.T, p *process) {
	t.Helper()
	var spent, woken int
	for range 20 {
		spent, woken = ticks(t, p), switches(t, p)
		time.Sleep(time.Second) // of idling
		if spent, woken = ticks(t, p)-spent, switches(t, p)-woken; spent <= 1 && woken < 20 {
			return
		}
	}
	require.Fail(t, "it wakes without frames", "%d ticks and %d times in each of the last seconds", spent, woken)
}

// VLAN tags, which the kernel carries beside a frame, are in it when it reaches QEMU, however the port is reached.
func TestTagsReachQEMU(t *testing.T) {
	for _, kind := range []string{"af-packet", "af-xdp"} {
		makeTagged := func(tag uint32, number byte) []byte {
			f := append([]byte{0, 0x16, 0x3e, 0, 0, 5, 0, 0x16, 0x3e, 0, 0, 9}, binary.BigEndian.AppendUint32(nil, tag)...)
			return append(f, 0x88, 0xb5, number, 0xaa, 0xbb, 0xcc, 0xdd, 0xee)
		}
		t.Run(kind, func(t *testing.T) {
			makeHost(t)
			sock := filepath.Join(t.TempDir(), "s")
			launch(t, "--tap", "tap5.0", "--bridge", "br", "--listen", sock, "--socket", kind).says("carrying frames")
			q := dial(t, sock)
			bothWays(t, q)
			far, err := bridgetest.OpenDevice("far")
			require.NoError(t, err)
			defer far.Close()
			for i, tag := range []uint32{0x8100<<16 | 7, 0x88a8<<16 | 9, 0x8100<<16 | 0xeffe} {
				want := makeTagged(tag, byte(i))
				require.NoError(t, far.Send(want))
				for {
					got, err := q.next(patience)
					require.NoError(t, err)
					if bytes.Contains(got, []byte{0xaa, 0xbb, 0xcc, 0xdd, 0xee}) {
						assert.Equal(t, want, got)
						break
					}
				}
			}
		})
	}
}

// The host's own stack answers once for its address, where that is, and not a second time behind the hidden end.
func TestHostAnswersOnce(t *testing.T) {
	for _, kind := range []string{"af-packet", "af-xdp"} {
		t.Run(kind, func(t *testing.T) {
			makeHost(t)
			require.NoError(t, exec.Command("ip", "address", "add", "192.0.2.1/24", "dev", "br").Run())
			sock := filepath.Join(t.TempDir(), "s")
			launch(t, "--tap", "tap5.0", "--bridge", "br", "--listen", sock, "--socket", kind).says("carrying frames")
			q := dial(t, sock)
			bothWays(t, q)
			ask := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 0, 0, 5, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1},
				0, 0x16, 0x3e, 0, 0, 5, 192, 0, 2, 5, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1)
			mac, err := os.ReadFile("/sys/class/net/br/address")
			require.NoError(t, err)
			want, err := net.ParseMAC(strings.TrimSpace(string(mac)))
			require.NoError(t, err)
			require.NoError(t, q.Send(ask))
			answers := 0
			for wait := patience; ; wait = 200 * time.Millisecond {
				f, err := q.next(wait)
				if err != nil {
					break
				}
				if len(f) >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 {
					answers++
					assert.Equal(t, []byte(want), f[22:28])
				}
			}
			assert.Equal(t, 1, answers)
			assert.Equal(t, 1, broadcastsHeard(t), "and it hears a broadcast once")
		})
	}
}

// broadcastsHeard sends a broadcast from far, and says how often it reaches a socket of the host's.
func broadcastsHeard(t *testing.T) (n int) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 6767})
	require.NoError(t, err)
	defer c.Close()
	ip := make([]byte, 28, 40)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], 36)
	copy(ip[16:], []byte{255, 255, 255, 255})
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum&0xffff))
	binary.BigEndian.PutUint16(ip[20:], 68)
	binary.BigEndian.PutUint16(ip[22:], 6767)
	binary.BigEndian.PutUint16(ip[24:], 16)
	far, err := bridgetest.OpenDevice("far")
	require.NoError(t, err)
	defer far.Close()
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 0, 0, 9, 8, 0}, append(ip, "hello..."...)...)
	require.NoError(t, far.Send(frame))
	b := make([]byte, 100)
	for wait := patience; ; wait = 200 * time.Millisecond {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		if _, err := c.Read(b); err != nil {
			return n
		}
		n++
	}
}

// QEMU that listens, at a socket of root's alone: the loop connects although it is nobody, and again when QEMU has restarted.
func TestConnecting(t *testing.T) {
	makeHost(t)
	sock := filepath.Join(t.TempDir(), "qemu.sock")
	p := launch(t, "--tap", "tap5.0", "--bridge", "br", "--connect", sock)
	p.says("waiting for QEMU")
	for range 2 {
		l, err := net.Listen("unix", sock)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(sock, 0o600))
		c, err := l.Accept()
		require.NoError(t, err)
		bothWays(t, stream{c})
		require.NoError(t, c.Close())
		require.NoError(t, l.Close())
	}
}

// standInDaemon answers as vifplugd does where it is asked for everything.
func standInDaemon(t *testing.T) (socket string, status *atomic.Pointer[control.Status]) {
	t.Helper()
	socket, status = filepath.Join(t.TempDir(), "control.sock"), &atomic.Pointer[control.Status]{}
	status.Store(&control.Status{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(status.Load()) })
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	done := make(chan error, 1)
	go runServer(s, l, done)
	t.Cleanup(func() { _ = s.Close(); <-done })
	return socket, status
}

func runServer(s *http.Server, l net.Listener, done chan<- error) { done <- s.Serve(l) }

// By its name a guest has the port of its present domain. When systemd starts the loop by its socket, it ends with QEMU; at the next start the guest
// has another number, and the old port goes. What is not vif-loop's is left alone.
func TestByInstance(t *testing.T) {
	makeHost(t)
	daemon, status := standInDaemon(t)
	path, err := build()
	require.NoError(t, err)
	sock := filepath.Join(t.TempDir(), "web.0.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: sock, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	require.NoError(t, bridgetest.MakeVeth("tap9.0", "vl9.0"))
	activate := func() *process {
		f, err := l.File()
		require.NoError(t, err)
		defer f.Close()
		c := exec.Command("sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=qemu exec "+path+" --instance web.0 --control "+daemon)
		c.ExtraFiles = []*os.File{f}
		return launchCommand(t, c)
	}
	for _, id := range []uint16{5, 6} {
		q := dial(t, sock)
		p := activate()
		status.Store(&control.Status{Domains: []hotplug.Domain{{ID: id, Name: "web"}}}) // it may be known a moment later
		p.says("carrying frames")
		tap, n := "tap"+strconv.Itoa(int(id))+".0", strconv.Itoa(int(id))
		assert.Equal(t, "vifplug: socket "+n+".0", alias(t, tap), "the engine's mark")
		assert.Equal(t, "vifplug: hidden end of "+tap+", web.0", alias(t, "vl"+n+".0"))
		assert.Contains(t, describe(t, tap), "master none", "that is vifplugd's to do")
		require.NoError(t, bridgetest.SetMaster(tap, "br"))
		require.NoError(t, bridgetest.SetAlias(tap, "vifplug: domain web ("+n+") eth0 tap by socket on br"))
		require.NoError(t, bridgetest.SetUp(tap))
		bothWays(t, q)
		require.NoError(t, q.Close())
		require.NoError(t, p.ends(), "systemd starts the next one")
		assert.True(t, exists(tap))
	}
	assert.False(t, exists("tap5.0") || exists("vl5.0"), "its domain is gone")
	assert.Equal(t, "vifplug: domain web (6) eth0 tap by socket on br", alias(t, "tap6.0"))

	for _, nobody := range [][]string{{"--guest", "web", "--nic", "1"}, {"--guest", "we"}, {"--guest", "mail"}} {
		require.NoError(t, launch(t, append(nobody, "--remove")...).ends())
	}
	require.Error(t, launch(t, "--tap", "tap6.0", "--remove").ends(), "it is a guest's")
	assert.True(t, exists("tap6.0"))
	require.NoError(t, launch(t, "--instance", "web.0", "--control", "/nowhere/control.sock", "--remove").ends(), "the guest and vifplugd are gone")
	assert.False(t, exists("tap6.0") || exists("vl6.0"))

	status.Store(&control.Status{Domains: []hotplug.Domain{{ID: 9, Name: "web"}}})
	dial(t, sock)
	p := activate()
	p.says("was not made by vif-loop for web.0")
	require.Error(t, p.ends())
	assert.True(t, exists("tap9.0"))
}

// Without the guest, or without the daemon, it says so and ends.
func TestUnknownGuest(t *testing.T) {
	makeHost(t)
	daemon, _ := standInDaemon(t)
	sock := filepath.Join(t.TempDir(), "s")
	p := launch(t, "--guest", "web", "--listen", sock, "--control", daemon, "--wait", "300ms")
	p.says("vifplugd knows no such guest")
	require.Error(t, p.ends())
	p = launch(t, "--guest", "web", "--listen", sock, "--control", "/nowhere/control.sock", "--wait", "300ms")
	p.says("vifplugd is not reachable at /nowhere/control.sock")
	require.Error(t, p.ends())
	require.Error(t, launch(t, "--guest", "web").ends(), "where is QEMU?")
}
