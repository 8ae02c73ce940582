package host

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
	"vifplug/test/netns"
)

// realHost is the host of [bare] in a namespace of its own: ports are ends of veth pairs.
func realHost(t *testing.T) *bridge.Conn {
	t.Helper()
	netns.New(t)
	c, err := bridge.Open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	for i, name := range []string{"eth0", "eth1", "eth2"} {
		peer := fmt.Sprintf("peer%d", i)
		require.NoError(t, bridgetest.MakeVeth(name, peer))
		require.NoError(t, bridgetest.SetUp(name))
		require.NoError(t, bridgetest.SetUp(peer))
	}
	require.NoError(t, bridgetest.AddAddress("eth0", netip.MustParsePrefix("10.0.0.2/24")))
	require.NoError(t, c.AddRoute(bare().Routes[0]))
	return c
}

func realManager(t *testing.T, k Kernel, dir string) (*Manager, *events) {
	t.Helper()
	heard := &events{}
	m, err := New(Options{Kernel: k, Dir: dir, Notify: heard.hear})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m, heard
}

// settled is the host's text without what the kernel does in its own time, such as an IPv6 address that takes its time.
func settled(t *testing.T, k Reader) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(text(t, k)) {
		if !strings.HasPrefix(line, "route fe80:") && !strings.HasPrefix(line, "route ff00:") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "\n")
}

func TestApplyOnAKernel(t *testing.T) {
	c := realHost(t)
	bareText := settled(t, c)
	m, _ := realManager(t, c, t.TempDir())
	for _, spec := range []network.Spec{declared(), later(), declared()} {
		_, err := m.Apply(t.Context(), spec, ApplyOptions{Confirm: Never})
		require.NoError(t, err)
		diff, err := m.Diff()
		require.NoError(t, err)
		assert.Empty(t, diff)
	}
	h, err := c.Host()
	require.NoError(t, err)
	assert.True(t, hasAddress(&h, "mgmt", "10.0.0.2/24"))
	assert.False(t, hasAddress(&h, "eth0", "10.0.0.2/24"))
	assert.Equal(t, bridge.Name("mgmt"), defaultRoute(&h).Device)
	assert.NotEqual(t, bareText, settled(t, c))
}

func hasAddress(h *bridge.Host, device bridge.Name, prefix string) bool {
	for _, a := range h.Device(device).Addresses {
		if a.Prefix.String() == prefix {
			return true
		}
	}
	return false
}

func defaultRoute(h *bridge.Host) (out bridge.Route) {
	for _, r := range h.Routes {
		if r.To.Bits() == 0 && r.To.Addr().Is4() {
			out = r
		}
	}
	return out
}

func TestApplyFailsAtEveryStepOnAKernel(t *testing.T) {
	c := realHost(t)
	for _, tc := range []struct {
		name          string
		before, after network.Spec
	}{
		{"from nothing", network.Spec{}, declared()},
		{"to another", declared(), later()},
	} {
		dir := t.TempDir()
		if len(tc.before.Networks) > 0 {
			m, _ := realManager(t, c, dir)
			_, err := m.Apply(t.Context(), tc.before, ApplyOptions{Confirm: Never})
			require.NoError(t, err)
		}
		before, total := settled(t, c), 1
		for n := 0; n < total; n++ {
			gate := &hosttest.Gate{Changer: c}
			gate.Keep(failAt(n))
			m, _ := realManager(t, gate, dir)
			res, err := m.Apply(t.Context(), tc.after, ApplyOptions{Confirm: Never})
			require.ErrorIs(t, err, errInjected)
			assert.ErrorContains(t, err, "The host is as before", "%s, step %d", tc.name, n)
			total = res.Steps[n].Of
			assert.Equal(t, before, settled(t, c), "%s, after failing at step %d: %v", tc.name, n, err)
		}
		assert.Greater(t, total, 2)
	}
}

// A process that is killed in the middle leaves what the next one needs, wherever it was; so does one that waits for a confirmation.
func TestKilledOnAKernel(t *testing.T) {
	c := realHost(t)
	before, dir := settled(t, c), t.TempDir()
	asked := func(die int, wait time.Duration) *exec.Cmd {
		spec, err := json.Marshal(declared())
		require.NoError(t, err)
		child := role(t, "apply", dirEnv+"="+dir, fmt.Sprintf("%s=%d", dieEnv, die), waitEnv+"="+wait.String())
		child.Stdin = bytes.NewReader(spec)
		require.Error(t, child.Run())
		require.Equal(t, syscall.SIGKILL, child.ProcessState.Sys().(syscall.WaitStatus).Signal())
		return child
	}
	n := 0
	for ; ; n++ {
		asked(n, time.Hour)
		m, heard := realManager(t, c, dir)
		p, ok := m.Pending()
		require.True(t, ok)
		require.NoError(t, m.Recover(t.Context()))
		if p.Waiting {
			assert.NotEqual(t, before, settled(t, c))
			require.NoError(t, m.Rollback(t.Context(), "the test ends"))
			assert.Equal(t, before, settled(t, c))
			break
		}
		assert.Equal(t, before, settled(t, c), "killed at change %d", n)
		assert.Equal(t, []Kind{ApplyUndone}, heard.kinds())
	}
	assert.Greater(t, n, 4)

	asked(1000, 50*time.Millisecond)
	m, heard := realManager(t, c, dir)
	require.NoError(t, m.Recover(t.Context()))
	require.Eventually(t, func() bool { return heard.count(ApplyUndone) == 1 }, 5*time.Second, time.Millisecond)
	assert.Equal(t, before, settled(t, c), "the next process undoes what nobody confirmed")
}

func TestDeletedBridgeComesBackOnAKernel(t *testing.T) {
	c := realHost(t)
	m, heard := realManager(t, c, t.TempDir())
	_, err := m.Apply(t.Context(), later(), ApplyOptions{Confirm: Never})
	require.NoError(t, err)
	mon, err := bridge.OpenHostMonitor()
	require.NoError(t, err)
	m.Start(mon)
	longest := time.Duration(0)
	for range 4 {
		was := heard.count(NetworkLost)
		w, err := hosttest.WatchAbsence("5c", "eth2")
		require.NoError(t, err)
		require.NoError(t, bridgetest.Delete("5c"))
		away, err := w.Wait(5 * time.Second)
		require.NoError(t, err)
		longest = max(longest, away.Ports)
		untilAsDeclared(t, m, heard, was)
		assert.True(t, joined(t, c, "eth2", "5c"))
	}
	t.Logf("a deleted bridge was back with its port within %v", longest)
	assert.Less(t, longest, soon())
	assert.Zero(t, heard.count(NetworkFailed))
}

// A driver is loaded late, and udev gives its device the name that is declared: it joins, and so does the one that comes with that name.
func TestLatePortJoinsOnAKernel(t *testing.T) {
	c := realHost(t)
	require.NoError(t, bridgetest.Delete("eth2"))
	m, heard := realManager(t, c, t.TempDir())
	_, err := m.Apply(t.Context(), later(), ApplyOptions{Confirm: Never})
	require.NoError(t, err)
	diff, err := m.Diff()
	require.NoError(t, err)
	assert.Empty(t, diff, "what does not exist yet is no drift")
	mon, err := bridge.OpenHostMonitor()
	require.NoError(t, err)
	m.Start(mon)
	for _, name := range []string{"eth2", "unnamed"} {
		require.NoError(t, bridgetest.MakeVeth(name, "late"))
		if name != "eth2" {
			require.NoError(t, bridgetest.Rename(name, "eth2"))
		}
		require.EventuallyWithT(t, func(t *assert.CollectT) {
			bridgeLink, err := c.LinkByName("5c")
			require.NoError(t, err)
			port, err := c.LinkByName("eth2")
			require.NoError(t, err)
			assert.Equal(t, bridgeLink.Index, port.Master)
			assert.True(t, port.Up)
		}, 10*time.Second, 5*time.Millisecond, name)
		require.NoError(t, bridgetest.Delete("eth2"))
	}
	assert.Zero(t, heard.count(NetworkFailed), "%v", heard.all)
}

// untilAsDeclared waits until all that was lost is told to be repaired, and is. Of a device that the kernel is deleting a part may be missed, and
// repaired, before the rest is missed.
func untilAsDeclared(t *testing.T, m *Manager, heard *events, was int) {
	t.Helper()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		require.True(t, heard.repaired(was), "all is repaired")
		diff, err := m.Diff()
		require.NoError(t, err)
		require.Empty(t, diff)
	}, 5*time.Second, time.Millisecond)
}

// soon is how long a device may be away. The lab's machine is emulated, and takes 20 times as long for everything.
func soon() time.Duration {
	if os.Getenv("XENVM") != "" {
		return 2 * time.Second
	}
	return 100 * time.Millisecond
}

func joined(t *testing.T, c *bridge.Conn, port, master bridge.Name) bool {
	h, err := c.Host()
	require.NoError(t, err)
	d := h.Device(port)
	return d != nil && d.Master == master
}

// A port with the host's address and default route goes into a bridge while packets go to and fro, and comes out again.
func TestTrafficGoesOnOnAKernel(t *testing.T) {
	c := realHost(t)
	peer := role(t, "peer")
	peer.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	said, err := peer.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, peer.Start())
	t.Cleanup(func() { _, _ = peer.Process.Kill(), peer.Wait() })
	require.NoError(t, bridgetest.MoveTo("peer0", peer.Process.Pid))
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)

	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: echoPort})
	require.NoError(t, err)
	probe := newProbe(conn)
	go probe.runSending()
	go probe.runReceiving()
	require.NoError(t, probe.until(20), "packets go to and fro before")
	probe.longest.Store(0) // the first may have waited for the peer
	m, _ := realManager(t, c, t.TempDir())
	_, err = m.Apply(t.Context(), onlyManagement(), ApplyOptions{Confirm: time.Hour})
	require.NoError(t, err)
	require.NoError(t, probe.until(20), "they do after")
	in := probe.longest.Swap(0)
	require.NoError(t, m.Rollback(t.Context(), "the way back"))
	require.NoError(t, probe.until(20), "and when the port is out again")
	probe.close()
	out := probe.longest.Load()
	t.Logf("longest time without an answer: %v on the way in, %v on the way out", time.Duration(in), time.Duration(out))
	retry := time.Second // after which an ARP request is sent again that was lost
	if os.Getenv("XENVM") != "" {
		retry *= 2 // a step takes so long on the emulated machine that one may be lost between two
	}
	assert.Less(t, time.Duration(in), retry)
	assert.Less(t, time.Duration(out), retry)
}

// probe sends numbered packets and notes the longest time without an answer.
type probe struct {
	conn    *net.UDPConn
	stop    chan struct{}
	done    chan struct{} // one for each run…
	answers chan struct{}
	longest atomic.Int64 // ns
}

func newProbe(conn *net.UDPConn) *probe {
	return &probe{conn: conn, stop: make(chan struct{}), done: make(chan struct{}, 2), answers: make(chan struct{}, 1)}
}

func (p *probe) runSending() {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-p.stop:
			p.done <- struct{}{}
			return
		case <-tick.C:
			_, _ = p.conn.Write(binary.BigEndian.AppendUint64(nil, n)) // what is lost is what is measured
		}
	}
}

func (p *probe) runReceiving() {
	defer func() { p.done <- struct{}{} }()
	buf := make([]byte, 100)
	last := time.Now()
	for {
		_, err := p.conn.Read(buf)
		select {
		case <-p.stop:
			return
		default:
		}
		if err != nil {
			continue
		}
		p.longest.Store(max(p.longest.Load(), int64(time.Since(last))))
		last = time.Now()
		select {
		case p.answers <- struct{}{}:
		default:
		}
	}
}

func (p *probe) until(n int) error {
	for range n {
		select {
		case <-p.answers:
		case <-time.After(5 * time.Second):
			return fmt.Errorf("no answer within 5 s")
		}
	}
	return nil
}

func (p *probe) close() {
	close(p.stop)
	_ = p.conn.SetReadDeadline(time.Now())
	<-p.done
	<-p.done
	_ = p.conn.Close()
}
