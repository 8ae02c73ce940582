// Package image builds what the machine boots: Xen, dom0's kernel and root file system, and in it the guests' kernels and root file systems, all
// from Debian's packages. Nothing is compiled, and nothing of the host's configuration goes in.
package image

import (
	_ "embed" // the init scripts
	"slices"
)

// version of the recipe: raise it when the same packages are to give another image.
const version = "1"

// Init scripts: of dom0, and of the guests.
var (
	//go:embed dom0.init
	dom0Init []byte
	//go:embed guest.init
	guestInit []byte
)

const (
	xenPackage = "xen-hypervisor-4.17-amd64"
	xenFile    = "/boot/xen-4.17-amd64.gz"
	xenTools   = "/usr/lib/xen-4.17"
	busybox    = "/bin/busybox"
	udevd      = "/lib/systemd/systemd-udevd"
	systemd    = "/lib/systemd/systemd"
)

// item is what one package gives to dom0.
type item struct {
	pkg      string
	programs []string // with the libraries that they load
	files    []string // copied; a directory with all below it
}

// recipe lists, by package, what comes from this machine's disk. Packages that only the building or the machine needs have no files.
var recipe = []item{
	{pkg: "qemu-system-x86"},
	{pkg: xenPackage},
	{pkg: "kmod", programs: []string{"/bin/kmod"}},
	{pkg: "busybox-static", programs: []string{busybox}},
	{
		pkg: "xen-utils-4.17",
		programs: []string{
			xenTools + "/bin/xl", xenTools + "/bin/xenstored", xenTools + "/bin/xenconsoled", xenTools + "/bin/xenconsole",
			xenTools + "/bin/xen-init-dom0", xenTools + "/bin/xenstore-control", xenTools + "/bin/libxl-save-helper", xenTools + "/bin/xen-hvmcrash",
		},
		files: []string{xenTools + "/boot/hvmloader"},
	},
	{pkg: "xen-utils-common", files: []string{"/etc/xen"}},
	{pkg: "xenstore-utils", programs: []string{"/usr/bin/xenstore"}},
	{pkg: "qemu-system-xen", programs: []string{"/usr/libexec/xen-qemu-system-i386"}},
	{pkg: "qemu-system-data", files: []string{
		"/usr/share/qemu/linuxboot.bin", "/usr/share/qemu/linuxboot_dma.bin", "/usr/share/qemu/kvmvapic.bin", "/usr/share/qemu/multiboot.bin",
		"/usr/share/qemu/keymaps/en-us",
	}},
	{pkg: "seabios", files: []string{"/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/vgabios-stdvga.bin", "/usr/share/seabios/vgabios-cirrus.bin"}},
	{pkg: "ipxe-qemu", files: []string{"/usr/lib/ipxe/qemu/efi-e1000.rom", "/usr/lib/ipxe/qemu/efi-rtl8139.rom", "/usr/lib/ipxe/qemu/efi-virtio.rom"}},
	{pkg: "iproute2", programs: []string{"/sbin/ip", "/sbin/bridge", "/sbin/tc"}},
	// the three ways to set a host's networks up that vifctl import is tried on: ifupdown with its helpers, systemd-networkd (below), ip
	{pkg: "bridge-utils", programs: []string{"/usr/sbin/brctl"}, files: []string{
		"/lib/bridge-utils", "/etc/network/if-pre-up.d/bridge", "/etc/network/if-post-down.d/bridge",
	}},
	{pkg: "ifupdown", programs: []string{"/sbin/ifup"}, files: []string{"/lib/ifupdown"}},
	{pkg: "vlan", files: []string{"/etc/network/if-pre-up.d/vlan", "/etc/network/if-post-down.d/vlan"}},
	{pkg: "ifenslave", files: []string{"/etc/network/if-pre-up.d/ifenslave", "/etc/network/if-post-down.d/ifenslave", "/etc/network/if-up.d/ifenslave"}},
	{pkg: "debianutils", programs: []string{"/usr/bin/run-parts"}},
	{pkg: "nftables", programs: []string{"/usr/sbin/nft"}},
	{pkg: "ethtool", programs: []string{"/usr/sbin/ethtool"}},
	{pkg: "tcpdump", programs: []string{"/usr/bin/tcpdump"}},
	{pkg: "bash", programs: []string{"/bin/bash"}},
	{pkg: "mawk", programs: []string{"/usr/bin/mawk"}},
	{pkg: "grep", programs: []string{"/bin/grep"}},
	{pkg: "sed", programs: []string{"/bin/sed"}},
	{pkg: "coreutils", programs: []string{"/bin/ls", "/bin/cat", "/usr/bin/stat", "/usr/bin/readlink", "/bin/date"}},
	{pkg: "util-linux", programs: []string{"/usr/bin/flock", "/usr/bin/unshare", "/usr/bin/nsenter"}},
	{pkg: "udev", programs: []string{"/usr/bin/udevadm"}, files: []string{
		"/lib/udev/rules.d/50-udev-default.rules", "/lib/udev/rules.d/75-net-description.rules", "/lib/udev/rules.d/80-drivers.rules",
		"/lib/udev/rules.d/80-net-setup-link.rules", "/lib/systemd/network/99-default.link", "/lib/systemd/network/73-usb-net-by-mac.link",
	}},
	{
		pkg: "systemd",
		programs: []string{
			"/usr/bin/systemd-socket-activate", "/usr/bin/systemd-notify", "/lib/systemd/systemd-networkd", systemd, "/usr/bin/systemctl",
			"/lib/systemd/systemd-journald", "/usr/bin/journalctl",
		},
		files: systemdUnits(),
	},
	// libraries that are loaded while running, not named by the programs
	{pkg: "libgcc-s1", files: []string{"/lib/x86_64-linux-gnu/libgcc_s.so.1"}},
}

// systemdUnits are what a systemd that starts services needs: dom0's process 1 is not one, but a test may run its own in a PID namespace.
func systemdUnits() (files []string) {
	for _, name := range []string{
		"basic.target", "final.target", "local-fs-pre.target", "local-fs.target", "multi-user.target", "network-online.target", "network-pre.target",
		"network.target", "paths.target", "shutdown.target", "slices.target", "sockets.target", "swap.target", "sysinit.target", "timers.target",
		"umount.target", "systemd-journald-dev-log.socket", "systemd-journald.service", "systemd-journald.socket",
	} {
		files = append(files, "/lib/systemd/system/"+name)
	}
	return files
}

// dom0Modules are dom0's kernel modules: files, or directories with all below them, under the kernel's module directory.
var dom0Modules = []string{
	"drivers/virtio", "drivers/char/virtio_console.ko", "drivers/xen", "drivers/net/xen-netback", "drivers/net/bonding",
	"drivers/net/tun.ko", "drivers/net/dummy.ko", "drivers/net/veth.ko", "drivers/net/ifb.ko", "drivers/net/macvlan.ko", "drivers/net/macvtap.ko", "drivers/net/tap.ko",
	"net/llc", "net/802", "net/8021q", "net/bridge", "net/netfilter", "net/ipv4/netfilter", "net/ipv6/netfilter", "net/sched", "net/core", "net/tls",
	"lib", "crypto/crc32c_generic.ko", "arch/x86/crypto/crc32c-intel.ko", "drivers/block/xen-blkback", "drivers/vhost",
}

// droppedModules are large and of no use here.
var droppedModules = []string{"lib/test_bpf.ko", "net/netfilter/ipset", "net/netfilter/ipvs", "drivers/virtio/virtio_mem.ko", "drivers/virtio/virtio_mmio.ko"}

// Modules of the guests, in the order in which they are loaded.
var (
	pvModules  = []string{"drivers/net/xen-netfront.ko"}
	hvmModules = []string{"drivers/net/xen-netfront.ko", "drivers/net/mii.ko", "drivers/net/ethernet/intel/e1000/e1000.ko", "drivers/net/ethernet/realtek/8139cp.ko"}
)

// Packages lists the Debian packages that building and running need, sorted. The kernel's package is not among them: it is downloaded and
// unpacked, not installed.
func Packages() []string {
	var names []string
	for _, i := range recipe {
		names = append(names, i.pkg)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
