package loop

import "errors"

// device is the network device at the loop's other side. Its receiving half and its sending half are used by one thread each.
type device interface {
	// fill moves frames that have come into b, as many as there are and fit. It neither waits nor allocates.
	fill(b *Burst)
	// ready says whether fill would find one, without a system call.
	ready() bool
	// readable is the descriptor to poll for POLLIN when fill found none.
	readable() int
	// troubled is the descriptor that has an error when the device goes.
	troubled() int
	// send hands frames on, at most sendBatch, and says how many were taken. Where that is none, it says why: errFull is no loss but a reason to wait for
	// POLLOUT on writable, errGone is lasting, and a [Reason] is why the first frame has to be dropped.
	send(frames [][]byte) (taken int, why error)
	writable() int
	// flush has what send took be sent: errFull and errGone as there.
	flush() error
	// trouble looks what is the matter with the device: errGone where that is lasting.
	trouble() (up bool, err error)
	// count adds to the counters what the kernel alone has counted: frames to the guest that found no room.
	count(why Reason)
	close() error
}

// sendBatch is how many frames are handed on by one call. All of it is done before a garbage collection may begin, where there is one.
const sendBatch = 64

var (
	errFull = errors.New("the device takes no more")
	errGone = errors.New("loop: the device is gone")
)

// Kind is a way to reach a device.
type Kind int

// The ways. The zero value is the best that there is, found by opening it.
const (
	Auto     Kind = iota
	AFPacket      // AF_PACKET: a ring for what comes, many frames by a call for what goes
	AFXDP         // AF_XDP: rings both ways
)

// String gives a way its name.
func (k Kind) String() string { return [...]string{"auto", "af-packet", "af-xdp"}[k] }

// Kinds are the ways by their names.
var Kinds = []Kind{Auto, AFPacket, AFXDP}

// openDevice opens a device in the wanted way, or finds one; why says what spoke against a better one.
func openDevice(kind Kind, index, mtu int, c *Counters) (d device, is Kind, why error, err error) {
	if kind != AFPacket {
		x, err := openXDP(index, mtu, c)
		switch {
		case err == nil:
			return x, AFXDP, nil, nil
		case kind == AFXDP:
			return nil, kind, nil, err
		}
		why = err
	}
	p, err := openPacket(index, mtu, c)
	if err != nil {
		return nil, AFPacket, why, err
	}
	return p, AFPacket, why, nil
}

// Error has a reason be what send says.
func (r Reason) Error() string { return r.String() }
