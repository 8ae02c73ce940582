package image

import (
	_ "embed" // the init script
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// PlainInitrdFile is the root file system of a guest that runs in QEMU without Xen, beside [KernelFile]: an ELF file that QEMU boots by its PVH
// entry, in half the time that a bzImage takes.
const PlainInitrdFile = "plain.gz"

//go:embed plain.init
var plainInit []byte

// plainModules are for the NICs that QEMU emulates, in the order in which they are loaded. llc and stp are for 8021q.
var plainModules = []string{
	"drivers/net/mii.ko", "drivers/net/ethernet/intel/e1000/e1000.ko", "drivers/net/ethernet/intel/e1000e/e1000e.ko", "drivers/net/ethernet/realtek/8139cp.ko",
	"drivers/net/vmxnet3/vmxnet3.ko", "net/core/failover.ko", "drivers/net/net_failover.ko", "drivers/virtio/virtio_ring.ko", "drivers/virtio/virtio.ko",
	"drivers/virtio/virtio_pci_modern_dev.ko", "drivers/virtio/virtio_pci_legacy_dev.ko", "drivers/virtio/virtio_pci.ko", "drivers/net/virtio_net.ko",
	"net/llc/llc.ko", "net/802/stp.ko", "net/802/garp.ko", "net/802/mrp.ko", "net/8021q/8021q.ko",
}

var plain = kind{
	prefix: "plain-", what: "guest for QEMU without Xen", files: []string{KernelFile, PlainInitrdFile}, check: Host{}.checkPlain, build: buildPlain,
	key: func(k kernelPackage) (string, error) {
		info, err := os.Stat(busybox)
		if err != nil {
			return "", fmt.Errorf("image: %w", err)
		}
		return key(k.deb, string(plainInit), fmt.Sprint(plainModules, info.Size(), info.ModTime())), nil
	},
}

// EnsurePlain gives the directory of a guest that runs in QEMU without Xen, and builds it as [Ensure] builds an image. It needs nothing of Xen's.
func EnsurePlain(cache string, say func(format string, args ...any)) (string, error) {
	return plain.ensure(cache, say)
}

// plainSpace is what building one takes at its peak, in MiB.
const plainSpace = 200

// checkPlain says everything that is missing to build such a guest and to run it.
func (h Host) checkPlain(cache string, built bool) error {
	h = h.orReal()
	var errs []error
	if !h.LookPath("qemu-system-x86_64") {
		errs = append(errs, missingPackage("The emulator qemu-system-x86_64", "qemu-system-x86"))
	}
	if !h.Exists(busybox) {
		errs = append(errs, missingPackage(busybox, "busybox-static"))
	}
	if built {
		return errors.Join(errs...)
	}
	for _, tool := range []struct{ program, pkg string }{{"dpkg-deb", "dpkg"}, {"apt-get", "apt"}} {
		if !h.LookPath(tool.program) {
			errs = append(errs, missingPackage("The program "+tool.program, tool.pkg))
		}
	}
	if free := h.FreeDisk(cache); free < plainSpace {
		errs = append(errs, Missing{
			What:   fmt.Sprintf("%s has %d MiB free, and building the guest takes %d", cache, free, plainSpace),
			Remedy: "Free some space, or set XENVM_CACHE to a directory that has more",
		})
	}
	return errors.Join(errs...)
}

// buildPlain makes the kernel and the root file system in dir.
func buildPlain(dir string, k kernelPackage, deb string) error {
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	modules := moduleDir(k.release()) + "/kernel/"
	err := unpack(deb, work, func(name string) bool {
		module, ok := strings.CutPrefix(name, modules)
		return name == "boot/vmlinuz-"+k.release() || ok && slices.Contains(plainModules, module)
	})
	if err != nil {
		return err
	}
	if err := writeKernel(work, k.release(), filepath.Join(dir, KernelFile)); err != nil {
		return err
	}
	t, err := guestTree(filepath.Join(work, modules), plainInit, plainModules)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range plainModules {
		names = append(names, filepath.Base(m))
	}
	t.Bytes("lib/order", 0o644, []byte(strings.Join(names, "\n")+"\n"))
	if err := writeTree(t, filepath.Join(dir, PlainInitrdFile), true); err != nil {
		return err
	}
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}
