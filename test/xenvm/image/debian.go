package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kernelPackage names the kernel to boot: the package, and the file that it comes in.
type kernelPackage struct {
	name string // linux-image-6.1.0-56-amd64
	deb  string // file name: name_version_amd64.deb
}

// release is the kernel's own name of its version.
func (k kernelPackage) release() string { return strings.TrimPrefix(k.name, "linux-image-") }

// parseKernel reads what `apt-cache depends linux-image-amd64` says.
func parseKernel(depends string) (string, error) {
	for line := range strings.Lines(depends) {
		if _, name, ok := strings.Cut(line, "Depends: "); ok && strings.HasPrefix(name, "linux-image-") {
			return strings.TrimSpace(name), nil
		}
	}
	return "", Missing{What: "apt knows no package linux-image-amd64, from which dom0's and the guests' kernel comes", Remedy: "Run apt-get update"}
}

// parseFilename reads the name of the file from what `apt-cache show PACKAGE` says first.
func parseFilename(show string) (string, bool) {
	for line := range strings.Lines(show) {
		if name, ok := strings.CutPrefix(line, "Filename: "); ok {
			return filepath.Base(strings.TrimSpace(name)), true
		}
	}
	return "", false
}

// findKernel asks apt for the newest kernel; when apt knows none, one that was downloaded before will do. apt takes a second to answer, so that
// its answer is kept until its lists change.
func findKernel(debs string) (kernelPackage, error) {
	return remember(debs, "/var/lib/apt/lists", func() (kernelPackage, error) { return askApt(debs) })
}

// remember gives the kernel that was found before, if its package is still there and was found after the lists last changed.
func remember(debs, lists string, ask func() (kernelPackage, error)) (kernelPackage, error) {
	note := filepath.Join(debs, "newest")
	if b, err := os.ReadFile(note); err == nil && modified(note).After(modified(lists)) {
		name, deb, ok := strings.Cut(string(b), " ")
		if ok && exists(filepath.Join(debs, deb)) {
			return kernelPackage{name: name, deb: deb}, nil
		}
	}
	k, err := ask()
	if err != nil || os.MkdirAll(debs, 0o755) != nil {
		return k, err
	}
	temporary := fmt.Sprintf("%s.%d", note, os.Getpid())
	if os.WriteFile(temporary, []byte(k.name+" "+k.deb), 0o644) == nil {
		_ = os.Rename(temporary, note) // only a saving: it may fail
	}
	return k, nil
}

func askApt(debs string) (kernelPackage, error) {
	depends, err := command("", "apt-cache", "depends", "linux-image-amd64")
	name, perr := parseKernel(depends)
	if err == nil && perr == nil {
		show, err := command("", "apt-cache", "show", "--no-all-versions", name)
		if file, ok := parseFilename(show); err == nil && ok {
			return kernelPackage{name: name, deb: file}, nil
		}
	}
	have, _ := filepath.Glob(filepath.Join(debs, "linux-image-*.deb"))
	if len(have) == 0 {
		return kernelPackage{}, errors.Join(perr, err)
	}
	file := filepath.Base(slices.Max(have))
	name, _, _ = strings.Cut(file, "_")
	return kernelPackage{name: name, deb: file}, nil
}

// download gets the kernel's package into the directory, unless it is there.
func (k kernelPackage) download(debs string) (string, error) {
	path := filepath.Join(debs, k.deb)
	if exists(path) {
		return path, nil
	}
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return "", fmt.Errorf("image: %w", err)
	}
	work, err := os.MkdirTemp(debs, "download-*")
	if err != nil {
		return "", fmt.Errorf("image: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // a directory of ours
	if _, err := command(work, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", k.name); err != nil {
		return "", fmt.Errorf("%w\n%w", Missing{What: "The package " + k.name + " cannot be downloaded", Remedy: "Run apt-get update and see that the network is up"}, err)
	}
	got, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(got) != 1 {
		return "", fmt.Errorf("image: apt-get download %s: %d files came", k.name, len(got))
	}
	if err := os.Rename(got[0], path); err != nil {
		return "", fmt.Errorf("image: %w", err)
	}
	return path, nil
}

// unpack writes the files of a Debian package that are wanted below dir.
func unpack(deb, dir string, wanted func(name string) bool) error {
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	err = untar(out, dir, wanted)
	_, _ = io.Copy(io.Discard, out)
	if werr := cmd.Wait(); werr != nil {
		return fmt.Errorf("image: unpack %s: %w", deb, werr)
	}
	return err
}

func untar(r io.Reader, dir string, wanted func(name string) bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer root.Close() //nolint:errcheck // a directory
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("image: unpack: %w", err)
		}
		name := filepath.Clean(strings.TrimPrefix(h.Name, "./"))
		if h.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		if err := writeFile(root, name, archive); err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	f, err := root.Create(name)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("image: %s: %w", name, err)
	}
	return nil
}
