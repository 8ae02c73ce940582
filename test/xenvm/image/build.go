package image

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"vifplug/test/xenvm/cpio"
)

// Files of a finished image, below its directory.
const (
	XenFile    = "xen"       // the hypervisor
	KernelFile = "vmlinux"   // dom0's kernel, an ELF file
	InitrdFile = "dom0.cpio" // dom0's root file system; more archives may follow it
)

// build makes all files of an image in dir.
func build(dir string, k kernelPackage, deb string) error {
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := unpackKernel(work, k, deb); err != nil {
		return err
	}
	if err := writeKernel(work, k.release(), filepath.Join(dir, KernelFile)); err != nil {
		return err
	}
	if err := gunzip(xenFile, filepath.Join(dir, XenFile)); err != nil {
		return err
	}
	root, err := dom0Tree(work, k.release(), filepath.Join(dir, KernelFile))
	if err != nil {
		return err
	}
	if err := writeTree(root, filepath.Join(dir, InitrdFile), false); err != nil {
		return err
	}
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}

// writeKernel makes an ELF file of the kernel that was unpacked below work.
func writeKernel(work, release, to string) error {
	bzImage, err := os.ReadFile(filepath.Join(work, "boot", "vmlinuz-"+release))
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	kernel, err := decompress(bzImage)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, kernel, 0o644); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}

// unpackKernel puts the kernel and the modules that are wanted below work, with their index.
func unpackKernel(work string, k kernelPackage, deb string) error {
	base := moduleDir(k.release())
	err := unpack(deb, work, func(name string) bool {
		if name == "boot/vmlinuz-"+k.release() {
			return true
		}
		rel, ok := strings.CutPrefix(name, base+"/")
		if !ok {
			return false
		}
		if !strings.Contains(rel, "/") {
			return true // modules.builtin and the like
		}
		return wantedModule(strings.TrimPrefix(rel, "kernel/"))
	})
	if err != nil {
		return err
	}
	if _, err := command("", "depmod", "-b", work, k.release()); err != nil {
		return err
	}
	for _, m := range append(append([]string{}, dom0Modules...), hvmModules...) {
		if !exists(filepath.Join(work, base, "kernel", m)) {
			return fmt.Errorf("image: the kernel %s has no module %s", k.release(), m)
		}
	}
	return nil
}

func moduleDir(release string) string { return "lib/modules/" + release }

// wantedModule says whether dom0 or a guest wants the module.
func wantedModule(name string) bool {
	below := func(list []string) bool {
		for _, m := range list {
			if name == m || strings.HasPrefix(name, m+"/") {
				return true
			}
		}
		return false
	}
	return (below(dom0Modules) || below(hvmModules)) && !below(droppedModules)
}

// dom0Tree is dom0's root file system.
func dom0Tree(work, release, kernel string) (*cpio.Tree, error) {
	t := &cpio.Tree{Merged: true}
	for _, d := range []string{"proc", "sys", "dev", "run", "tmp", "root", "boot", "var/lib/xen", "var/lib/xenstored", "var/log/xen/console", "usr/local/bin", "etc/udev/rules.d"} {
		t.Dir(d)
	}
	t.Link("var/run", "/run")
	t.Link("var/lock", "/run/lock")
	t.Bytes("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/bash\nsystemd-network:x:998:998::/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	t.Bytes("etc/group", 0o644, []byte(groups))
	t.Bytes("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
	t.Bytes("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files\n"))
	t.Bytes("init", 0o755, dom0Init)
	if err := addRecipe(t); err != nil {
		return nil, err
	}
	if err := addLinks(t); err != nil {
		return nil, err
	}
	if err := t.Copy(moduleDir(release), filepath.Join(work, moduleDir(release))); err != nil {
		return nil, err
	}
	return t, addGuests(t, work, release, kernel)
}

// groups are those that udev's own rules name, without which each start of udevd complains, and networkd's.
const groups = "root:x:0:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\ndialout:x:20:\nkmem:x:15:\ncdrom:x:24:\nfloppy:x:25:\ntape:x:26:\naudio:x:29:\nvideo:x:44:\n" +
	"input:x:101:\nsgx:x:102:\nkvm:x:103:\nrender:x:104:\nsystemd-network:x:998:\nnogroup:x:65534:\n"

func addRecipe(t *cpio.Tree) error {
	var programs []string
	for _, i := range recipe {
		programs = append(programs, i.programs...)
		for _, f := range i.files {
			if err := t.Copy(f, f); err != nil {
				return err
			}
		}
	}
	all, err := closure(programs, readNeeds, exists)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := t.File(p, p); err != nil {
			return err
		}
	}
	return nil
}

// addLinks adds the names by which programs with several uses are called; busybox has what nothing else has.
func addLinks(t *cpio.Tree) error {
	links := map[string]string{
		"/usr/bin/awk": "mawk", "/bin/sh": "bash", udevd: "/usr/bin/udevadm", "/usr/sbin/xl": xenTools + "/bin/xl", "/usr/sbin/ip": "/usr/bin/ip",
		"/usr/sbin/ifdown": "ifup",
	}
	for _, x := range []string{"chmod", "exists", "list", "ls", "read", "rm", "watch", "write"} {
		links["/usr/bin/xenstore-"+x] = "xenstore"
	}
	for _, x := range []string{"modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"} {
		links["/usr/sbin/"+x] = "/usr/bin/kmod"
	}
	for name, target := range links {
		if !t.Has(name) {
			t.Link(name, target)
		}
	}
	applets, err := command("", busybox, "--list")
	if err != nil {
		return err
	}
	for _, a := range strings.Fields(applets) {
		if !t.Has("/usr/bin/"+a) && !t.Has("/usr/sbin/"+a) {
			t.Link("/usr/bin/"+a, "busybox")
		}
	}
	return nil
}

// addGuests puts the guests' kernels and root file systems into /boot.
func addGuests(t *cpio.Tree, work, release, kernel string) error {
	if err := t.File("boot/vmlinux", kernel); err != nil {
		return err
	}
	if err := t.File("boot/vmlinuz", filepath.Join(work, "boot", "vmlinuz-"+release)); err != nil {
		return err
	}
	for _, g := range []struct {
		name    string
		modules []string
	}{{"pv.gz", pvModules}, {"hvm.gz", hvmModules}} {
		path := filepath.Join(work, g.name)
		guest, err := guestTree(filepath.Join(work, moduleDir(release), "kernel"), guestInit, g.modules)
		if err != nil {
			return err
		}
		if err := writeTree(guest, path, true); err != nil {
			return err
		}
		if err := t.File("boot/"+g.name, path); err != nil {
			return err
		}
	}
	return nil
}

func guestTree(kernel string, init []byte, modules []string) (*cpio.Tree, error) {
	t := &cpio.Tree{}
	for _, d := range []string{"proc", "sys", "dev", "sbin", "run"} {
		t.Dir(d)
	}
	t.Bytes("init", 0o755, init)
	if err := t.File("bin/busybox", busybox); err != nil {
		return nil, err
	}
	for _, m := range modules {
		if err := t.File("lib/"+filepath.Base(m), filepath.Join(kernel, m)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// writeTree writes a file, compressed by gzip or not.
func writeTree(t *cpio.Tree, path string, compress bool) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	if !compress {
		return errors.Join(t.Write(w), w.Flush())
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return errors.Join(t.Write(z), z.Close(), w.Flush())
}

func gunzip(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("image: %s: %w", from, err)
	}
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	_, err = io.Copy(out, z)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("image: %s: %w", to, err)
	}
	return nil
}
