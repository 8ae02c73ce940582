package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// needs is what the dynamic loader would look for: the interpreter's path, the libraries' names, and where else to look for them.
type needs struct {
	interpreter string
	libraries   []string
	runpath     []string
}

// libraryDirs are where Debian's loader looks.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/systemd", "/lib", "/usr/lib"}

// closure gives the programs and everything that they load, each once, sorted. read tells what a file needs; exists, whether there is one.
func closure(programs []string, read func(path string) (needs, error), exists func(path string) bool) ([]string, error) {
	seen := map[string]bool{}
	queue := slices.Clone(programs)
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if seen[p] {
			continue
		}
		seen[p] = true
		n, err := read(p)
		if err != nil {
			return nil, err
		}
		if n.interpreter != "" {
			queue = append(queue, n.interpreter)
		}
		for _, lib := range n.libraries {
			at, ok := locate(lib, n.runpath, exists)
			if !ok {
				return nil, fmt.Errorf("image: %s needs %s, which is nowhere below %s", p, lib, strings.Join(libraryDirs, ", "))
			}
			queue = append(queue, at)
		}
	}
	all := make([]string, 0, len(seen))
	for p := range seen {
		all = append(all, p)
	}
	slices.Sort(all)
	return all, nil
}

func locate(lib string, runpath []string, exists func(path string) bool) (string, bool) {
	for _, dir := range slices.Concat(runpath, libraryDirs) {
		if p := filepath.Join(dir, lib); exists(p) {
			return p, true
		}
	}
	return "", false
}

// readNeeds reads an ELF file; anything else needs nothing.
func readNeeds(path string) (needs, error) {
	var n needs
	f, err := elf.Open(path)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return n, nil
	}
	if err != nil {
		return n, fmt.Errorf("image: %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	n.interpreter = interpreter(f)
	if n.libraries, err = f.ImportedLibraries(); err != nil {
		return n, fmt.Errorf("image: %s: %w", path, err)
	}
	paths, _ := f.DynString(elf.DT_RUNPATH) // a static file has none
	for _, p := range strings.Split(strings.Join(paths, ":"), ":") {
		if p != "" {
			n.runpath = append(n.runpath, strings.ReplaceAll(p, "$ORIGIN", filepath.Dir(path)))
		}
	}
	return n, nil
}

func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err == nil {
			return strings.TrimRight(string(b), "\x00")
		}
	}
	return ""
}

// Static says whether an ELF program runs without libraries: only such a one runs in dom0 as it is.
func Static(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, fmt.Errorf("image: %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // only read
	return interpreter(f) == "", nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
