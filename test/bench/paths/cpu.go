package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// theCPUs are the first two that this process may use: the sending side has the first, the receiving side and any forwarder the second. They are asked
// for once, before any thread has a CPU of its own.
var theCPUs = sync.OnceValues(firstTwo)

func firstTwo() (out [2]int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return out, err
	}
	n := 0
	for i := 0; i < 1024 && n < 2; i++ {
		if set.IsSet(i) {
			out[n] = i
			n++
		}
	}
	if n < 2 {
		return out, errors.New("this takes two CPUs: one sends, the other receives")
	}
	return out, nil
}

func pin(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(tid, &set)
}

// pinProcess has every thread of a process use these CPUs.
func pinProcess(pid int, cpus ...int) error {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err == nil {
			err = unix.SchedSetaffinity(tid, &set)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// worker is a function on a thread of its own, which ends with it.
type worker struct {
	done chan struct{}
	cpu  time.Duration // what the thread has used
	err  error
}

// anyCPU leaves a worker where the scheduler puts it.
const anyCPU = -1

// start runs a function on a thread of its own, on one CPU.
func start(cpu int, do func() error) *worker {
	w := &worker{done: make(chan struct{})}
	go runWorker(w, cpu, do)
	return w
}

func runWorker(w *worker, cpu int, do func() error) {
	defer close(w.done)
	runtime.LockOSThread() // never unlocked: no other work inherits its CPU
	if cpu != anyCPU {
		if w.err = pin(0, cpu); w.err != nil {
			return
		}
	}
	from := clock(unix.CLOCK_THREAD_CPUTIME_ID)
	w.err = do()
	w.cpu = clock(unix.CLOCK_THREAD_CPUTIME_ID) - from
}

func (w *worker) wait() error {
	<-w.done
	return w.err
}

func clock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// processCPU is what all threads of a process have used. It is the sum that /proc/PID/task/*/schedstat would give, without the last moment missing
// of a thread that runs (linux: kernel/time/posix-cpu-timers.c; the number of the clock is the process's, inverted).
func processCPU(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	return clock(int32(^pid<<3 | 2))
}

// softirqd finds the kernel's threads that take over when there are too many packets for the moment: one for each CPU. None are seen from within a
// container.
func softirqd() (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, n := range names {
		if text, _ := os.ReadFile(n); strings.HasPrefix(string(text), "ksoftirqd/") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(n))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func cpuOf(pids []int) (sum time.Duration) {
	for _, p := range pids {
		sum += processCPU(p)
	}
	return sum
}

// systemCall is what the cheapest one costs.
func systemCall() time.Duration {
	const n = 20000
	w := start(anyCPU, func() error {
		for range n {
			_, _, _ = unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		}
		return nil
	})
	_ = w.wait()
	return w.cpu / n
}
