package cpio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// member is one entry as a reader sees it.
type member struct {
	name, data string
	mode       int64
}

// read is an independent, slow reader of the format.
func read(t require.TestingT, b []byte) []member {
	var out []member
	for at := 0; ; {
		head := string(b[at : at+110])
		require.Equal(t, "070701", head[:6])
		field := func(i int) int64 {
			n, err := strconv.ParseInt(head[6+8*i:14+8*i], 16, 64)
			require.NoError(t, err)
			return n
		}
		name := string(b[at+110 : at+110+int(field(11))-1])
		at = (at + 110 + int(field(11)) + 3) &^ 3
		data := string(b[at : at+int(field(6))])
		at = (at + len(data) + 3) &^ 3
		if name == "TRAILER!!!" {
			require.Len(t, b, at)
			return out
		}
		require.Zero(t, field(2)+field(3)+field(5), "uid, gid, time")
		out = append(out, member{name, data, field(1)})
	}
}

func archive(t require.TestingT, tree *Tree) []byte {
	var b bytes.Buffer
	require.NoError(t, tree.Write(&b))
	require.Zero(t, b.Len()%4)
	return b.Bytes()
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(source, []byte("run me"), 0o750))
	var tree Tree
	tree.Bytes("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
	tree.Link("bin/sh", "busybox")
	require.NoError(t, tree.File("bin/busybox", source))
	tree.Dir("proc")
	tree.Dir("etc") // there already
	assert.Equal(t, []member{
		{"bin", "", 0o040755},
		{"bin/busybox", "run me", 0o100750},
		{"bin/sh", "busybox", 0o120777},
		{"etc", "", 0o040755},
		{"etc/hosts", "127.0.0.1 localhost\n", 0o100644},
		{"proc", "", 0o040755},
	}, read(t, archive(t, &tree)))
}

func TestMerged(t *testing.T) {
	tree := Tree{Merged: true}
	tree.Bytes("/lib/x.so", 0o644, nil)
	tree.Bytes("/usr/lib/y.so", 0o644, nil)
	assert.True(t, tree.Has("/usr/lib/x.so"))
	assert.True(t, tree.Has("/lib/y.so"))
	names := []string{}
	for _, m := range read(t, archive(t, &tree)) {
		names = append(names, m.name)
	}
	assert.Equal(t, []string{"bin", "sbin", "lib", "lib64", "usr", "usr/lib", "usr/lib/x.so", "usr/lib/y.so"}, names)
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "b", "file"), []byte("x"), 0o600))
	require.NoError(t, os.Symlink("b/file", filepath.Join(dir, "a", "link")))
	var tree Tree
	require.NoError(t, tree.Copy("/to", filepath.Join(dir, "a")))
	assert.Equal(t, []member{{"to", "", 0o040755}, {"to/b", "", 0o040755}, {"to/b/file", "x", 0o100600}, {"to/link", "b/file", 0o120777}}, read(t, archive(t, &tree)))
}

func TestErrors(t *testing.T) {
	var tree Tree
	require.ErrorIs(t, tree.File("x", filepath.Join(t.TempDir(), "none")), os.ErrNotExist)
	require.ErrorContains(t, tree.File("x", t.TempDir()), "not a regular file")
	require.ErrorIs(t, tree.Copy("x", filepath.Join(t.TempDir(), "none")), os.ErrNotExist)
	assert.Empty(t, tree.Names())

	gone := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.WriteFile(gone, nil, 0o600))
	require.NoError(t, tree.File("x", gone))
	require.NoError(t, os.Remove(gone))
	require.ErrorIs(t, tree.Write(io.Discard), os.ErrNotExist)
}

// full takes n bytes, then no more.
type full struct{ n int }

var errFull = errors.New("full")

func (f *full) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestEveryWriteErrorIsSeen(t *testing.T) {
	var tree Tree
	tree.Bytes("a/b", 0o644, []byte("content"))
	for n := range len(archive(t, &tree)) {
		require.ErrorIs(t, tree.Write(&full{n}), errFull, "after %d bytes", n)
	}
}

func TestRandomTrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		files := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,9}(/[a-z]{1,9}){0,3}\.x`), rapid.SliceOfN(rapid.Byte(), 0, 50), 0, 20).Draw(t, "files")
		var tree Tree
		for name, data := range files {
			tree.Bytes(name, 0o644, data)
		}
		have, seen := map[string]bool{"": true}, 0
		for _, m := range read(t, archive(t, &tree)) {
			parent, _, _ := cutLast(m.name)
			require.True(t, have[parent], "%s comes before its directory", m.name)
			have[m.name] = true
			if m.mode == 0o100644 {
				seen++
				require.Equal(t, string(files[m.name]), m.data)
			}
		}
		require.Equal(t, len(files), seen)
	})
}

func cutLast(name string) (dir, base string, ok bool) {
	i := strings.LastIndex(name, "/")
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}
