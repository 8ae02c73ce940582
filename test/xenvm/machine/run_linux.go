package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vifplug/test/xenvm/job"
)

// ErrNoStatus says that the machine stopped before the job had ended.
var ErrNoStatus = errors.New("machine: dom0 ended without an exit status of the job")

// ErrNoBoot says that the job had not started within [Config.BootLimit].
var ErrNoBoot = errors.New("machine: dom0 did not come up in time")

// Streams are the ends of a run on the host.
type Streams struct {
	Out, Err io.Writer        // the job's output
	Console  io.Writer        // Xen's and dom0's console
	Signals  <-chan os.Signal // passed on to the job; the second one stops the machine
	Ready    func()           // called when the job is about to start; nil is fine
}

// Result is how a run ended.
type Result struct {
	Status int           // of the job, as a shell gives it
	Boot   time.Duration // from power-on to the job's start
	Total  time.Duration
}

// Run boots the machine, passes the job's output on while it comes, and stops the machine when the job has ended or ctx has. The initrd's
// content is given as an open file, so that none is left behind, whatever happens.
func Run(ctx context.Context, c Config, initrd *os.File, s Streams) (Result, error) {
	// QEMU is killed when the thread that started it ends: so nothing survives even a kill -9 of this program
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ours, theirs, err := sockets(4)
	if err != nil {
		return Result{}, err
	}
	defer closeAll(ours)
	c.Initrd = fmt.Sprintf("/proc/self/fd/%d", fdInitrd)
	cmd := exec.CommandContext(ctx, Program, c.Args()...)
	var said strings.Builder
	cmd.Stderr = &said
	cmd.ExtraFiles = append(append([]*os.File{}, theirs...), initrd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	err = cmd.Start()
	closeAll(theirs)
	if err != nil {
		return Result{}, fmt.Errorf("machine: %w", err)
	}
	r := &running{start: start, onReady: s.Ready, control: ours[fdControl-3], kill: func() { _ = cmd.Process.Kill() }, done: make(chan struct{})}
	var pumps sync.WaitGroup
	pumps.Go(func() { r.runCopy(s.Console, ours[fdConsole-3]) })
	pumps.Go(func() { r.runCopy(s.Out, ours[fdOut-3]) })
	pumps.Go(func() { r.runCopy(s.Err, ours[fdErr-3]) })
	pumps.Go(r.runControl)
	stuck := r.limitBoot(c.BootLimit)
	defer stuck.Stop()
	var signals sync.WaitGroup
	signals.Go(func() { r.runSignals(s.Signals) })
	pumps.Wait() // all ports are closed: QEMU has ended, and all that it had taken from the dom0 has been passed on
	close(r.done)
	signals.Wait()
	exit := cmd.Wait()
	r.result.Total = time.Since(start)
	switch {
	case r.ended:
		return r.result, r.copyErr
	case r.noBoot.Load():
		return r.result, fmt.Errorf("%w (%v)", ErrNoBoot, r.result.Total.Round(time.Second))
	case ctx.Err() != nil:
		return r.result, fmt.Errorf("machine: stopped after %s: %w", r.result.Total.Round(time.Second), context.Cause(ctx))
	case said.Len() > 0:
		return r.result, fmt.Errorf("%w; %s said: %s (%v)", ErrNoStatus, Program, strings.TrimSpace(said.String()), exit)
	}
	return r.result, ErrNoStatus
}

// running is one machine that is up. runControl alone writes result and ended, before it ends.
type running struct {
	start   time.Time
	control *os.File
	kill    func()
	onReady func()
	done    chan struct{}
	result  Result
	ended   bool
	ready   atomic.Bool // the job is about to start
	noBoot  atomic.Bool // it was not, in time

	mu      sync.Mutex // guards copyErr
	copyErr error
}

// limitBoot stops a machine whose job has not started in time: QEMU's emulation of several processors now and then stands still while it boots.
func (r *running) limitBoot(limit time.Duration) *time.Timer {
	if limit <= 0 {
		limit = math.MaxInt64
	}
	return time.AfterFunc(limit, func() {
		if !r.ready.Load() {
			r.noBoot.Store(true)
			r.kill()
		}
	})
}

// runCopy passes a stream on until its end. A reader that goes away must not stop the machine's writer: the rest is dropped, and said.
func (r *running) runCopy(to io.Writer, from *os.File) {
	if _, err := io.Copy(to, from); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		r.mu.Lock()
		r.copyErr = errors.Join(r.copyErr, fmt.Errorf("machine: pass the output on: %w", err))
		r.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, from)
}

// runControl hears the agent. The agent says how the job ended after QEMU has taken all of its output.
func (r *running) runControl() {
	lines := bufio.NewScanner(r.control)
	for lines.Scan() {
		m, err := job.ParseMessage(lines.Text())
		if err != nil {
			continue
		}
		if m.Verb == "ready" {
			r.result.Boot = time.Since(r.start)
			r.ready.Store(true)
			if r.onReady != nil {
				r.onReady()
			}
		}
		if status, ok := m.Status(); ok {
			r.result.Status, r.ended = status, true
			r.kill()
		}
	}
}

// runSignals passes signals on to the job; the second one is meant for the machine, and so is one that comes before there is a job.
func (r *running) runSignals(signals <-chan os.Signal) {
	for n := 0; ; n++ {
		select {
		case <-r.done:
			return
		case s := <-signals:
			number, ok := s.(syscall.Signal)
			if n > 0 || !ok || !r.ready.Load() {
				r.kill()
				continue
			}
			_, _ = io.WriteString(r.control, job.Message{Verb: "signal", Number: int(number)}.String())
		}
	}
}

// sockets makes pairs: our ends, and QEMU's.
func sockets(n int) (ours, theirs []*os.File, err error) {
	for range n {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			closeAll(ours)
			closeAll(theirs)
			return nil, nil, fmt.Errorf("machine: socket pair: %w", err)
		}
		if err := unix.SetNonblock(fds[0], true); err != nil { // ours goes through the runtime's poller
			return nil, nil, fmt.Errorf("machine: socket pair: %w", err)
		}
		ours = append(ours, os.NewFile(uintptr(fds[0]), "socket"))
		theirs = append(theirs, os.NewFile(uintptr(fds[1]), "socket"))
	}
	return ours, theirs, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
