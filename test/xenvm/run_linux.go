package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vifplug/test/xenvm/cpio"
	"vifplug/test/xenvm/image"
	"vifplug/test/xenvm/job"
	"vifplug/test/xenvm/machine"
)

// errTime is why a run was stopped.
var errTime = errors.New("time ran out")

// prepare puts what is to run into the overlay of dom0's root, and says what to run.
type prepare func(o options, args []string, root *cpio.Tree) (job.Job, error)

// runJob boots a dom0, runs one job in it, and gives its exit status.
func runJob(args []string, prepare prepare) int {
	o, args, err := parseOptions(args, os.Getenv)
	if err != nil {
		say("%v", err)
		return 2
	}
	root := &cpio.Tree{Merged: true}
	j, err := prepare(o, args, root)
	if err != nil {
		return finish(err)
	}
	if err := addJob(root, j); err != nil {
		return finish(err)
	}
	cache, err := image.CacheDir()
	if err != nil {
		return finish(err)
	}
	dir, err := image.Ensure(cache, say)
	if err != nil {
		return finish(err)
	}
	return boot(o, dir, root, limit(o, j.Args[1:]))
}

// addJob adds the job and the agent, which is this program.
func addJob(root *cpio.Tree, j job.Job) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := mustBeStatic(self); err != nil {
		return err
	}
	if err := root.File(job.AgentPath, self); err != nil {
		return err
	}
	b, err := j.Encode()
	if err != nil {
		return err
	}
	root.Bytes(job.Path, 0o644, b)
	return nil
}

func mustBeStatic(program string) error {
	static, err := image.Static(program)
	if err != nil {
		return err
	}
	if !static {
		return image.Missing{What: program + " needs shared libraries, which dom0 does not have", Remedy: "Build it with CGO_ENABLED=0 and without -race"}
	}
	return nil
}

// boot runs the job in a dom0. One that does not come up is tried again, and said so: the job has not begun, so nothing of it is repeated.
func boot(o options, dir string, root *cpio.Tree, limit time.Duration) int {
	initrd, err := joinInitrd(filepath.Join(dir, image.InitrdFile), root)
	if err != nil {
		return finish(err)
	}
	defer initrd.Close() //nolint:errcheck // memory
	ctx := context.Background()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit+(bootTries-1)*bootLimit, errTime)
		defer cancel()
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	config := machine.Config{
		Xen: filepath.Join(dir, image.XenFile), Kernel: filepath.Join(dir, image.KernelFile), Memory: o.memory, KernelArgs: o.kernel, BootLimit: bootLimit,
	}
	for try := 1; ; try++ {
		status, err := bootOnce(ctx, o, config, initrd, signals)
		if !errors.Is(err, machine.ErrNoBoot) || try == bootTries {
			return status
		}
		say("trying again (%d of %d)", try+1, bootTries)
	}
}

// bootOnce is one attempt. What went wrong has been said when it returns.
func bootOnce(ctx context.Context, o options, config machine.Config, initrd *os.File, signals <-chan os.Signal) (status int, err error) {
	console := &tail{}
	var consoles io.Writer = console
	if o.console != "" {
		f, err := os.Create(o.console)
		if err != nil {
			return finish(fmt.Errorf("console: %w", err)), err
		}
		defer f.Close() //nolint:errcheck // a log
		consoles = io.MultiWriter(console, f)
	}
	result, err := machine.Run(ctx, config, initrd, machine.Streams{Out: os.Stdout, Err: os.Stderr, Console: consoles, Signals: signals})
	if o.verbose {
		say("dom0 ran the job %s after power-on; all took %s", seconds(result.Boot), seconds(result.Total))
	}
	if err == nil {
		return result.Status, nil
	}
	say("%v", err)
	if result.Boot == 0 {
		say("dom0 did not come up; the end of its console:\n%s", console.String())
	} else if s := console.String(); errors.Is(err, machine.ErrNoStatus) {
		say("the end of its console:\n%s", s)
	}
	if errors.Is(err, errTime) {
		return statusTimeout, err
	}
	return statusNoDom0, err
}

// joinInitrd puts the image's root and the overlay one after the other into memory.
func joinInitrd(base string, overlay *cpio.Tree) (*os.File, error) {
	fd, err := unix.MemfdCreate("initrd", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for dom0's root: %w", err)
	}
	f := os.NewFile(uintptr(fd), "initrd")
	from, err := os.Open(base)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("dom0's root: %w", err)
	}
	defer from.Close() //nolint:errcheck // only read
	_, err = io.Copy(f, from)
	if err == nil {
		err = overlay.Write(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("dom0's root: %w", err)
	}
	return f, nil
}

// tail keeps the end of what was written.
type tail struct {
	mu  sync.Mutex // guards all following fields
	end []byte
}

const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	if len(t.end) > 2*tailSize {
		t.end = bytes.Clone(t.end[len(t.end)-tailSize:])
	}
	return len(b), nil
}

// String gives the last lines, without carriage returns.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(t.end), "\r", "")), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
