package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/test/echo"
	"vifplug/test/netns"
	"vifplug/test/xenvm/image"
)

// model is a NIC that QEMU emulates, and the largest MTU that its driver in the guest takes, up to 9000.
type model struct {
	name  string
	jumbo int
}

// models are those that xl gives to guests, and the ones that negotiate offloads, whose frames are larger than any MTU.
var models = []model{{"e1000", 9000}, {"rtl8139", 4000}, {"virtio-net-pci", 9000}, {"vmxnet3", 9000}}

// segment is one NIC's way to the peer: a bridge in the host's namespace with the NIC's port and an uplink, and the uplink's far end in the peer's
// namespace.
type segment struct {
	model
	n                         int
	mac                       string
	bridge, port, uplink, far string
	dev                       string // in the guest
}

func (s *segment) guestIP() string { return fmt.Sprintf("10.70.%d.2", s.n) }
func (s *segment) peerIP() string  { return fmt.Sprintf("10.70.%d.1", s.n) }
func (s *segment) guestIP6() string {
	return fmt.Sprintf("fd70:%d::2", s.n)
}
func (s *segment) peerIP6() string { return fmt.Sprintf("fd70:%d::1", s.n) }

// tapNetdev is how QEMU makes the port itself, as libxl has it.
func (s *segment) tapNetdev() string { return "tap,ifname=" + s.port + ",script=no,downscript=no" }

// lan is the host's namespace, in which the test's goroutine is, and the peer's.
type lan struct {
	*testing.T
	image    string // of the guest
	peer     *netns.Space
	segments []*segment
	bulk     []byte // what the peer's web server has

	mtuChanged func() // who is to hear of it; nil: nobody
}

// newLAN makes one segment for each model, with the peer's services in it.
func newLAN(t *testing.T, models ...model) *lan {
	t.Helper()
	dir, err := Build() // before the namespaces: they have no way to Debian's packages
	var missing image.Missing
	if errors.As(err, &missing) && os.Getenv("VIFPLUG_CI") != "1" {
		t.Skip(missing)
	}
	require.NoError(t, err)
	l := &lan{T: t, image: dir, peer: netns.Beside(t), bulk: make([]byte, 4<<20+123)}
	random := rand.NewChaCha8([32]byte{70})
	_, _ = random.Read(l.bulk)
	netns.New(t)
	require.NoError(t, quiet("disable_ipv6", "1")) // the host has nothing to say
	require.NoError(t, l.peer.Do(func() error { return errors.Join(bridgetest.SetUp("lo"), quiet("dad_transmits", "0")) }))
	for i, m := range models {
		l.segments = append(l.segments, &segment{
			model: m, n: i, mac: fmt.Sprintf("00:16:3e:70:00:%02x", i),
			bridge: fmt.Sprintf("br%d", i), port: fmt.Sprintf("vif1.%d-emu", i), uplink: fmt.Sprintf("up%d", i), far: fmt.Sprintf("far%d", i),
		})
	}
	for _, s := range l.segments {
		require.NoError(t, l.peer.Do(func() error { return bridgetest.MakeVeth(s.far, s.uplink) }))
		require.NoError(t, l.peer.Bring(s.uplink))
		require.NoError(t, bridgetest.MakeBridge(s.bridge, 1500))
		require.NoError(t, bridgetest.SetMaster(s.uplink, s.bridge))
		require.NoError(t, bridgetest.SetUp(s.uplink))
		require.NoError(t, l.peer.Do(func() error { return upWith(s.far, s.peerIP()+"/24", s.peerIP6()+"/64") }))
		l.serveDHCP(s)
	}
	l.serveWeb()
	return l
}

// quiet sets how IPv6 is on the links that the thread's namespace will get.
func quiet(key, value string) error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/default/"+key, []byte(value), 0o644)
}

func upWith(dev string, addresses ...string) error {
	errs := []error{bridgetest.SetUp(dev)}
	for _, a := range addresses {
		errs = append(errs, bridgetest.AddAddress(dev, netip.MustParsePrefix(a)))
	}
	return errors.Join(errs...)
}

// start starts a guest with the segments' NICs.
func (l *lan) start(netdev func(s *segment) string) *Guest {
	l.Helper()
	o := Options{Image: l.image}
	for _, s := range l.segments {
		o.NICs = append(o.NICs, NIC{Model: s.name, MAC: s.mac, Netdev: netdev(s)})
	}
	g, err := Start(l.Context(), o)
	require.NoError(l, err)
	l.Cleanup(g.Kill)
	for _, s := range l.segments {
		s.dev, err = g.Device(s.mac)
		require.NoError(l, err, s.name)
	}
	return g
}

// plug makes the segments' taps ports of their bridges, as the service does, and has the guest take addresses.
func (l *lan) plug(g *Guest) {
	l.Helper()
	for _, s := range l.segments {
		require.NoError(l, bridgetest.SetMaster(s.port, s.bridge))
		require.NoError(l, bridgetest.SetUp(s.port))
	}
	l.configure(g)
}

// configure has the guest take its addresses by DHCP, and ones of IPv6.
func (l *lan) configure(g *Guest) {
	l.Helper()
	for _, s := range l.segments { // all at once: e1000 takes three seconds for it
		_, err := g.Run("ip link set %s up", s.dev)
		require.NoError(l, err, s.name)
	}
	for _, s := range l.segments {
		out, err := g.Run("udhcpc -i %[1]s -n -q -f -t 10 -T 1 -s /bin/dhcp 2>&1 && ip addr add %[2]s/64 dev %[1]s && "+
			"while ip -6 addr show dev %[1]s | grep -q tentative; do usleep 20000; done", s.dev, s.guestIP6())
		require.NoError(l, err, s.name)
		require.Contains(l, out, fmt.Sprintf("DHCP %s %s/24 from %s", s.dev, s.guestIP(), s.peerIP()), "%s", s.name)
	}
}

// ping begins to ask the guest from the peer, a hundred times a second.
func (l *lan) ping(s *segment, payload int) (p *echo.Pinger) {
	l.Helper()
	require.NoError(l, l.peer.Do(func() (err error) {
		p, err = echo.Start(s.guestIP(), 10*time.Millisecond, payload)
		return err
	}))
	l.Cleanup(p.Close)
	return p
}

// noneLost ends pings, of which all must have been answered since they began.
func (l *lan) noneLost(p *echo.Pinger, s *segment) {
	l.Helper()
	sent, lost, err := p.Stop()
	require.NoError(l, err, s.name)
	assert.Empty(l, lost, "%s: of %d pings", s.name, sent)
}

// serveDHCP has the peer give the guest its address.
func (l *lan) serveDHCP(s *segment) {
	l.Helper()
	dir := l.TempDir()
	config, leases := filepath.Join(dir, "udhcpd.conf"), filepath.Join(dir, "leases")
	require.NoError(l, os.WriteFile(leases, nil, 0o600))
	text := fmt.Sprintf("interface %s\nstart %s\nend %s\nstatic_lease %s %s\nlease_file %s\npidfile %s\noption subnet 255.255.255.0\n",
		s.far, s.guestIP(), s.guestIP(), s.mac, s.guestIP(), leases, filepath.Join(dir, "pid"))
	require.NoError(l, os.WriteFile(config, []byte(text), 0o600))
	l.inPeer("busybox", "udhcpd", "-f", "-a", "50", config)
}

// inPeer runs a program at the peer until the test's end.
func (l *lan) inPeer(args ...string) {
	l.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan error), make(chan struct{})
	go l.runProgram(ctx, started, ended, args)
	require.NoError(l, <-started)
	l.Cleanup(func() {
		cancel()
		<-ended
	})
}

func (l *lan) runProgram(ctx context.Context, started chan<- error, ended chan<- struct{}, args []string) {
	defer close(ended)
	said := &buffer{}
	err := l.peer.Do(func() error {
		c := exec.CommandContext(ctx, args[0], args[1:]...)
		c.Stdout, c.Stderr = said, said
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := c.Start()
		started <- err
		if err != nil {
			return nil // said already
		}
		return c.Wait()
	})
	if ctx.Err() == nil {
		l.Errorf("%s ended: %v\n%s", strings.Join(args, " "), err, said)
	}
}

// serveWeb has the peer give its bulk to whoever asks.
func (l *lan) serveWeb() {
	l.Helper()
	var listener net.Listener
	require.NoError(l, l.peer.Do(func() (err error) {
		listener, err = net.Listen("tcp", ":80")
		return err
	}))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "bulk", time.Time{}, bytes.NewReader(l.bulk))
	}), ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go runServer(server, listener, ended)
	l.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
}

func runServer(s *http.Server, l net.Listener, ended chan<- struct{}) {
	defer close(ended)
	_ = s.Serve(l)
}

// client dials from the peer.
func (l *lan) client() *http.Client {
	return &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			err = l.peer.Do(func() error {
				var d net.Dialer
				c, err = d.DialContext(ctx, network, address)
				return err
			})
			return c, err
		}},
	}
}

// setMTU changes the MTU along a segment.
func (l *lan) setMTU(g *Guest, s *segment, mtu int) {
	l.Helper()
	require.NoError(l, l.peer.Do(func() error { return bridgetest.SetMTU(s.far, mtu) }))
	for _, dev := range []string{s.uplink, s.port, s.bridge} {
		require.NoError(l, bridgetest.SetMTU(dev, mtu))
	}
	_, err := g.Run("ip link set %s mtu %d", s.dev, mtu)
	require.NoError(l, err, s.name)
	if l.mtuChanged != nil {
		l.mtuChanged()
	}
}

// snmp reads one of the peer's counters of IPv4.
func (l *lan) snmp(key string) (value string) {
	l.Helper()
	require.NoError(l, l.peer.Do(func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/snmp", unix.Gettid()))
		if err != nil {
			return err
		}
		lines := strings.Split(string(b), "\n")
		names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
		for i, n := range names {
			if n == key {
				value = values[i]
				return nil
			}
		}
		return fmt.Errorf("no counter %s on %s", key, runtime.GOOS)
	}))
	return value
}
