// Package cpio writes the archives from which Linux fills its first root file system ("newc", linux: Documentation/driver-api/early-userspace/buffer-format.rst).
//
// A [Tree] names what is to be in the archive; nothing is staged on disk. All files belong to root and carry no time, so that the same tree
// always gives the same bytes.
package cpio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// File types in a mode (POSIX S_IFMT).
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

// Tree is a root file system to be. The zero value is empty and ready for use.
type Tree struct {
	entries map[string]entry
	// Merged makes /bin, /sbin, /lib and /lib64 links into /usr, as Debian has them, and puts there what is named under them.
	Merged bool
}

type entry struct {
	mode   uint32
	data   []byte // of a file without a source; target of a link
	source string // the host's file to copy
}

var merged = []string{"bin", "sbin", "lib", "lib64"}

// clean gives the name in the archive: relative, without links at its front.
func (t *Tree) clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if first, _, _ := strings.Cut(name, "/"); t.Merged && slices.Contains(merged, first) {
		return "usr/" + name
	}
	return name
}

func (t *Tree) set(name string, e entry) {
	if t.entries == nil {
		t.entries = map[string]entry{}
	}
	name = t.clean(name)
	if name == "" {
		return
	}
	t.entries[name] = e
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := t.entries[dir]; ok {
			return
		}
		t.entries[dir] = entry{mode: typeDir | 0o755}
	}
}

// Dir adds a directory and those above it.
func (t *Tree) Dir(name string) {
	if !t.Has(name) {
		t.set(name, entry{mode: typeDir | 0o755})
	}
}

// Bytes adds a file with the content.
func (t *Tree) Bytes(name string, perm fs.FileMode, content []byte) {
	t.set(name, entry{mode: typeFile | uint32(perm.Perm()), data: content})
}

// Link adds a symbolic link.
func (t *Tree) Link(name, target string) {
	t.set(name, entry{mode: typeLink | 0o777, data: []byte(target)})
}

// File adds a copy of the host's file source (what it links to, if it is a link) with its permissions.
func (t *Tree) File(name, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("cpio: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cpio: %s: not a regular file", source)
	}
	t.set(name, entry{mode: typeFile | uint32(info.Mode().Perm()), source: source})
	return nil
}

// Copy adds what lies at source: a file, or a directory with everything below it, symbolic links kept.
func (t *Tree) Copy(name, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("cpio: %w", err)
	}
	if !info.IsDir() {
		return t.File(name, source)
	}
	return filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cpio: %w", err)
		}
		rel, err := filepath.Rel(source, p)
		if err != nil {
			return fmt.Errorf("cpio: %w", err)
		}
		to := path.Join(name, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			t.Dir(to)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return fmt.Errorf("cpio: %w", err)
			}
			t.Link(to, target)
		case d.Type().IsRegular():
			return t.File(to, p)
		}
		return nil
	})
}

// Has says whether something has the name.
func (t *Tree) Has(name string) bool {
	_, ok := t.entries[t.clean(name)]
	return ok
}

// Names lists what is in the tree, sorted, directories first.
func (t *Tree) Names() []string { return slices.Sorted(maps.Keys(t.entries)) }

// Write writes the archive, the entries in the order of their names. What it writes is a multiple of 4 bytes long, so that another
// archive may follow.
func (t *Tree) Write(w io.Writer) error {
	out := &counter{w: w}
	if t.Merged {
		for _, name := range merged {
			if err := writeEntry(out, name, entry{mode: typeLink | 0o777, data: []byte("usr/" + name)}); err != nil {
				return err
			}
		}
	}
	for _, name := range t.Names() {
		if err := writeEntry(out, name, t.entries[name]); err != nil {
			return err
		}
	}
	return writeEntry(out, "TRAILER!!!", entry{})
}

func writeEntry(out *counter, name string, e entry) error {
	body, size := io.Reader(strings.NewReader(string(e.data))), int64(len(e.data))
	if e.source != "" {
		f, err := os.Open(e.source)
		if err != nil {
			return fmt.Errorf("cpio: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("cpio: %w", err)
		}
		body, size = io.LimitReader(f, info.Size()), info.Size()
	}
	if size > 0xFFFFFFFF {
		return fmt.Errorf("cpio: %s: %w", name, errTooLarge)
	}
	// ino 0 with nlink 1: the kernel looks for further names of a file only where nlink is larger
	_, err := fmt.Fprintf(out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00", 0, e.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	if err != nil {
		return fmt.Errorf("cpio: %w", err)
	}
	if err := out.align(); err != nil {
		return err
	}
	n, err := io.Copy(out, body)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("cpio: %s: %w", name, err)
	}
	return out.align()
}

var errTooLarge = errors.New("the format holds files up to 4 GiB")

// counter knows how far the archive has come.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (c *counter) align() error {
	if rest := c.n % 4; rest != 0 {
		if _, err := c.Write(make([]byte, 4-rest)); err != nil {
			return fmt.Errorf("cpio: %w", err)
		}
	}
	return nil
}
