// Package guest runs a Linux guest in real QEMU, in software emulation and without Xen, in the network namespace of the caller: a guest with NICs
// that QEMU emulates, whose kernel sends what real kernels send. Its tests have it speak to a peer over each path that a frame can take.
//
// The guest boots in three seconds. It is Debian's kernel with busybox (test/xenvm/image), and it runs what it is told over a serial port.
package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vifplug/test/xenvm/image"
)

// Program is the emulator, unless [Options] name another.
const Program = "qemu-system-x86_64"

// Limits of time: a machine that is busy with other tests takes ten times as long as an idle one.
const (
	bootLimit    = 2 * time.Minute
	commandLimit = time.Minute
)

// NIC is one emulated NIC and its other end.
type NIC struct {
	Model  string // as QEMU's -device has it: e1000, rtl8139, virtio-net-pci; options may follow after commas
	MAC    string
	Netdev string // as QEMU's -netdev has it, without an id: tap,ifname=tap0,script=no,downscript=no
}

// Options say what a guest is like.
type Options struct {
	Image   string // what [Build] gave
	NICs    []NIC
	Program string     // QEMU's; empty: [Program]
	Files   []*os.File // QEMU has them as descriptors from [FirstFile] on
}

// FirstFile is the number of the first of [Options.Files] in QEMU.
const FirstFile = 4

// Guest is a machine that runs.
type Guest struct {
	cmd      *exec.Cmd
	commands *os.File
	lines    *bufio.Reader
	said     *buffer // by QEMU, and by the guest's kernel
	ended    chan struct{}
	name     string
}

// Build gives the directory of the guest's kernel and initrd. It makes them the first time, by Debian's packages, so that the calling thread must be in
// a network namespace that has a way to them. The error is an [image.Missing] where this machine lacks a program for it.
func Build() (string, error) {
	cache, err := image.CacheDir()
	if err != nil {
		return "", err
	}
	return image.EnsurePlain(cache, func(format string, args ...any) { fmt.Fprintf(os.Stderr, "guest: "+format+"\n", args...) })
}

// Start starts a guest, whose taps and sockets are those of the calling thread's network namespace, and waits until it takes commands. QEMU ends
// at the latest with the calling thread, which must be locked.
func Start(ctx context.Context, o Options) (*Guest, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("guest: socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "commands")
	defer theirs.Close() //nolint:errcheck // QEMU has its own
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("guest: socket pair: %w", err)
	}
	g := &Guest{commands: os.NewFile(uintptr(fds[0]), "commands"), said: &buffer{}, ended: make(chan struct{})}
	g.lines = bufio.NewReader(g.commands)
	g.name = o.Program
	if g.name == "" {
		g.name = Program
	}
	g.cmd = exec.Command(g.name, args(o)...)
	g.cmd.Stdout, g.cmd.Stderr = g.said, g.said
	g.cmd.ExtraFiles = append([]*os.File{theirs}, o.Files...)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("guest: %w", err), g.commands.Close())
	}
	go g.runWait()
	if err := g.ready(ctx); err != nil {
		g.Kill()
		return nil, err
	}
	return g, nil
}

// args is QEMU's command line: no firmware for the NICs, which boot nothing.
func args(o Options) []string {
	out := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35,usb=off", "-accel", "tcg", "-cpu", "qemu64", "-m", "256",
		"-kernel", filepath.Join(o.Image, image.KernelFile), "-initrd", filepath.Join(o.Image, image.PlainInitrdFile),
		"-append", "console=ttyS0 quiet rodata=off mitigations=off apparmor=0 audit=0 cryptomgr.notests=1 panic=-1",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=commands,fd=3", "-serial", "chardev:commands",
	}
	for i, n := range o.NICs {
		id := "nic" + strconv.Itoa(i)
		out = append(out, "-netdev", n.Netdev+",id="+id, "-device", n.Model+",romfile=,netdev="+id+",mac="+n.MAC)
	}
	return out
}

func (g *Guest) runWait() {
	defer close(g.ended)
	_ = g.cmd.Wait()
}

func (g *Guest) ready(ctx context.Context) error {
	deadline := time.Now().Add(bootLimit)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := g.commands.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("guest: %w", err)
	}
	for {
		line, err := g.lines.ReadString('\n')
		switch {
		case err != nil:
			return g.broken("boot", err)
		case strings.HasPrefix(line, "GUEST-READY"):
			return nil
		}
	}
}

// Run has the guest's shell run a line, and gives what it printed. A line that fails is an error, with what it printed.
func (g *Guest) Run(format string, args ...any) (string, error) {
	line := fmt.Sprintf(format, args...)
	if err := g.commands.SetReadDeadline(time.Now().Add(commandLimit)); err != nil {
		return "", g.broken(line, err)
	}
	if _, err := g.commands.WriteString(line + "\n"); err != nil {
		return "", g.broken(line, err)
	}
	var out strings.Builder
	for {
		text, err := g.lines.ReadString('\n')
		if err != nil {
			return out.String(), g.broken(line, err)
		}
		status, ended := strings.CutPrefix(text, "GUEST-END ")
		if !ended {
			out.WriteString(text)
			continue
		}
		printed := strings.TrimSpace(out.String())
		if status = strings.TrimSpace(status); status != "0" {
			return printed, fmt.Errorf("guest: %s: exit status %s\n%s", line, status, printed)
		}
		return printed, nil
	}
}

// broken is the error of a guest that no longer answers.
func (g *Guest) broken(doing string, err error) error {
	return fmt.Errorf("guest: %s: %w; %s and the guest's kernel said:\n%s", doing, err, g.name, g.said)
}

// Device is the guest's name for the NIC with a MAC.
func (g *Guest) Device(mac string) (string, error) {
	return g.Run("basename $(dirname $(grep -lxi %s /sys/class/net/eth*/address))", mac)
}

// PID is QEMU's process.
func (g *Guest) PID() int { return g.cmd.Process.Pid }

// Kill kills QEMU and waits for its end. It may be called again.
func (g *Guest) Kill() {
	_ = g.cmd.Process.Kill()
	<-g.ended
	_ = g.commands.Close()
}

// buffer keeps what several write.
type buffer struct {
	mu  sync.Mutex // guards all following fields
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
