//go:build xen

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sample is a package whose tests do what their names say.
const sample = `package sample

import (
	"fmt"
	"os"
	"testing"
)

func TestPass(t *testing.T) { t.Log(os.Getenv("VIFPLUG_WORD")) }

func TestFail(t *testing.T) { t.Error("as it should") }

func TestPanic(t *testing.T) { panic("at the lab") }

func TestStatus(t *testing.T) { os.Exit(7) }

func TestOutput(t *testing.T) {
	for i := range 20000 {
		fmt.Printf("line %d\n", i)
	}
	fmt.Fprint(os.Stderr, "tab\t, return\r, escape \x1b[0m, no newline at the end")
}
`

// TestGoTestExec runs on the host what `make test-xen` runs: go test -exec, with this program, against a real dom0. Each case is one boot.
func TestGoTestExec(t *testing.T) {
	dir, xenvm := sampleModule(t)
	t.Setenv("VIFPLUG_WORD", "for the test in dom0")
	for name, tt := range map[string]struct {
		status int
		wants  []string
	}{
		"Pass":   {0, []string{"--- PASS: TestPass", "for the test in dom0", "ok  \tsample"}},
		"Fail":   {1, []string{"--- FAIL: TestFail", "as it should", "FAIL\tsample"}},
		"Panic":  {1, []string{"panic: at the lab", "goroutine ", "sample_test.go:13", "FAIL\tsample"}},
		"Output": {0, []string{"\nline 19999\n", "tab\t, return\r, escape \x1b[0m, no newline at the end"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, status := goTest(t, dir, "-count=1", "-v", "-timeout", "1m", "-run", "^Test"+name+"$", "-exec", xenvm+" exec", ".")
			assert.Equal(t, tt.status, status)
			for _, want := range tt.wants {
				assert.Contains(t, out, want)
			}
			assert.NotContains(t, out, "(XEN)", "no word from the console")
			if name == "Output" {
				assert.Equal(t, 20000, strings.Count(out, "\nline "))
			}
		})
	}
}

// The status that go test keeps to itself is the test's.
func TestExecStatus(t *testing.T) {
	dir, xenvm := sampleModule(t)
	binary := filepath.Join(dir, "sample.test")
	goCommand(t, dir, "test", "-c", "-o", binary, ".")
	cmd := exec.CommandContext(t.Context(), xenvm, "exec", binary, "-test.timeout", "1m", "-test.run", "^TestStatus$")
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput()
	require.NotNil(t, cmd.ProcessState, "%s", out)
	assert.Equal(t, 7, cmd.ProcessState.ExitCode(), "%s", out)
}

// sampleModule writes the sample and builds this program beside it.
func sampleModule(t *testing.T) (dir, xenvm string) {
	t.Helper()
	dir = t.TempDir()
	xenvm = filepath.Join(dir, "xenvm")
	goCommand(t, ".", "build", "-o", xenvm, ".")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module sample\n\ngo 1.24\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sample_test.go"), []byte(sample), 0o600))
	return dir, xenvm
}

func goCommand(t *testing.T, dir string, args ...string) {
	t.Helper()
	out, status := goTool(t, dir, args...)
	require.Zero(t, status, out)
}

func goTest(t *testing.T, dir string, args ...string) (string, int) {
	t.Helper()
	return goTool(t, dir, append([]string{"test"}, args...)...)
}

func goTool(t *testing.T, dir string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
