package xsk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode is where in a device's receive path an XDP program stands, in the word that QEMU has for it (mode=).
type Mode string

const (
	// AnyMode is native where the driver can do it, else generic.
	AnyMode Mode = "any"
	// Native is in the driver, before the kernel has made a packet of the frame. A veth's other end loses segmentation offload by it, and may have no
	// MTU over some 3500 bytes (linux: drivers/net/veth.c veth_xdp_set).
	Native Mode = "native"
	// Generic is after that, with any driver. Frames that a tc program has redirected to the other end of a veth are not shown to it (linux:
	// net/core/dev.c netif_receive_generic_xdp).
	Generic Mode = "skb"
)

// Attachment is the program on a device that gives each queue's frames to its socket.
type Attachment struct {
	sockets *ebpf.Map
	link    link.Link
	mode    Mode
}

// The names of what [Attachment.Pin] leaves in its directory. The mode is the link's name, since the kernel does not tell it of a link.
const (
	pinnedMap  = "sockets"
	pinnedLink = "link-" // and the mode
)

// Attach puts the program on a device of the calling thread's network namespace, for that many queues (0 is 1). Until [Attachment.Add] every frame
// goes on as without it. There must be no other XDP program.
func Attach(index, queues int, mode Mode) (*Attachment, error) {
	a, err := attach(index, max(queues, 1), mode)
	if err != nil {
		return nil, fmt.Errorf("xsk: attach to device %d: %w", index, err)
	}
	return a, nil
}

func attach(index, queues int, mode Mode) (*Attachment, error) {
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Name: "vifplug_xsk", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues)})
	if err != nil {
		return nil, explain(fmt.Errorf("make the map of sockets: %w", err))
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "vifplug_xsk", Type: ebpf.XDP, Instructions: instructions(sockets.FD()), License: "GPL"})
	if err != nil {
		return nil, errors.Join(explain(fmt.Errorf("load the program: %w", err)), sockets.Close())
	}
	defer program.Close() //nolint:errcheck // the link has it
	l, mode, err := linkTo(index, program, mode)
	if err != nil {
		return nil, errors.Join(explain(err), sockets.Close())
	}
	return &Attachment{sockets: sockets, link: l, mode: mode}, nil
}

// instructions redirect a frame to the socket that has its queue. Where none has, the third argument says what becomes of it instead (Linux 5.3).
func instructions(sockets int) asm.Instructions {
	const rxQueueIndex = 16 // linux: include/uapi/linux/bpf.h struct xdp_md
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, rxQueueIndex, asm.Word),
		asm.LoadMapPtr(asm.R1, sockets),
		asm.Mov.Imm(asm.R3, xdpPass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
	}
}

const xdpPass = 2 // linux: include/uapi/linux/bpf.h XDP_PASS

// linkTo attaches a program in the wanted mode, or finds one by trying.
func linkTo(index int, p *ebpf.Program, want Mode) (link.Link, Mode, error) {
	flags := map[Mode]link.XDPAttachFlags{Native: link.XDPDriverMode, Generic: link.XDPGenericMode}
	try := []Mode{want}
	if want == AnyMode {
		try = []Mode{Native, Generic}
	}
	var errs []error
	for _, m := range try {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: flags[m]})
		if err == nil {
			return l, m, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", m, err))
	}
	return nil, want, errors.Join(errs...)
}

// explain adds what to do.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: it takes CAP_NET_ADMIN and CAP_BPF", err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: there is an XDP program already (ip link show)", err)
	case errors.Is(err, unix.ERANGE):
		return fmt.Errorf("%w: the other end's MTU is too large for XDP", err)
	}
	return err
}

// Mode says where the program stands.
func (a *Attachment) Mode() Mode { return a.mode }

// ErrInUse says that a queue has a socket, which somebody has open.
var ErrInUse = errors.New("the queue has a socket that a process uses")

// Add has a queue's frames go to a socket, which need not be bound yet: until it is, they are lost. A queue that has another is left to it: [ErrInUse].
// The socket leaves the queue when it is closed by everyone who has it; then frames go on as without the program.
func (a *Attachment) Add(queue int, socket *os.File) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("xsk: give queue %d to a socket: %w", queue, err)
	}
	var put error
	if err = raw.Control(func(fd uintptr) { put = a.put(queue, fd) }); err != nil {
		return fmt.Errorf("xsk: give queue %d to a socket: %w", queue, err)
	}
	return put
}

// AddSocket is [Attachment.Add] for a socket that is in use here.
func (a *Attachment) AddSocket(queue int, s *Socket) error { return a.put(queue, uintptr(s.fd)) }

func (a *Attachment) put(queue int, fd uintptr) error {
	err := a.sockets.Update(uint32(queue), uint32(fd), ebpf.UpdateNoExist)
	switch {
	case errors.Is(err, ebpf.ErrKeyExist):
		return fmt.Errorf("xsk: give queue %d to a socket: %w", queue, ErrInUse)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("xsk: give queue %d to a socket: %w: the program was attached for %d queues", queue, err, a.sockets.MaxEntries())
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("xsk: give queue %d to a socket: %w: this is no AF_XDP socket", queue, err)
	case err != nil:
		return fmt.Errorf("xsk: give queue %d to a socket: %w", queue, err)
	}
	return nil
}

// InUse says that a queue has a socket that is open somewhere. It needs CAP_NET_RAW, since the kernel answers it only by taking another socket or not.
func (a *Attachment) InUse(queue int) (bool, error) {
	f, err := NewFile()
	if err != nil {
		return false, err
	}
	err = a.Add(queue, f)
	if errors.Is(err, ErrInUse) {
		return true, f.Close()
	}
	return false, errors.Join(err, f.Close())
}

// Remove takes a queue from its socket, if it has one: frames go on as without the program.
func (a *Attachment) Remove(queue int) error {
	if err := a.sockets.Delete(uint32(queue)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("xsk: take queue %d from its socket: %w", queue, err)
	}
	return nil
}

// Pin has the program stay when this process ends, until [Unpin] or the device's end: a directory of a bpffs (/sys/fs/bpf) holds it, which is made
// if need be. It is found again by [Pinned]. The kernel refuses names with dots there (linux: kernel/bpf/inode.c bpf_lookup).
func (a *Attachment) Pin(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cannotPin(dir, err)
	}
	if err := a.sockets.Pin(filepath.Join(dir, pinnedMap)); err != nil {
		return cannotPin(dir, err)
	}
	if err := a.link.Pin(filepath.Join(dir, pinnedLink+string(a.mode))); err != nil {
		return errors.Join(cannotPin(dir, err), a.sockets.Unpin())
	}
	return nil
}

func cannotPin(dir string, err error) error {
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("xsk: pin in %s: %w: another program is pinned there", dir, err)
	}
	return fmt.Errorf("xsk: pin in %s: %w. Is a bpffs mounted there (mount -t bpf bpf /sys/fs/bpf)?", dir, err)
}

// Pinned opens what [Attachment.Pin] left in a directory. With [os.ErrNotExist] there is nothing; with [ErrGone] its device has gone, so that
// only [Unpin] makes sense.
func Pinned(dir string) (*Attachment, error) {
	for _, m := range []Mode{Native, Generic} {
		l, err := link.LoadPinnedLink(filepath.Join(dir, pinnedLink+string(m)), nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("xsk: open what is pinned in %s: %w", dir, err)
		}
		a, err := opened(l, m, dir)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("xsk: open what is pinned in %s: %w", dir, err), l.Close())
		}
		return a, nil
	}
	return nil, fmt.Errorf("xsk: open what is pinned in %s: %w", dir, os.ErrNotExist)
}

// ErrGone says that a program is pinned whose device has gone.
var ErrGone = errors.New("the device has gone")

func opened(l link.Link, m Mode, dir string) (*Attachment, error) {
	index, err := indexOf(l)
	if err != nil {
		return nil, err
	}
	if index == 0 { // linux: net/core/dev.c bpf_xdp_link_fill_link_info
		return nil, ErrGone
	}
	sockets, err := ebpf.LoadPinnedMap(filepath.Join(dir, pinnedMap), nil)
	if err != nil {
		return nil, err
	}
	return &Attachment{sockets: sockets, link: l, mode: m}, nil
}

func indexOf(l link.Link) (int, error) {
	info, err := l.Info()
	if err != nil {
		return 0, err
	}
	x := info.XDP()
	if x == nil {
		return 0, errors.New("this is no link of an XDP program")
	}
	return int(x.Ifindex), nil
}

// Index is the device's. It is 0 when the device has gone.
func (a *Attachment) Index() (int, error) {
	n, err := indexOf(a.link)
	if err != nil {
		return 0, fmt.Errorf("xsk: ask what device the program is on: %w", err)
	}
	return n, nil
}

// Unpin removes what [Attachment.Pin] left in a directory, and the directory. The program goes from its device unless it is open somewhere. That
// nothing is there is no error.
func Unpin(dir string) error {
	var errs []error
	for _, name := range []string{pinnedLink + string(Native), pinnedLink + string(Generic), pinnedMap, ""} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("xsk: unpin: %w", err)
	}
	return nil
}

// Close closes what this process has of it. Unless it is pinned the program goes from its device.
func (a *Attachment) Close() error { return errors.Join(a.link.Close(), a.sockets.Close()) }
