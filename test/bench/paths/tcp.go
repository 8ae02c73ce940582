package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu"
	"vifplug/test/netns"
)

// kernelGuest is a namespace whose only device has its other end in the hands of a device model: a guest with a kernel.
type kernelGuest struct {
	space  *netns.Space
	device *tapDevice
	mac    mac
}

func newKernelGuest(vnet bool) (k *kernelGuest, err error) {
	k = &kernelGuest{}
	if k.space, err = netns.Open(); err != nil {
		return nil, err
	}
	err = k.space.Do(func() error {
		if err := noIPv6(); err != nil {
			return err
		}
		t, err := qemu.CreateTap(qemu.Options{Name: "eth0", VNetHdr: vnet})
		if err != nil {
			return err
		}
		k.device = newTapDevice(t.Queues[0])
		if err := errors.Join(setOffload(k.device.n, vnet), bridgetest.AddAddress("eth0", guestAddress), bridgetest.SetUp("eth0")); err != nil {
			return err
		}
		nic, err := net.InterfaceByName("eth0")
		if err == nil {
			k.mac = mac(nic.HardwareAddr)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

func (k *kernelGuest) close() error {
	var err error
	if k.device != nil {
		err = k.device.close()
	}
	return errors.Join(err, k.space.Close())
}

// pump is the device model between the guest's NIC and its back end: one thread for both ways, as QEMU's main loop is.
func pump(nic, back device, stop *atomic.Bool) error {
	var failed error
	toBack := func(f []byte) { failed = errors.Join(failed, back.send(f)) }
	toGuest := func(f []byte) { failed = errors.Join(failed, nic.send(f)) }
	for !stop.Load() {
		out, err := nic.receive(toBack)
		if err = errors.Join(err, failed, back.flush()); err != nil {
			return err
		}
		in, err := back.receive(toGuest)
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		if in+out == 0 {
			if err := sleep(5, pollIn(nic.fd()), pollIn(back.fd())); err != nil {
				return err
			}
		}
	}
	return nil
}

// tcp measures one connection, from the guest or to it.
func tcp(w *world, d time.Duration, inbound bool) (s sample, err error) {
	g := w.guests[0]
	if err := g.drain(); err != nil {
		return s, err
	}
	from, to, address := w.kernel.space, w.far, farAddress
	if inbound {
		from, to, address = w.far, w.kernel.space, guestAddress
	}
	two, err := theCPUs()
	if err != nil {
		return s, err
	}
	undo, err := w.loopsOn(two[:]...)
	if err != nil {
		return s, err
	}
	defer undo()
	var stop atomic.Bool
	m := newMeter(w)
	p := start(anyCPU, func() error { return pump(w.kernel.device, g.device, &stop) })
	listening := make(chan netip.AddrPort, 1)
	var got uint64
	var took time.Duration
	sink := start(anyCPU, func() (err error) {
		defer close(listening)
		if err := to.Enter(); err != nil {
			return err
		}
		got, took, err = sinkTCP(address.Addr(), listening)
		return err
	})
	var sent uint64
	source := start(anyCPU, func() (err error) {
		at, ok := <-listening
		if !ok {
			return errors.New("nobody listens")
		}
		if err := from.Enter(); err != nil {
			return err
		}
		sent, err = sourceTCP(at, d)
		return err
	})
	err = errors.Join(source.wait(), sink.wait())
	stop.Store(true)
	if err = errors.Join(err, p.wait()); err != nil {
		return s, err
	}
	s = sample{wall: took, bytes: got, device: p.cpu, sender: source.cpu + sink.cpu}
	m.stop(&s)
	if got != sent {
		return s, fmt.Errorf("of %d bytes by TCP %d arrived", sent, got)
	}
	return s, nil
}

// patience is how long TCP may stand still.
const patience = 10 * time.Second

func tcpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	t := unix.NsecToTimeval(int64(patience))
	return fd, errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &t))
}

// chunk is what both read and write by one call.
const chunk = 128 << 10

func sinkTCP(at netip.Addr, listening chan<- netip.AddrPort) (got uint64, took time.Duration, err error) {
	fd, err := tcpSocket()
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd) //nolint:errcheck // it is done
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: at.As4()}), unix.Listen(fd, 1)); err != nil {
		return 0, 0, fmt.Errorf("listen: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, 0, err
	}
	listening <- netip.AddrPortFrom(at, uint16(name.(*unix.SockaddrInet4).Port))
	conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	for errors.Is(err, unix.EINTR) {
		conn, _, err = unix.Accept4(fd, unix.SOCK_CLOEXEC)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("accept: %w", err)
	}
	file := os.NewFile(uintptr(conn), "sink")
	defer file.Close() //nolint:errcheck // it is done
	buf := make([]byte, chunk)
	var begin time.Time
	for {
		n, err := unix.Read(conn, buf)
		if errors.Is(err, unix.EINTR) { // Go's scheduler interrupts whoever has a time limit
			continue
		}
		if begin.IsZero() {
			begin = time.Now()
		}
		if err != nil || n == 0 {
			if err != nil {
				err = fmt.Errorf("receive by TCP: %w", err)
			}
			return got, time.Since(begin), err
		}
		got += uint64(n)
	}
}

func sourceTCP(to netip.AddrPort, d time.Duration) (sent uint64, err error) {
	fd, err := tcpSocket()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd) //nolint:errcheck // what is sent is counted where it arrives
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	buf := make([]byte, chunk)
	for begin := time.Now(); time.Since(begin) < d; {
		n, err := unix.Write(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return sent, fmt.Errorf("send by TCP: %w", err)
		}
		sent += uint64(n)
	}
	return sent, nil
}
