package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/qemu"
	"vifplug/test/netns"
)

// setup is what a world is to have.
type setup struct {
	guests int
	vnet   bool // the taps carry virtio's header
	tcp    bool // guest 0 is a kernel with TCP
}

// world is a host with a bridge, an uplink and guests, and what is at the other end of the uplink: one for each candidate, all there at once, so that
// they can be measured in turns.
type world struct {
	setup
	candidate *candidate
	host, far *netns.Space
	bridge    int // indices of devices
	uplink    int
	wireEnd   int
	wireMAC   mac
	wire      *wireCounter
	guests    []*guest
	kernel    *kernelGuest
	closers   []func() error
}

// guest is one of a world's, with what stands for its device model.
type guest struct {
	mac
	number int
	port   string // in the bridge
	index  int
	hidden int // index of the other end, where the port is no tap
	device device
	loop   *loopProcess
	dropAt string // whose tx_dropped counts what the guest did not take
}

func (w *world) later(f func() error) { w.closers = append(w.closers, f) }

func (w *world) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	w.closers = nil
	return errors.Join(errs...)
}

// makeWorld makes one. It is ready: frames cross it both ways.
func makeWorld(c *candidate, s setup) (*world, error) {
	w := &world{setup: s, candidate: c}
	if err := w.make(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.name, err), w.close())
	}
	return w, nil
}

func (w *world) make() (err error) {
	for _, space := range []**netns.Space{&w.host, &w.far} {
		if *space, err = netns.Open(); err != nil {
			return err
		}
		w.later((*space).Close)
		if err := (*space).Do(noIPv6); err != nil {
			return err
		}
	}
	for _, step := range []func() error{w.makeHost, w.makeFar, w.makeGuests} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := w.host.Do(func() error { return w.candidate.open(w) }); err != nil {
		return err
	}
	return w.ready()
}

func noIPv6() error {
	for _, which := range []string{"all", "default"} {
		if err := sysctl("net/ipv6/conf/"+which+"/disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func sysctl(name, value string) error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) }

// errNoNetfilter says that this kernel has no br_netfilter, so that every bridge is as bridge0 is.
var errNoNetfilter = errors.New("this kernel has no br_netfilter (modprobe br_netfilter)")

// netfilter has the host's bridges call iptables and its like, or not.
func netfilter(on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	for _, t := range []string{"iptables", "ip6tables", "arptables"} {
		err := sysctl("net/bridge/bridge-nf-call-"+t, value)
		switch {
		case errors.Is(err, os.ErrNotExist) && on:
			return errNoNetfilter
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	return nil
}

const (
	bridgeName = "xenbr0"
	uplinkName = "uplink"
	wireName   = "wire"
)

func (w *world) makeHost() error {
	return w.host.Do(func() error {
		if err := netfilter(w.candidate.netfilter); err != nil {
			return err
		}
		err := errors.Join(bridgetest.MakeBridge(bridgeName, 1500), bridgetest.MakeVeth(uplinkName, wireName))
		if err != nil {
			return err
		}
		if err := errors.Join(bridgetest.SetMaster(uplinkName, bridgeName), bridgetest.SetUp(uplinkName)); err != nil {
			return err
		}
		if w.bridge, err = bridgetest.Index(bridgeName); err != nil {
			return err
		}
		w.uplink, err = bridgetest.Index(uplinkName)
		return err
	})
}

// farAddress and guestAddress are those of the two TCPs.
var (
	farAddress   = netip.MustParsePrefix("198.51.100.2/24")
	guestAddress = netip.MustParsePrefix("198.51.100.1/24")
)

func (w *world) makeFar() error {
	return w.far.Do(func() error {
		if err := w.host.Bring(wireName); err != nil {
			return err
		}
		err := errors.Join(bridgetest.AddAddress(wireName, farAddress), bridgetest.SetUp(wireName))
		if err != nil {
			return err
		}
		nic, err := net.InterfaceByName(wireName)
		if err != nil {
			return err
		}
		w.wireEnd, w.wireMAC = nic.Index, mac(nic.HardwareAddr)
		if w.wire, err = countOnWire(nic.Index); err != nil {
			return err
		}
		w.later(w.wire.close)
		return nil
	})
}

func (w *world) makeGuests() error {
	if w.tcp {
		k, err := newKernelGuest(w.vnet)
		if err != nil {
			return err
		}
		w.kernel = k
		w.later(k.close)
	}
	for i := range w.setup.guests {
		g := &guest{number: i, mac: guestMAC(i)}
		if i == 0 && w.tcp {
			g.mac = w.kernel.mac
		}
		w.guests = append(w.guests, g)
		make := w.makeTap
		if w.candidate.pair {
			make = w.makePair
		}
		if err := w.host.Do(func() error { return make(g) }); err != nil {
			return err
		}
	}
	return nil
}

// makeTap gives a guest a tap.
func (w *world) makeTap(g *guest) error {
	g.port = fmt.Sprintf("tap%d.0", g.number+1)
	g.dropAt = g.port
	t, err := qemu.CreateTap(qemu.Options{Name: g.port, VNetHdr: w.vnet})
	if err != nil {
		return err
	}
	d := newTapDevice(t.Queues[0])
	g.device = d
	w.later(d.close)
	if err := setOffload(d.n, w.vnet); err != nil {
		return err
	}
	return w.plug(g)
}

// makePair gives a guest a pair of devices: one is the port, the other is for a program.
func (w *world) makePair(g *guest) error {
	g.port = fmt.Sprintf("tap%d.0", g.number+1)
	g.dropAt = g.port
	hidden := fmt.Sprintf("vl%d.0", g.number+1)
	c, err := bridge.Open()
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it was only asked
	if err := c.CreateVeth(bridge.Name(g.port), bridge.Name(hidden), "", 0); err != nil {
		return err
	}
	if err := errors.Join(c.NoOffloads(bridge.Name(g.port)), bridgetest.SetUp(hidden)); err != nil {
		return err
	}
	if g.hidden, err = bridgetest.Index(hidden); err != nil {
		return err
	}
	return w.plug(g)
}

func (w *world) plug(g *guest) (err error) {
	if g.index, err = bridgetest.Index(g.port); err != nil {
		return err
	}
	return errors.Join(bridgetest.SetMaster(g.port, bridgeName), bridgetest.SetUp(g.port))
}

// ready waits until frames cross both ways: links and ports come up when the kernel gets round to it.
func (w *world) ready() error {
	if w.candidate.floor {
		return nil
	}
	for _, g := range w.guests {
		if err := w.prime(g, 5*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// prime sends a frame each way until both arrive, so that every table knows both addresses.
func (w *world) prime(g *guest, patience time.Duration) error {
	out, in := w.outFrame(g, dropPort, 64), frame(w.wireMAC, g.mac, dropPort, 64)
	var s *sender
	err := w.far.Do(func() (err error) { s, err = newSender(w.wireEnd, [][]byte{in}); return err })
	if err != nil {
		return err
	}
	defer s.close() //nolint:errcheck // nothing is under way
	before, err := w.wire.read()
	if err != nil {
		return err
	}
	skip, arrived := w.header(), 0
	for begin := time.Now(); time.Since(begin) < patience; {
		if err := errors.Join(g.device.send(out), g.device.flush()); err != nil {
			return err
		}
		if _, err := s.send(1); err != nil {
			return err
		}
		if err := sleep(20, pollIn(g.device.fd())); err != nil {
			return err
		}
		if _, err := g.device.receive(func(f []byte) {
			if port(f[min(skip, len(f)):]) == dropPort {
				arrived++
			}
		}); err != nil {
			return err
		}
		after, err := w.wire.read()
		if err != nil || arrived > 0 && after.Frames > before.Frames {
			return err
		}
	}
	return fmt.Errorf("guest %d: frames do not cross within %s: %d arrived inward", g.number, patience, arrived)
}

func (w *world) header() int {
	if w.vnet {
		return vnetHeader
	}
	return 0
}

// outFrame is a frame as the guest's device takes it.
func (w *world) outFrame(g *guest, port uint16, size int) []byte {
	return append(make([]byte, w.header()), frame(g.mac, w.wireMAC, port, size)...)
}

// drain takes what still comes, so that it does not count for the next.
func (g *guest) drain() error {
	for {
		n, err := g.device.receive(func([]byte) {})
		if err != nil || n == 0 {
			return err
		}
	}
}

// links reads a counter of devices in the calling thread's namespace: packets received, or dropped on their way out.
func links() (received, dropped map[string]uint64, err error) {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return nil, nil, err
	}
	received, dropped = map[string]uint64{}, map[string]uint64{}
	for _, line := range strings.Split(string(text), "\n") {
		name, numbers, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		var n [16]uint64
		for i, f := range strings.Fields(numbers) {
			if _, err := fmt.Sscan(f, &n[i]); err != nil {
				return nil, nil, fmt.Errorf("read /proc/net/dev: %q: %w", line, err)
			}
		}
		name = strings.TrimSpace(name)
		received[name], dropped[name] = n[1], n[11] // rx packets, tx drop
	}
	return received, dropped, nil
}
