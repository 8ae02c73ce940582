package standin

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vifplug/qemu/xsk"
)

// Rings plays what `-netdev af-xdp,ifname=DEVICE,mode=MODE,queues=1,inhibit=on,sock-fds=N` does (qemu: net/af-xdp.c, 8.2 and later): it takes a socket
// that was made for it, gives it memory and rings of QEMU's sizes, binds it to the device's queue 0 without touching any program, and sends and receives
// the frames of an emulated NIC through it. As QEMU it has the kernel send by polling the descriptor, once for what the guest has queued until then.
type Rings struct {
	socket *xsk.Socket
	poll   []unix.PollFd
	len    []int
}

// StartRings starts it on a socket, which it takes over. It works in the network namespace of the calling thread.
func StartRings(device, mode string, socket *os.File) (*Rings, error) {
	if mode != "native" && mode != "skb" {
		return nil, errors.Join(fmt.Errorf("standin: af-xdp: mode=%s: QEMU knows native and skb", mode), socket.Close())
	}
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("standin: af-xdp: %s: %w", device, err), socket.Close())
	}
	s, err := xsk.Use(socket, xsk.Options{Index: i.Index, RingSize: 2048, FrameSize: 4096})
	if err != nil {
		return nil, err
	}
	return &Rings{socket: s, poll: []unix.PollFd{{Fd: int32(s.FD())}}, len: make([]int, 0, 2048)}, nil
}

// Close is QEMU's end.
func (r *Rings) Close() { _ = r.socket.Close() }

// Queue has the guest put a frame into the transmit ring, and says whether there was room. It is sent by [Rings.Doorbell].
func (r *Rings) Queue(frame []byte) bool {
	b := r.socket.Reserve(1)
	if len(b) == 0 || len(frame) > len(b[0]) {
		return false
	}
	r.len = append(r.len[:0], copy(b[0], frame))
	return r.socket.Submit(r.len) == nil
}

// Doorbell has the kernel send what the guest has queued, as QEMU's main loop does when it comes round.
func (r *Rings) Doorbell() error {
	for r.socket.Pending() > 0 {
		r.poll[0].Events, r.poll[0].Revents = unix.POLLOUT, 0
		before := r.socket.Pending()
		if _, err := unix.Poll(r.poll, 0); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("standin: af-xdp: poll: %w", err)
		}
		if r.socket.Pending() == before { // the device is down, or has gone
			return nil
		}
	}
	return nil
}

// Send has the guest send a frame.
func (r *Rings) Send(frame []byte) error {
	if !r.Queue(frame) {
		return nil // lost, as in a NIC without room
	}
	return r.Doorbell()
}

// Receive gives each frame that has come, up to 64 as QEMU takes a turn, to a function, which may look at it until it returns, and says how many.
func (r *Rings) Receive(each func(frame []byte)) int {
	frames := r.socket.Receive(64)
	for _, f := range frames {
		each(f.Bytes())
	}
	n := len(frames)
	r.socket.Release(n)
	return n
}

// Wait waits until frames have come, or a time has passed.
func (r *Rings) Wait(most time.Duration) (bool, error) {
	r.poll[0].Events, r.poll[0].Revents = unix.POLLIN, 0
	n, err := unix.Poll(r.poll, int(most.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0 && r.poll[0].Revents&unix.POLLIN != 0, err
}

// Arrived says whether the guest gets a frame with these bytes in it within a moment.
func (r *Rings) Arrived(nonce []byte) bool {
	deadline := time.Now().Add(20 * time.Millisecond)
	for found := false; ; {
		r.Receive(func(f []byte) { found = found || bytes.Contains(f, nonce) })
		left := time.Until(deadline)
		if found || left <= 0 {
			return found
		}
		if _, err := r.Wait(max(left, time.Millisecond)); err != nil {
			return false
		}
	}
}

// Stats are the socket's counters.
func (r *Rings) Stats() (xsk.Stats, error) { return r.socket.Stats() }
