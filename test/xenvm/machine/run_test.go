package machine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// emulator puts a shell script in QEMU's place. Its descriptors are those of QEMU: 3 the console, 4 and 5 the output, 6 the control, 7 the initrd.
func emulator(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, Program), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// outcome is all that a run gave.
type outcome struct {
	result             Result
	err                error
	out, errs, console string
}

func start(t *testing.T, ctx context.Context, signals <-chan os.Signal) outcome {
	t.Helper()
	initrd, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer initrd.Close() //nolint:errcheck // /dev/null
	var out, errs, console bytes.Buffer
	r, err := Run(ctx, Config{}, initrd, Streams{Out: &out, Err: &errs, Console: &console, Signals: signals})
	return outcome{r, err, out.String(), errs.String(), console.String()}
}

const stay = "\nexec sleep 1000"

func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		status int
	}{
		"success": {"echo ready >&6; printf out >&4; printf err >&5; printf boot >&3; echo exit 0 >&6" + stay, 0},
		"failure": {"echo ready >&6; printf out >&4; printf err >&5; printf boot >&3; echo exit 3 >&6" + stay, 3},
		"killed":  {"echo ready >&6; printf out >&4; printf err >&5; printf boot >&3; echo killed 6 >&6" + stay, 134},
		"noise":   {"echo what >&6; echo ready >&6; printf out >&4; printf err >&5; printf boot >&3; echo exit 1 >&6", 1},
	} {
		t.Run(name, func(t *testing.T) {
			emulator(t, tt.script)
			o := start(t, t.Context(), nil)
			require.NoError(t, o.err)
			assert.Equal(t, tt.status, o.result.Status)
			assert.Equal(t, "out", o.out)
			assert.Equal(t, "err", o.errs)
			assert.Equal(t, "boot", o.console)
			assert.Positive(t, o.result.Boot)
			assert.GreaterOrEqual(t, o.result.Total, o.result.Boot)
		})
	}
}

func TestNothingIsLost(t *testing.T) {
	emulator(t, "echo ready >&6; head -c 3000000 /dev/zero >&4; echo exit 0 >&6"+stay)
	o := start(t, t.Context(), nil)
	require.NoError(t, o.err)
	assert.Len(t, o.out, 3000000)
}

func TestNoStatus(t *testing.T) {
	emulator(t, "echo ready >&6; printf 'half a li' >&4")
	o := start(t, t.Context(), nil)
	require.ErrorIs(t, o.err, ErrNoStatus)
	assert.Equal(t, "half a li", o.out)

	emulator(t, "echo cannot allocate memory >&2; exit 1")
	o = start(t, t.Context(), nil)
	require.ErrorIs(t, o.err, ErrNoStatus)
	require.ErrorContains(t, o.err, "qemu-system-x86_64 said: cannot allocate memory (exit status 1)")
	assert.Zero(t, o.result.Boot)
}

func TestNoEmulator(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.ErrorContains(t, start(t, t.Context(), nil).err, Program)
}

func TestTimeRunsOut(t *testing.T) {
	errLate := errors.New("late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errLate)
	defer cancel()
	emulator(t, stay)
	require.ErrorIs(t, start(t, ctx, nil).err, errLate)
}

// A machine whose job does not start is stopped; one whose job has started is not.
func TestBootLimit(t *testing.T) {
	run := func(script string, limit time.Duration) error {
		emulator(t, script)
		initrd, err := os.Open(os.DevNull)
		require.NoError(t, err)
		defer initrd.Close() //nolint:errcheck // /dev/null
		_, err = Run(t.Context(), Config{BootLimit: limit}, initrd, Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer), Console: new(bytes.Buffer)})
		return err
	}
	require.ErrorIs(t, run(stay, 50*time.Millisecond), ErrNoBoot)
	require.NoError(t, run("echo ready >&6; sleep 0.7; echo exit 0 >&6"+stay, 500*time.Millisecond))
}

func TestSignals(t *testing.T) {
	signals := make(chan os.Signal, 2)
	t.Run("before the job they stop the machine", func(t *testing.T) {
		emulator(t, stay)
		signals <- syscall.SIGTERM
		require.ErrorIs(t, start(t, t.Context(), signals).err, ErrNoStatus)
	})
	t.Run("the job gets the first", func(t *testing.T) {
		emulator(t, "echo ready >&6; read -r line <&6; printf \"$line\" >&4; echo exit 130 >&6"+stay)
		o := signalled(t, signals, 1)
		require.NoError(t, o.err)
		assert.Equal(t, "signal 15", o.out)
		assert.Equal(t, 130, o.result.Status)
	})
	t.Run("the machine gets the second", func(t *testing.T) {
		emulator(t, "echo ready >&6"+stay)
		require.ErrorIs(t, signalled(t, signals, 2).err, ErrNoStatus)
	})
}

// signalled runs a machine and sends signals when its job is about to start.
func signalled(t *testing.T, signals chan os.Signal, n int) outcome {
	t.Helper()
	initrd, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer initrd.Close() //nolint:errcheck // /dev/null
	var out bytes.Buffer
	r, err := Run(t.Context(), Config{}, initrd, Streams{Out: &out, Err: new(bytes.Buffer), Console: new(bytes.Buffer), Signals: signals, Ready: func() {
		for range n {
			signals <- syscall.SIGTERM
		}
	}})
	return outcome{result: r, err: err, out: out.String()}
}

// broken is a reader of the output that has gone away.
type broken struct{}

var errBroken = errors.New("broken pipe")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestReaderGoesAway(t *testing.T) {
	emulator(t, "echo ready >&6; head -c 3000000 /dev/zero >&4; echo exit 0 >&6"+stay)
	initrd, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer initrd.Close() //nolint:errcheck // /dev/null
	var sink bytes.Buffer
	_, err = Run(t.Context(), Config{}, initrd, Streams{Out: broken{}, Err: &sink, Console: new(bytes.Buffer)})
	require.ErrorIs(t, err, errBroken)
}
