package main

import (
	"errors"
	"flag"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/qemu/loop"
)

const help = `vif-loop carries the frames of one guest's NIC between QEMU's -netdev stream and the guest's port on the bridge.

Usage: vif-loop (--guest NAME --nic N | --instance NAME.N | --tap NAME) (--listen PATH | --connect PATH) [flags]

Whose NIC:
  --guest NAME        the guest's name, as xl has it; its port is called tapDOMID.N
  --nic N             which of its NICs, from 0 (default 0)
  --instance NAME.N   both in one: what the unit vif-loop@NAME.N.service says
  --tap NAME          the port's name, without Xen or by hand
  --bridge BR         the bridge to put it on; without it vifplugd does that, for a port called tapDOMID.N

Where QEMU is:
  --listen PATH       QEMU connects there (-netdev stream,server=off,...); systemd's socket is taken where it passes one
  --connect PATH      QEMU listens there (-netdev stream,server=on,...), now or later
  --datagram PATH     with --connect: exchange datagrams from this path (-netdev dgram), for peers that know nothing else; slow
  --once              end when QEMU goes; so it is with a socket of systemd's, which starts it again

How:
  --socket KIND       auto, af-xdp or af-packet: how to reach the port (default auto: af-xdp where the kernel has it)
  --mtu N             the largest MTU that the port will have (default: what it has now, or 1500)
  --user USER         whom to become, by name or number (default nobody)
  --control PATH      vifplugd's socket, for a guest's number (default /run/vifplug/control.sock)
  --wait DURATION     how long the guest may be unknown there (default 1m0s)
  --remove            remove the port of that name, or whatever ports that NIC has, and end
  --version           print the version

Examples:
  vif-loop --guest web --nic 0 --listen /run/vifplug/loop/web.0.sock
  vif-loop --tap tap5.0 --bridge xenbr0 --connect /run/qemu/web.sock --once

Signals: USR1 logs the counters; TERM ends it. The port stays on the bridge, for the next one.
`

// options are the command line.
type options struct {
	guest, instance string
	nic             uint
	tap, bridge     string
	listen, connect string
	datagram        string
	once            bool
	socket          loop.Kind
	mtu             int
	user            string
	control         string
	wait            time.Duration
	remove          bool
}

func parseFlags(args []string) (options, error) {
	var o options
	var kind string
	var version bool
	fs := flag.NewFlagSet("vif-loop", flag.ContinueOnError)
	fs.SetOutput(discard{})
	fs.StringVar(&o.guest, "guest", "", "")
	fs.UintVar(&o.nic, "nic", 0, "")
	fs.StringVar(&o.instance, "instance", "", "")
	fs.StringVar(&o.tap, "tap", "", "")
	fs.StringVar(&o.bridge, "bridge", "", "")
	fs.StringVar(&o.listen, "listen", "", "")
	fs.StringVar(&o.connect, "connect", "", "")
	fs.StringVar(&o.datagram, "datagram", "", "")
	fs.BoolVar(&o.once, "once", false, "")
	fs.StringVar(&kind, "socket", "auto", "")
	fs.IntVar(&o.mtu, "mtu", 0, "")
	fs.StringVar(&o.user, "user", "nobody", "")
	fs.StringVar(&o.control, "control", "/run/vifplug/control.sock", "")
	fs.DurationVar(&o.wait, "wait", defaultWait, "")
	fs.BoolVar(&o.remove, "remove", false, "")
	fs.BoolVar(&version, "version", false, "")
	if err := fs.Parse(args); err != nil {
		if err == flag.ErrHelp { //nolint:errorlint // flag documents identity
			fmt.Print(help)
		}
		return o, err
	}
	if version {
		fmt.Println("vif-loop", buildVersion())
		return o, flag.ErrHelp
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not understood", fs.Arg(0))
	}
	var err error
	if o.socket, err = parseKind(kind); err != nil {
		return o, err
	}
	return o, o.check()
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func parseKind(s string) (loop.Kind, error) {
	for _, k := range loop.Kinds {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("--socket %q: want auto, af-xdp or af-packet", s)
}

// check says what is wrong with the command line, and takes an instance's name apart.
func (o *options) check() error {
	if o.instance != "" {
		if o.guest != "" || o.nic != 0 {
			return errors.New("--instance says the guest and the NIC: leave --guest and --nic out")
		}
		if err := o.takeInstance(); err != nil {
			return err
		}
	}
	switch {
	case (o.guest == "") == (o.tap == ""):
		return errors.New("whose NIC is it? Say one of --guest, --instance and --tap")
	case o.tap != "" && o.nic != 0:
		return errors.New("--nic goes with --guest: the name of --tap says all")
	case o.nic > maxNIC:
		return fmt.Errorf("--nic %d: want 0 to %d", o.nic, maxNIC)
	case o.remove:
		return o.checkNames()
	case o.connect != "" && o.listen != "":
		return errors.New("--listen and --connect exclude each other: either QEMU connects, or it listens")
	case o.datagram != "" && o.connect == "":
		return errors.New("--datagram needs --connect: both sides of -netdev dgram have a path")
	case o.mtu != 0 && (o.mtu < 68 || o.mtu > 65535):
		return fmt.Errorf("--mtu %d: want 68 to 65535", o.mtu)
	}
	return o.checkNames()
}

// maxNIC keeps the port's name within what the kernel takes.
const maxNIC = 255

func (o *options) checkNames() error {
	for flag, name := range map[string]string{"--tap": o.tap, "--bridge": o.bridge} {
		if name == "" {
			continue
		}
		if _, err := bridge.ParseName(name); err != nil {
			return fmt.Errorf("%s %q: %w", flag, name, err)
		}
	}
	if o.tap != "" && len(network.HiddenName(bridge.Name(o.tap))) > bridge.NameMax {
		return fmt.Errorf("--tap %s: the hidden end would be called %s, which is longer than %d bytes", o.tap, network.HiddenName(bridge.Name(o.tap)), bridge.NameMax)
	}
	return nil
}

// takeInstance reads NAME.N. systemd-escape's \xNN are taken back, so that every name can be an instance's.
func (o *options) takeInstance() error {
	i := strings.LastIndexByte(o.instance, '.')
	if i <= 0 {
		return fmt.Errorf("--instance %q: want NAME.N, the guest's name and the number of its NIC", o.instance)
	}
	n, err := strconv.ParseUint(o.instance[i+1:], 10, 16)
	if err != nil {
		return fmt.Errorf("--instance %q: %q is no number of a NIC", o.instance, o.instance[i+1:])
	}
	name, err := unescape(o.instance[:i])
	if err != nil {
		return fmt.Errorf("--instance %q: %w", o.instance, err)
	}
	o.guest, o.nic = name, uint(n)
	return nil
}

// unescape takes \xNN back (systemd.unit(5), "string escaping"), and nothing else.
func unescape(s string) (string, error) {
	var b strings.Builder
	for s != "" {
		before, after, found := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !found {
			break
		}
		if len(after) < 2 {
			return "", errors.New(`\x needs two digits`)
		}
		c, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "", fmt.Errorf(`\x%s is no byte`, after[:2])
		}
		b.WriteByte(byte(c))
		s = after[2:]
	}
	return b.String(), nil
}

// identity is a user.
type identity struct{ uid, gid int }

// lookUp finds a user by name, or by number: then its group has the same.
func lookUp(name string) (identity, error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return identity{int(n), int(n)}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, fmt.Errorf("--user %s: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return identity{uid, gid}, errors.Join(err1, err2)
}
