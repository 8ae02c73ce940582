package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"vifplug/bridge/bridgetest"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// perBridge keeps below the kernel's 1,023 ports a bridge.
const perBridge = 500

// theStorm has NICs appear all at once: netdevs there, backend nodes committed in one transaction with state 2. The time is from the commit's
// answer to the last hotplug-status = connected. Then it looks at the daemon's memory, and at what it does when nothing happens.
func (b *bench) theStorm(ctx context.Context) error {
	before, err := rss(b.daemon.Process.Pid)
	if err != nil {
		return err
	}
	ids := make([]xenstore.DomID, b.storm)
	for i := range ids {
		ids[i] = xenstore.DomID(20000 + i)
		if i%perBridge == 0 && i > 0 {
			if err := bridgetest.MakeBridge(bridgeOf(i), 1500); err != nil {
				return err
			}
		}
		if err := bridgetest.MakeVeth(standin.VIF(int(ids[i]), 0), standin.GuestEnd(int(ids[i]), 0)); err != nil {
			return err
		}
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	w, err := b.client.Watch(ctx, "/local/domain/0/backend/vif", xenstore.WatchOptions{Key: func(path string) (string, bool) {
		return path, strings.HasSuffix(path, "/hotplug-status")
	}})
	if err != nil {
		return err
	}
	start, err := b.appear(ctx, ids)
	if err != nil {
		return err
	}
	if err := b.allConnected(ctx, w, ids); err != nil {
		return err
	}
	took := time.Since(start)
	if err := w.Close(ctx); err != nil {
		return err
	}
	fmt.Printf("\n%d NICs at once: all connected after %s (wanted 1,500 ms at most for 1,000)\n", b.storm, ms(took))
	for _, i := range []int{0, len(ids) / 2, len(ids) - 1} {
		if text, err := bridgetest.Describe(standin.VIF(int(ids[i]), 0)); err != nil || !strings.Contains(text, "master "+bridgeOf(i)+" up") {
			return fmt.Errorf("not plugged: %s: %v", text, err)
		}
	}
	if err := b.memoryAndIdle(ctx, before); err != nil {
		return err
	}
	return b.theReturn(ctx, ids)
}

func bridgeOf(i int) string { return "xenbr" + strconv.Itoa(i/perBridge) }

// appear commits all nodes in one transaction, already in state 2. Until the commit is answered nobody can see any of them; from then on
// everybody sees all.
func (b *bench) appear(ctx context.Context, ids []xenstore.DomID) (time.Time, error) {
	err := b.client.Transaction(ctx, func(tx *xenstore.Tx) error {
		return b.tools.AttachIn(ctx, tx, ids, func(i int) standin.NIC {
			n := b.config(ids[i])
			n.Bridge, n.State = bridgeOf(i), "2"
			return n
		})
	})
	return time.Now(), err
}

// allConnected waits until every node says connected: it reads those whose status changed.
func (b *bench) allConnected(ctx context.Context, w *xenstore.Watch, ids []xenstore.DomID) error {
	left := map[string]bool{}
	for _, id := range ids {
		left[fmt.Sprintf("/local/domain/0/backend/vif/%d/0/hotplug-status", id)] = true
	}
	limit := time.After(60 * time.Second)
	for len(left) > 0 {
		select {
		case <-w.Ready():
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return fmt.Errorf("%d NICs are not connected after 60 s", len(left))
		}
		var ops []xenstore.Op
		var paths []string
		for _, ev := range w.Take() {
			if left[ev.Path] {
				ops, paths = append(ops, xenstore.ReadOp(ev.Path)), append(paths, ev.Path)
			}
		}
		res, err := b.client.Pipeline(ctx, ops...)
		if err != nil {
			return err
		}
		for i, r := range res {
			if r.Value == "connected" {
				delete(left, paths[i])
			}
		}
	}
	return nil
}

func (b *bench) memoryAndIdle(ctx context.Context, before int) error {
	pid := b.daemon.Process.Pid
	if err := b.settle(ctx); err != nil {
		return err
	}
	after, err := rss(pid)
	if err != nil {
		return err
	}
	fmt.Printf("resident memory: %.1f MB before, %.1f MB with %d NICs (wanted 30 MB at most)\n", mb(before), mb(after), b.storm)
	w, c, err := b.atRest(ctx, time.Duration(b.idle)*time.Second)
	if err != nil {
		return err
	}
	fmt.Printf("idle for %d s: %d wake-ups, %.3f ms of CPU (wanted none)\n", b.idle, w, float64(c)/1e6)
	return nil
}

// atRest watches the daemon while nothing happens: how often it wakes, and the nanoseconds that it works.
func (b *bench) atRest(ctx context.Context, d time.Duration) (woken, worked uint64, err error) {
	pid := b.daemon.Process.Pid
	w1, err := wakeups(pid)
	if err != nil {
		return 0, 0, err
	}
	c1, err := cpuTicks(pid)
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-time.After(d): // the very thing that is measured
	}
	w2, err := wakeups(pid)
	if err != nil {
		return 0, 0, err
	}
	c2, err := cpuTicks(pid)
	return w2 - w1, c2 - c1, err
}

// settle waits until the daemon has not woken for a second: the runtime gives memory back for a while after work.
func (b *bench) settle(ctx context.Context) error {
	last := uint64(0)
	for range 60 {
		now, err := wakeups(b.daemon.Process.Pid)
		if err != nil || now == last {
			return err
		}
		last = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return errors.New("the daemon does not come to rest")
}

func mb(kb int) float64 { return float64(kb) / 1024 }

// rss reads a process's resident memory, in KiB.
func rss(pid int) (int, error) { return statusField(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") }

func statusField(file, field string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, field)
}

// wakeups counts how often any thread of a process has been put on a CPU after waiting (linux: voluntary_ctxt_switches).
func wakeups(pid int) (uint64, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	var sum uint64
	for _, t := range tasks {
		n, err := statusField(fmt.Sprintf("/proc/%d/task/%s/status", pid, t.Name()), "voluntary_ctxt_switches:")
		if err != nil {
			return 0, err
		}
		sum += uint64(n)
	}
	return sum, nil
}

// cpuTicks is the exact time that the threads of a process have run, in nanoseconds (linux: schedstat).
func cpuTicks(pid int) (uint64, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	var sum uint64
	for _, t := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, t.Name()))
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
