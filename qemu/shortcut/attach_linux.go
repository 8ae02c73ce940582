package shortcut

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attach puts a port's program on its device, or in the place of the one that is there.
//
// What is to outlive the service is an entry program: all of it where there is a guard, and with clsact, whose filters belong to the device. Elsewhere the
// program stands there itself, by a link that the kernel ends with the service.
func (m *Manager) attach(a *attached) error {
	whole, err := m.wholeProgram(a)
	if err != nil {
		return err
	}
	defer whole.Close() //nolint:errcheck // what it is attached to holds it
	outlives := a.port.Guard || m.mode == Clsact
	if !outlives {
		return m.standTCX(a, whole)
	}
	if a.port.Redirect {
		if err := m.programs.Put(uint32(a.id), whole); err != nil {
			return fmt.Errorf("table of programs: %w", err)
		}
	} else if err := m.programs.Delete(uint32(a.id)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("table of programs: %w", err)
	}
	entry, err := load("vifplug_guard", entryProgram(m.maps(), a.port, a.id))
	if err != nil {
		return err
	}
	defer entry.Close() //nolint:errcheck // likewise
	if m.mode == Clsact {
		if err := m.cfg.Classifier.AttachClassifier(a.port.Index, entry.FD(), classifierName); err != nil {
			return gone(err)
		}
		a.stands = true
		return nil
	}
	return m.standTCX(a, entry)
}

func (m *Manager) wholeProgram(a *attached) (*ebpf.Program, error) {
	p := a.port
	switch {
	case !p.Redirect:
		return load("vifplug_pass", entryProgram(m.maps(), Port{}, 0))
	case p.Uplink:
		return load("vifplug_uplink", uplinkProgram(m.maps(), p, a.id, a.sources.m.FD(), p.PVID != 0 || len(p.Tagged) > 0))
	}
	return load("vifplug_port", guestProgram(m.maps(), p, a.id, m.nics[nicKey{p.Bridge, p.NIC}].slot))
}

// standTCX has a program stand at a device by its link, which an earlier life may have left.
func (m *Manager) standTCX(a *attached, prog *ebpf.Program) (err error) {
	index := a.port.Index
	if l := m.adopted[index]; a.link == nil && l != nil {
		delete(m.adopted, index)
		a.link, a.pinned, a.taken = l, true, true
	}
	if a.link == nil {
		l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		if err != nil {
			return gone(err)
		}
		a.link = l
		return m.pin(a)
	}
	// What is to be pinned is, before it has another program, so that a port which cannot be pinned stays as it was.
	if a.port.Guard {
		if err := m.pin(a); err != nil {
			return err
		}
	}
	if err = a.link.Update(prog); err != nil {
		return gone(err)
	}
	a.taken = false
	return m.pin(a)
}

// ErrGone says that the device went before, or while, its programs were put on it. The kernel then has taken them off too.
var ErrGone = errors.New("the device is gone")

// gone tells that error from others (linux: kernel/bpf/tcx.c tcx_link_attach, tcx_link_update).
func gone(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOLINK) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// pin has the link outlive the service where there is a guard, and not where there is none.
func (m *Manager) pin(a *attached) (err error) {
	want := a.port.Guard && m.cfg.Dir != ""
	switch {
	case want && !a.pinned:
		if err = os.MkdirAll(m.cfg.Dir, 0o700); err == nil {
			file := filepath.Join(m.cfg.Dir, pinPrefix+strconv.Itoa(a.port.Index))
			_ = os.Remove(file) // of a device that is gone, whose index is another's now
			err = a.link.Pin(file)
		}
		if err != nil {
			err = fmt.Errorf("pin the guard, which is to outlive vifplugd, in %s: %w. Is a bpffs mounted there (mount -t bpf bpf /sys/fs/bpf)?", m.cfg.Dir, err)
		}
	case !want && a.pinned:
		err = a.link.Unpin()
	}
	if err == nil {
		a.pinned = want
	}
	return err
}

const pinPrefix = "guard-"

func (m *Manager) detach(a *attached) error {
	var errs []error
	if err := m.programs.Delete(uint32(a.id)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		errs = append(errs, err)
	}
	if m.mode == Clsact {
		errs = append(errs, m.cfg.Classifier.DetachClassifier(a.port.Index, classifierName))
	}
	if a.link != nil {
		if a.pinned {
			errs = append(errs, a.link.Unpin())
		}
		errs = append(errs, a.link.Close())
	}
	return errors.Join(errs...)
}

// Adopt finds the guards that an earlier life has left pinned, by the index of their device. They hold on until Set replaces, or Remove ends them. Those whose
// device has gone are cleared away.
func (m *Manager) Adopt() (indexes []int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.Dir == "" || m.mode != TCX {
		return nil, nil
	}
	entries, err := os.ReadDir(m.cfg.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("shortcut: %w", err)
	}
	for _, e := range entries {
		index, err := strconv.Atoi(strings.TrimPrefix(e.Name(), pinPrefix))
		if !strings.HasPrefix(e.Name(), pinPrefix) || err != nil {
			continue
		}
		file := filepath.Join(m.cfg.Dir, e.Name())
		l, err := link.LoadPinnedLink(file, nil)
		if err != nil {
			m.log.Warn("a pinned guard cannot be taken over", "file", file, "err", err)
			continue
		}
		info, err := l.Info()
		if err != nil || info.TCX() == nil || int(info.TCX().Ifindex) != index {
			_ = errors.Join(l.Unpin(), l.Close())
			continue
		}
		m.adopted[index] = l
		indexes = append(indexes, index)
	}
	return indexes, nil
}

// Foreign tells of programs of others at a device's TCX ingress, each in a few words.
func (m *Manager) Foreign(index int) ([]string, error) {
	if m.mode != TCX {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	res, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("shortcut: list the programs of port %d: %w", index, err)
	}
	var own link.ID
	for _, l := range []link.Link{m.linkOf(index), m.adopted[index]} {
		if l == nil {
			continue
		}
		if info, err := l.Info(); err == nil {
			own = info.ID
		}
	}
	var out []string
	for _, p := range res.Programs {
		if id, ok := p.LinkID(); ok && id == own && own != 0 {
			continue
		}
		out = append(out, fmt.Sprintf("an eBPF program at TCX (id %d)", p.ID))
	}
	return out, nil
}

func (m *Manager) linkOf(index int) link.Link {
	if a := m.ports[index]; a != nil {
		return a.link
	}
	return nil
}

// probe finds out how programs can be attached, by loading the largest one and attaching it to a tap that nobody else uses.
func (m *Manager) probe() (Mode, error) {
	p := Port{Index: 1, Bridge: 1, MTU: 1500, NIC: "probe", VLAN: 1, Redirect: true, Guard: true}
	whole, err := load("vifplug_probe", guestProgram(m.maps(), p, 0, 0))
	if err != nil {
		return "", fmt.Errorf("shortcut: the kernel does not load the program: %w", err)
	}
	defer whole.Close() //nolint:errcheck // it was for the probe
	if m.cfg.Mode != Clsact {
		if err = tryTCX(whole); err == nil {
			return TCX, nil
		}
	}
	switch {
	case m.cfg.Mode == TCX:
		return "", fmt.Errorf("shortcut: no TCX: %w", err)
	case m.cfg.Classifier == nil:
		return "", fmt.Errorf("shortcut: no TCX (Linux 6.6), and nothing that attaches to clsact: %w", err)
	}
	return Clsact, nil
}

// tryTCX attaches a program to a tap that is made for this, is never up, and goes with its descriptor.
func tryTCX(prog *ebpf.Program) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // the tap goes with it
	req, err := unix.NewIfreq("vifprobe%d")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("make a tap to try on: %w", err)
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s) //nolint:errcheck // it was for one question
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, req); err != nil {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: int(req.Uint32()), Program: prog, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	return l.Close()
}
