// Package machine is a computer in QEMU's software emulation that runs Xen: what it boots, how it is wired, and how one job goes through it.
package machine

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"vifplug/test/xenvm/job"
)

// Program is the emulator.
const Program = "qemu-system-x86_64"

// Config is one boot.
type Config struct {
	Xen    string // the hypervisor, uncompressed
	Kernel string // dom0's kernel; an ELF file boots faster than a bzImage, which Xen has to decompress
	Initrd string // dom0's root file system
	Memory int    // of the whole machine, MiB; 0: 2048
	Dom0   int    // of dom0, MiB; 0: 1024
	CPUs   int    // 0: 2

	BootLimit time.Duration // from power-on to the job's start; 0: none

	KernelArgs string // more of dom0's kernel command line
}

// Descriptors of the sockets, as QEMU has them.
const (
	fdConsole = 3 + iota
	fdOut
	fdErr
	fdControl
	fdInitrd
)

// kernelArgs is dom0's kernel command line. What follows quiet is work that a dom0 which lives for seconds can do without: a second, measured.
const kernelArgs = "console=hvc0 quiet rodata=off mitigations=off apparmor=0 audit=0 cryptomgr.notests=1 "

// Args is QEMU's command line.
//
// dom0's disks and network cards are none: all it needs is in its initrd. Xen's console, with dom0's kernel on it, is the first serial port; the
// job's channels are virtio ports beside it. Under Xen a device must be told bus addresses, hence iommu_platform, which makes dom0's driver
// ask for them.
func (c Config) Args() []string {
	dom0 := strconv.Itoa(or(c.Dom0, 1024))
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=multi", "-cpu", "qemu64,+svm,+npt",
		"-smp", strconv.Itoa(or(c.CPUs, 2)), "-m", strconv.Itoa(or(c.Memory, 2048)),
		"-kernel", c.Xen,
		"-append", "dom0_mem=" + dom0 + "M,max:" + dom0 + "M console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning edid=no",
		"-initrd", escape(c.Kernel) + " " + kernelArgs + escape(c.KernelArgs) + "," + escape(c.Initrd),
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", fdConsole), "-serial", "chardev:console",
		"-device", "virtio-serial-pci,disable-legacy=on,iommu_platform=on,max_ports=4",
	}
	for i, port := range []string{job.PortOut, job.PortErr, job.PortControl} {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=port%d,fd=%d", i, fdOut+i), "-device", fmt.Sprintf("virtserialport,chardev=port%d,name=%s,nr=%d", i, port, i+1))
	}
	return args
}

// escape keeps QEMU from ending a module at a comma.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
