package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/test/xenvm/cpio"
	"vifplug/test/xenvm/image"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if n, v, _ := strings.Cut(p, "="); n == name {
				return v
			}
		}
		return ""
	}
}

func TestOptions(t *testing.T) {
	o, rest, err := parseOptions([]string{"--timeout", "3m", "--memory=3000", "--verbose", "--console", "f", "x.test", "-test.v", "--timeout=1s"}, env())
	require.NoError(t, err)
	assert.Equal(t, options{timeout: 3 * time.Minute, memory: 3000, verbose: true, console: "f"}, o)
	assert.Equal(t, []string{"x.test", "-test.v", "--timeout=1s"}, rest, "what follows the binary is the binary's")

	o, _, err = parseOptions([]string{"--memory", "1"}, env("XENVM_TIMEOUT=5s", "XENVM_MEMORY=2", "XENVM_CONSOLE=c", "XENVM_KERNEL_ARGS=a b"))
	require.NoError(t, err)
	assert.Equal(t, options{timeout: 5 * time.Second, memory: 1, console: "c", kernel: "a b"}, o, "flags win over the environment")

	_, _, err = parseOptions([]string{"--what"}, env())
	require.ErrorContains(t, err, "see xenvm help")
	_, _, err = parseOptions(nil, env("XENVM_TIMEOUT=soon"))
	require.ErrorContains(t, err, "XENVM_TIMEOUT=soon")
}

func TestLimit(t *testing.T) {
	for name, tt := range map[string]struct {
		flag time.Duration
		args []string
		want time.Duration
	}{
		"nothing given":   {0, nil, 10 * time.Minute},
		"the test's":      {0, []string{"-test.timeout=1m0s"}, time.Minute + bootAllowance},
		"two dashes":      {0, []string{"--test.timeout=1m0s"}, time.Minute + bootAllowance},
		"apart":           {0, []string{"-test.timeout", "2m"}, 2*time.Minute + bootAllowance},
		"none wanted":     {0, []string{"-test.timeout=0s"}, 0},
		"the flag's wins": {5 * time.Second, []string{"-test.timeout=1m0s"}, 5 * time.Second},
		"not a duration":  {0, []string{"-test.timeout=x"}, 10 * time.Minute},
		"another flag":    {0, []string{"-test.v", "test.timeout=1m"}, 10 * time.Minute},
	} {
		assert.Equal(t, tt.want, limit(options{timeout: tt.flag}, tt.args), name)
	}
}

func TestTestArgs(t *testing.T) {
	got, err := testArgs([]string{"-test.v=true", "-test.testlogfile=/tmp/x", "-test.run=A|B", "-flag"})
	require.NoError(t, err)
	assert.Equal(t, []string{"-test.v=true", "-test.run=A|B", "-flag"}, got)
	_, err = testArgs([]string{"-test.coverprofile=/tmp/x"})
	require.EqualError(t, err, "-test.coverprofile: files that a test writes in dom0 do not come back. Run without it")
}

func TestTestEnv(t *testing.T) {
	assert.Equal(t, []string{"XENVM=1", "VIFPLUG_X=1", "GODEBUG=a=b"}, testEnv([]string{"HOME=/x", "VIFPLUG_X=1", "GODEBUG=a=b", "GOFLAGS=-v", "VIFPLUGX=1"}))
}

func TestPrepareRun(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(script, []byte("true"), 0o600))
	root := &cpio.Tree{}
	j, err := prepareRun(options{}, []string{script, script}, root)
	require.NoError(t, err)
	assert.Equal(t, []string{"/bin/bash", "/root/JOB"}, j.Args)
	assert.Equal(t, []string{"root", "root/JOB", "root/script"}, root.Names())
	j, err = prepareRun(options{command: "xl list"}, nil, &cpio.Tree{})
	require.NoError(t, err)
	assert.Equal(t, []string{"/bin/bash", "-c", "xl list"}, j.Args)
	_, err = prepareRun(options{}, nil, root)
	require.Error(t, err)
	_, err = prepareRun(options{}, []string{script, script + ".none"}, root)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// project lays out a module with a package that has testdata, and goes there.
func project(t *testing.T) (root, binary string) {
	t.Helper()
	root = t.TempDir()
	pkg := filepath.Join(root, "pkg", "testdata")
	require.NoError(t, os.MkdirAll(pkg, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	for _, f := range []string{"go.mod", "bin/tool", "pkg/testdata/data", "pkg/source.go"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, f), []byte(f), 0o600))
	}
	t.Chdir(filepath.Join(root, "pkg"))
	binary = filepath.Join(root, "pkg.test")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Dir = filepath.Join(root, "program")
	require.NoError(t, os.Mkdir(build.Dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(build.Dir, "go.mod"), []byte("module x\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(build.Dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return root, binary
}

func TestPrepareExec(t *testing.T) {
	root, binary := project(t)
	t.Setenv("XENVM_FILES", "bin/tool")
	tree := &cpio.Tree{}
	j, err := prepareExec(options{}, []string{binary, "-test.v", "-test.testlogfile=x"}, tree)
	require.NoError(t, err)
	assert.Equal(t, []string{binary, "-test.v"}, j.Args)
	assert.Equal(t, filepath.Join(root, "pkg"), j.Dir)
	for _, name := range []string{binary, filepath.Join(root, "pkg/testdata/data"), filepath.Join(root, "bin/tool"), "/usr/local/bin/tool"} {
		assert.True(t, tree.Has(name), name)
	}
	assert.False(t, tree.Has(filepath.Join(root, "pkg/source.go")), "the sources stay here")

	t.Setenv("XENVM_FILES", "bin/none")
	_, err = prepareExec(options{}, []string{binary}, &cpio.Tree{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "XENVM_FILES")
	_, err = prepareExec(options{}, nil, &cpio.Tree{})
	require.Error(t, err)
	_, err = prepareExec(options{}, []string{"/bin/sh"}, &cpio.Tree{})
	require.EqualError(t, err, "/bin/sh needs shared libraries, which dom0 does not have. Build it with CGO_ENABLED=0 and without -race.")
}

func TestModuleRoot(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	assert.Equal(t, deep, moduleRoot(deep), "no module here")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o600))
	assert.Equal(t, dir, moduleRoot(deep))
}

func TestTail(t *testing.T) {
	var e tail
	for range 5000 {
		_, err := e.Write([]byte("a line\r\n"))
		require.NoError(t, err)
	}
	_, err := e.Write([]byte("the end\r\n"))
	require.NoError(t, err)
	got := strings.Split(e.String(), "\n")
	assert.Len(t, got, 40)
	assert.Equal(t, []string{"a line", "the end"}, got[38:])
	assert.LessOrEqual(t, len(e.end), 2*tailSize)
}

func TestJoinInitrd(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	require.NoError(t, os.WriteFile(base, []byte("base"), 0o600))
	tree := &cpio.Tree{}
	tree.Bytes("x", 0o644, []byte("y"))
	f, err := joinInitrd(base, tree)
	require.NoError(t, err)
	b, err := os.ReadFile(f.Name())
	require.Error(t, err, "it has no name on disk: %q", b)
	info, err := f.Stat()
	require.NoError(t, err)
	got := make([]byte, info.Size())
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.True(t, strings.HasPrefix(string(got), "base070701"))
	_, err = joinInitrd(base+".none", tree)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestUsage(t *testing.T) {
	assert.Equal(t, 2, run(nil))
	assert.Equal(t, 2, run([]string{"what"}))
	assert.Equal(t, 0, run([]string{"help"}))
	assert.Equal(t, 0, run([]string{"packages"}))
	assert.Equal(t, 2, run([]string{"exec", "--what"}))
	assert.Equal(t, statusMissing, run([]string{"exec"}))
}

// TestMakefile holds the Makefile's lists of packages to those that the lab needs.
func TestMakefile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	require.NoError(t, err)
	var have []string
	for _, m := range regexp.MustCompile(`(?m)^(?:TEST|LAB)_PACKAGES\s*:?=\s*(.*)$`).FindAllStringSubmatch(string(b), -1) {
		have = append(have, strings.Fields(m[1])...)
	}
	for _, p := range image.Packages() {
		if !slices.Contains(essential, p) {
			assert.Contains(t, have, p, "the Makefile's deps installs what the lab needs")
		}
	}
}

// essential are packages that every Debian has, and qemu-system-data, on which qemu-system-x86 depends.
var essential = []string{"bash", "coreutils", "debianutils", "grep", "sed", "util-linux", "libgcc-s1", "mawk", "qemu-system-data"}
