package image

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Missing is something that this machine lacks: what, and what to do about it, one sentence each.
type Missing struct{ What, Remedy string }

// Error gives both sentences.
func (m Missing) Error() string { return m.What + ". " + m.Remedy + "." }

func missingPackage(what, pkg string) Missing {
	return Missing{What: what + " is missing", Remedy: "Install Debian's package " + pkg + ": apt-get install --no-install-recommends " + pkg}
}

// Host is what the checks ask; the zero value asks this machine.
type Host struct {
	Exists   func(path string) bool        // a file, or a glob that matches
	LookPath func(program string) bool     // in $PATH
	FreeDisk func(dir string) (MiB uint64) // for new files below dir
}

// Space that building an image takes at its peak, and that a finished one keeps, in MiB.
const (
	buildSpace = 700
	keepSpace  = 250
)

// Check says everything that is missing to build and run, each with its remedy; nil when nothing is.
func (h Host) Check(cache string, built bool) error {
	h = h.orReal()
	var errs []error
	if !h.LookPath("qemu-system-x86_64") {
		errs = append(errs, missingPackage("The emulator qemu-system-x86_64", "qemu-system-x86"))
	}
	if built {
		return errors.Join(errs...)
	}
	if !h.Exists(xenFile) {
		errs = append(errs, missingPackage("The hypervisor "+xenFile, xenPackage))
	}
	for _, tool := range []struct{ program, pkg string }{{"depmod", "kmod"}, {"dpkg-deb", "dpkg"}, {"apt-get", "apt"}} {
		if !h.LookPath(tool.program) {
			errs = append(errs, missingPackage("The program "+tool.program, tool.pkg))
		}
	}
	for _, i := range recipe {
		for _, f := range append(append([]string{}, i.programs...), i.files...) {
			if !h.Exists(f) {
				errs = append(errs, missingPackage(f, i.pkg))
				break // one message for a package
			}
		}
	}
	if free := h.FreeDisk(cache); free < buildSpace {
		errs = append(errs, Missing{
			What:   fmt.Sprintf("%s has %d MiB free, and building the images takes %d", cache, free, buildSpace),
			Remedy: "Free some space, or set XENVM_CACHE to a directory that has more",
		})
	}
	return errors.Join(errs...)
}

func (h Host) orReal() Host {
	if h.Exists == nil {
		h.Exists = func(path string) bool {
			found, err := filepath.Glob(path)
			return err == nil && len(found) > 0
		}
	}
	if h.LookPath == nil {
		h.LookPath = func(program string) bool {
			_, err := findProgram(program)
			return err == nil
		}
	}
	if h.FreeDisk == nil {
		h.FreeDisk = freeDisk
	}
	return h
}

// findProgram looks in $PATH and where administrators' programs are.
func findProgram(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("image: %s: %w", name, exec.ErrNotFound)
}

// freeDisk is the space for new files below dir, or below the first directory above it that exists.
func freeDisk(dir string) uint64 {
	for {
		var s unix.Statfs_t
		if unix.Statfs(dir, &s) == nil {
			return s.Bavail * uint64(s.Bsize) >> 20
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0
		}
		dir = parent
	}
}

// command runs a program and gives its output; what it said goes into the error.
func command(dir string, args ...string) (string, error) {
	path, err := findProgram(args[0])
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("image: %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}
