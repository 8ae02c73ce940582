package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPackages(t *testing.T) {
	p := Packages()
	assert.IsIncreasing(t, p)
	for _, name := range []string{"qemu-system-x86", "xen-hypervisor-4.17-amd64", "xen-utils-4.17", "udev", "busybox-static"} {
		assert.Contains(t, p, name)
	}
}

func TestClosure(t *testing.T) {
	files := map[string]needs{
		"/bin/xl":                         {interpreter: "/lib64/ld.so", libraries: []string{"libxl.so", "libc.so"}},
		"/bin/static":                     {},
		"/bin/udevadm":                    {interpreter: "/lib64/ld.so", libraries: []string{"libp.so"}, runpath: []string{"/opt/lib"}},
		"/lib64/ld.so":                    {},
		"/lib/x86_64-linux-gnu/libxl.so":  {libraries: []string{"libc.so", "libself.so"}},
		"/lib/x86_64-linux-gnu/libc.so":   {interpreter: "/lib64/ld.so"},
		"/usr/lib/libself.so":             {libraries: []string{"libself.so"}},
		"/opt/lib/libp.so":                {},
		"/lib/x86_64-linux-gnu/libp.so":   {libraries: []string{"libnever.so"}},
		"/bin/broken":                     {libraries: []string{"libnone.so"}},
		"/lib/x86_64-linux-gnu/unread.so": {},
	}
	read := func(p string) (needs, error) { return files[p], nil }
	exists := func(p string) bool { _, ok := files[p]; return ok }

	got, err := closure([]string{"/bin/xl", "/bin/static", "/bin/udevadm"}, read, exists)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"/bin/static", "/bin/udevadm", "/bin/xl", "/lib/x86_64-linux-gnu/libc.so", "/lib/x86_64-linux-gnu/libxl.so",
		"/lib64/ld.so", "/opt/lib/libp.so", "/usr/lib/libself.so",
	}, got)
	_, err = closure([]string{"/bin/broken"}, read, exists)
	require.ErrorContains(t, err, "/bin/broken needs libnone.so, which is nowhere below")
	_, err = closure([]string{"/x"}, func(string) (needs, error) { return needs{}, os.ErrPermission }, exists)
	require.ErrorIs(t, err, os.ErrPermission)
}

func TestReadNeeds(t *testing.T) {
	n, err := readNeeds("/bin/sh")
	require.NoError(t, err)
	assert.Contains(t, n.libraries, "libc.so.6")
	assert.Equal(t, "/lib64/ld-linux-x86-64.so.2", n.interpreter)
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n# a script is no ELF file\n"), 0o755))
	n, err = readNeeds(script)
	require.NoError(t, err)
	assert.Equal(t, needs{}, n)
	_, err = readNeeds(script + ".none")
	require.ErrorIs(t, err, os.ErrNotExist)
	static, err := Static("/bin/sh")
	require.NoError(t, err)
	assert.False(t, static)
	_, err = Static(script)
	require.Error(t, err)
}

// kernelFile builds an ELF file like a kernel's: two segments to load with a hole between them and zeros at their ends, and notes in the first.
func kernelFile(t *testing.T) []byte {
	t.Helper()
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: 0x1000, Phoff: 64, Phentsize: 56, Phnum: 3, Ehsize: 64, Shoff: 9000}
	copy(head.Ident[:], "\x7fELF\x02\x01\x01")
	progs := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Off: 4096, Vaddr: 0x1000, Paddr: 0x1000, Filesz: 100, Memsz: 100},
		{Type: uint32(elf.PT_LOAD), Off: 8192, Vaddr: 0x9000, Paddr: 0x9000, Filesz: 50, Memsz: 500},
		{Type: uint32(elf.PT_NOTE), Off: 4106, Filesz: 20, Memsz: 20},
	}
	head.Shoff = 0
	var b bytes.Buffer
	require.NoError(t, binary.Write(&b, binary.LittleEndian, head))
	require.NoError(t, binary.Write(&b, binary.LittleEndian, progs))
	b.Write(make([]byte, 4096-b.Len()))
	b.WriteString("code " + strings.Repeat("n", 60) + strings.Repeat("\x00", 35))
	b.Write(make([]byte, 8192-b.Len()))
	b.WriteString("data" + strings.Repeat("\x00", 46))
	return b.Bytes()
}

func TestTrim(t *testing.T) {
	before := kernelFile(t)
	after, err := trim(before)
	require.NoError(t, err)
	assert.Less(t, len(after), 500)
	was, err := elf.NewFile(bytes.NewReader(before))
	require.NoError(t, err)
	is, err := elf.NewFile(bytes.NewReader(after))
	require.NoError(t, err)
	assert.Equal(t, was.Entry, is.Entry)
	require.Len(t, is.Progs, 3)
	for i := range is.Progs {
		assert.Equal(t, memory(t, was.Progs[i]), memory(t, is.Progs[i]), "what lies in memory is the same")
		assert.Equal(t, was.Progs[i].Paddr, is.Progs[i].Paddr)
	}
	_, err = trim([]byte("no kernel"))
	require.ErrorIs(t, err, errKernel)
	_, err = trim(before[:5000])
	require.ErrorIs(t, err, errKernel)
}

// memory is what a loader makes of a segment.
func memory(t *testing.T, p *elf.Prog) []byte {
	t.Helper()
	b := make([]byte, p.Memsz)
	_, err := p.ReadAt(b[:p.Filesz], 0)
	require.NoError(t, err)
	return b
}

func bzImage(stream string) []byte {
	b := make([]byte, 3*512)
	copy(b[0x202:], "HdrS")
	b[0x1f1] = 1
	binary.LittleEndian.PutUint32(b[0x248:], 16)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(stream)+4))
	copy(b[2*512+16:], stream)
	return b
}

func TestPayload(t *testing.T) {
	const stream = "\xfd7zXZ\x00stream"
	got, err := payload(bzImage(stream))
	require.NoError(t, err)
	assert.Equal(t, stream, string(got))
	long := bzImage(stream)
	binary.LittleEndian.PutUint32(long[0x24c:], 1<<31)
	for name, b := range map[string][]byte{"empty": nil, "no magic": make([]byte, 4096), "gzip": bzImage("\x1f\x8b stream"), "too long": long} {
		_, err := payload(b)
		require.ErrorIs(t, err, errKernel, name)
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(bzImage("\xfd7zXZ\x00stream"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := payload(b); err == nil && !bytes.Contains(b, p) {
			t.Fatal("not a part of the file")
		}
	})
}

func FuzzTrim(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = trim(b) // any bytes: an error or a file, never a fault
	})
}

func TestApt(t *testing.T) {
	name, err := parseKernel("linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Suggests: x\n")
	require.NoError(t, err)
	assert.Equal(t, "linux-image-6.1.0-56-amd64", name)
	_, err = parseKernel("")
	require.EqualError(t, err, "apt knows no package linux-image-amd64, from which dom0's and the guests' kernel comes. Run apt-get update.")
	file, ok := parseFilename("Package: x\nFilename: pool/main/l/x_6.1_amd64.deb\n")
	assert.True(t, ok)
	assert.Equal(t, "x_6.1_amd64.deb", file)
	_, ok = parseFilename("Package: x\n")
	assert.False(t, ok)
	assert.Equal(t, "6.1.0-56-amd64", kernelPackage{name: "linux-image-6.1.0-56-amd64"}.release())
}

func TestRemember(t *testing.T) {
	debs, lists := t.TempDir(), t.TempDir()
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(lists, past, past))
	k := kernelPackage{name: "linux-image-1-amd64", deb: "linux-image-1-amd64_1_amd64.deb"}
	asked := 0
	find := func() kernelPackage {
		got, err := remember(debs, lists, func() (kernelPackage, error) { asked++; return k, nil })
		require.NoError(t, err)
		return got
	}
	assert.Equal(t, k, find())
	assert.Equal(t, k, find())
	assert.Equal(t, 2, asked, "the package is not there: the answer is no use")
	require.NoError(t, os.WriteFile(filepath.Join(debs, k.deb), nil, 0o600))
	assert.Equal(t, k, find())
	assert.Equal(t, 2, asked)
	future := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(lists, future, future))
	assert.Equal(t, k, find())
	assert.Equal(t, 3, asked, "apt has new lists")
	_, err := remember(debs, lists, func() (kernelPackage, error) { return kernelPackage{}, os.ErrPermission })
	require.ErrorIs(t, err, os.ErrPermission)
}

func TestUntar(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, kind byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Size: int64(len(name)), Mode: 0o644}))
		_, err := w.Write([]byte(name))
		require.NoError(t, err)
	}
	add("./lib/modules/6/kernel/a.ko", tar.TypeReg)
	add("./lib/modules/6/kernel/b.ko", tar.TypeReg)
	require.NoError(t, w.Close())
	dir := t.TempDir()
	require.NoError(t, untar(bytes.NewReader(b.Bytes()), dir, func(name string) bool { return name == "lib/modules/6/kernel/a.ko" }))
	assert.FileExists(t, filepath.Join(dir, "lib/modules/6/kernel/a.ko"))
	assert.NoFileExists(t, filepath.Join(dir, "lib/modules/6/kernel/b.ko"))
	require.Error(t, untar(bytes.NewReader(b.Bytes()[:530]), dir, func(string) bool { return true }))
}

func TestUntarStaysInside(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "../outside", Typeflag: tar.TypeReg, Mode: 0o644}))
	require.NoError(t, w.Close())
	dir := filepath.Join(t.TempDir(), "inside")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.Error(t, untar(&b, dir, func(string) bool { return true }))
	assert.NoFileExists(t, filepath.Join(filepath.Dir(dir), "outside"))
}

func TestWantedModule(t *testing.T) {
	for name, want := range map[string]bool{
		"drivers/net/xen-netback/xen-netback.ko": true, "drivers/net/tun.ko": true, "drivers/net/xen-netfront.ko": true, "net/bridge/bridge.ko": true,
		"net/bridge/netfilter/nft_meta_bridge.ko": true, "lib/test_bpf.ko": false, "net/netfilter/ipset/ip_set.ko": false, "drivers/gpu/drm/drm.ko": false,
		"drivers/net/tunnel.ko": false, "library/x.ko": false,
	} {
		assert.Equal(t, want, wantedModule(name), name)
	}
}

// TestMissing holds what a user reads, for each thing that may be missing.
func TestMissing(t *testing.T) {
	for name, tt := range map[string]struct {
		without string // a file or a program
		free    uint64
		built   bool
		want    string
	}{
		"nothing":         {free: 1000},
		"nothing, built":  {built: true},
		"qemu":            {without: "qemu-system-x86_64", free: 1000, want: "The emulator qemu-system-x86_64 is missing. Install Debian's package qemu-system-x86: apt-get install --no-install-recommends qemu-system-x86."},
		"qemu, built":     {without: "qemu-system-x86_64", built: true, want: "The emulator qemu-system-x86_64 is missing. Install Debian's package qemu-system-x86: apt-get install --no-install-recommends qemu-system-x86."},
		"xen":             {without: xenFile, free: 1000, want: "The hypervisor /boot/xen-4.17-amd64.gz is missing. Install Debian's package xen-hypervisor-4.17-amd64: apt-get install --no-install-recommends xen-hypervisor-4.17-amd64."},
		"depmod":          {without: "depmod", free: 1000, want: "The program depmod is missing. Install Debian's package kmod: apt-get install --no-install-recommends kmod."},
		"xl":              {without: xenTools + "/bin/xl", free: 1000, want: "/usr/lib/xen-4.17/bin/xl is missing. Install Debian's package xen-utils-4.17: apt-get install --no-install-recommends xen-utils-4.17."},
		"stock scripts":   {without: "/etc/xen", free: 1000, want: "/etc/xen is missing. Install Debian's package xen-utils-common: apt-get install --no-install-recommends xen-utils-common."},
		"no space":        {free: 699, want: "/cache has 699 MiB free, and building the images takes 700. Free some space, or set XENVM_CACHE to a directory that has more."},
		"no space, built": {free: 0, built: true},
	} {
		t.Run(name, func(t *testing.T) {
			has := func(path string) bool { return path != tt.without }
			err := Host{Exists: has, LookPath: has, FreeDisk: func(string) uint64 { return tt.free }}.Check("/cache", tt.built)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tt.want)
			var m Missing
			require.ErrorAs(t, err, &m)
			assert.NotEmpty(t, m.Remedy)
		})
	}
}

func TestEverythingMissing(t *testing.T) {
	no := func(string) bool { return false }
	err := Host{Exists: no, LookPath: no, FreeDisk: func(string) uint64 { return 0 }}.Check("/cache", false)
	require.Error(t, err)
	for _, p := range Packages() {
		assert.Contains(t, err.Error(), "package "+p+":", "each package is asked for")
	}
}

func TestFreeDisk(t *testing.T) {
	assert.Positive(t, freeDisk(filepath.Join(t.TempDir(), "not", "yet", "there")))
}

func TestKey(t *testing.T) {
	assert.Equal(t, key("a", "b"), key("a", "b"))
	assert.NotEqual(t, key("a", "b"), key("ab", ""))
	assert.NotEqual(t, key("a", "b"), key("b", "a"))
	assert.Len(t, key(), 16)
}

func TestCacheDir(t *testing.T) {
	t.Setenv("XENVM_CACHE", "/somewhere")
	dir, err := CacheDir()
	require.NoError(t, err)
	assert.Equal(t, "/somewhere", dir)
	t.Setenv("XENVM_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/user")
	dir, err = CacheDir()
	require.NoError(t, err)
	assert.Equal(t, "/user/xenvm", dir)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	_, err = CacheDir()
	var m Missing
	require.ErrorAs(t, err, &m)
}

func TestPrune(t *testing.T) {
	cache := t.TempDir()
	for i := range 5 {
		dir := filepath.Join(cache, fmt.Sprintf("image-%d", i))
		require.NoError(t, os.Mkdir(dir, 0o755))
		when := time.Now().Add(time.Duration(i) * time.Minute)
		require.NoError(t, os.Chtimes(dir, when, when))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(cache, "build-left"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(cache, "deb"), 0o755))
	for _, deb := range []string{"old.deb", "new.deb"} {
		require.NoError(t, os.WriteFile(filepath.Join(cache, "deb", deb), nil, 0o600))
	}
	require.NoError(t, prune(cache, "image-", filepath.Join(cache, "image-0"), "new.deb"))
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	require.NoError(t, err)
	debs, err := filepath.Glob(filepath.Join(cache, "deb", "*"))
	require.NoError(t, err)
	var names []string
	for _, p := range append(left, debs...) {
		names = append(names, filepath.Base(p))
	}
	assert.Equal(t, []string{"deb", "image-0", "image-3", "image-4", "new.deb"}, names)
}

func TestLock(t *testing.T) {
	cache := t.TempDir()
	unlock, err := lock(cache)
	require.NoError(t, err)
	got := make(chan error)
	go runSecond(cache, got)
	select {
	case <-got:
		t.Fatal("two have the lock")
	default:
	}
	unlock()
	require.NoError(t, <-got)
	_, err = lock(filepath.Join(cache, "lock", "no-directory"))
	require.Error(t, err)
}

func runSecond(cache string, got chan<- error) {
	unlock, err := lock(cache)
	if err == nil {
		unlock()
	}
	got <- err
}

func TestCommand(t *testing.T) {
	_, err := command("", "no-such-program-here")
	require.Error(t, err)
	_, err = command("", "ls", "/no/such/file")
	require.ErrorContains(t, err, "ls /no/such/file")
	require.ErrorContains(t, err, "No such file")
	out, err := command("/usr", "pwd")
	require.NoError(t, err)
	assert.Equal(t, "/usr\n", out)
	assert.False(t, errors.Is(err, os.ErrNotExist))
}

func TestUnxz(t *testing.T) {
	stream, err := base64.StdEncoding.DecodeString(helloXZ)
	require.NoError(t, err)
	out, err := unxz(stream)
	require.NoError(t, err)
	assert.Equal(t, "hello from xz\n", string(out))
	_, err = unxz([]byte("\xfd7zXZ\x00 and then nonsense"))
	require.ErrorContains(t, err, "decompress the kernel")
}

const helloXZ = "/Td6WFoAAAFpIt42AgAhARYAAAB0L+WjAQANaGVsbG8gZnJvbSB4egoAAABE8c6SAAEiDgzejGCQQpkNAQAAAAABWVo="
