package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"vifplug/xenstore"
)

// candidate is one way to plug a NIC, or a yardstick for a part of it.
type candidate struct {
	name  string
	own   bool // works on the daemon's NICs
	bare  bool // works on none
	waits bool // for the watch on hotplug-status
	every int  // takes part in every how many-th round: the slow ones less often
	plug  func(context.Context, nic) error
	took  sample
}

// process runs a program to its end.
func process(env []string, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// hotplugEnv is what libxl gives the script.
func (b *bench) hotplugEnv(n nic) []string {
	return []string{
		"XENBUS_PATH=" + n.dir, "XENBUS_TYPE=vif", "XENBUS_BASE_PATH=backend", "vif=" + n.vif, "netdev=", "script=" + script,
		"XENSTORED_PATH=" + b.store.Socket, "VIFPLUG_SOCKET=" + b.socket(),
	}
}

func (b *bench) candidates() (list []*candidate, by map[string]*candidate) {
	bin := func(name string) string { return filepath.Join(b.bin, name) }
	list = []*candidate{
		{name: "script", every: 4, plug: func(_ context.Context, n nic) error { return process(b.hotplugEnv(n), script, "online", "type_if=vif") }},
		{name: "vif-plug", own: true, every: 1, plug: func(ctx context.Context, n nic) error {
			if err := b.ready(ctx, n); err != nil {
				return err
			}
			return process(b.hotplugEnv(n), bin("vif-plug"), "online", "type_if=vif")
		}},
		{name: "watch", own: true, waits: true, every: 1, plug: b.watchMode},
		{name: "floor", every: 1, plug: func(_ context.Context, n nic) error { return b.floor.plug(n.dir, n.vif) }},
		{name: "client", bare: true, every: 1, plug: func(context.Context, nic) error {
			return process(nil, bin("minimal-client"), filepath.Join(b.dir, "answer"))
		}},
		{name: "nothing", bare: true, every: 1, plug: func(context.Context, nic) error { return process(nil, bin("minimal-client")+"-empty") }},
		{name: "true", bare: true, every: 1, plug: func(context.Context, nic) error { return process(nil, "/bin/true") }},
	}
	by = map[string]*candidate{}
	for _, c := range list {
		by[c.name] = c
	}
	return list, by
}

// watchMode writes the state that makes the NIC pluggable and waits until the node says connected.
func (b *bench) watchMode(ctx context.Context, n nic) error {
	if err := b.ready(ctx, n); err != nil {
		return err
	}
	return b.connected(ctx, b.status, n)
}

// perNIC has every candidate plug a NIC, one candidate after the other, round by round, so that what the machine does meanwhile hits all alike.
func (b *bench) perNIC(ctx context.Context) error {
	list, by := b.candidates()
	for round := range b.rounds {
		for _, c := range list {
			if round%c.every == 0 {
				if err := b.measure(ctx, c); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
		}
	}
	b.print(by)
	return nil
}

func (b *bench) measure(ctx context.Context, c *candidate) error {
	if c.bare {
		start := time.Now()
		err := c.plug(ctx, nic{})
		c.took = append(c.took, time.Since(start))
		return err
	}
	n, err := b.make(ctx, c.own)
	if err != nil {
		return err
	}
	if c.waits {
		if b.status, err = b.client.Watch(ctx, n.dir+"/hotplug-status", xenstore.WatchOptions{}); err != nil {
			return err
		}
		defer b.status.Close(ctx) //nolint:errcheck // the bench's own watch
		<-b.status.Ready()
		b.status.Take()
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	start := time.Now()
	err = c.plug(ctx, n)
	c.took = append(c.took, time.Since(start))
	if err == nil {
		err = b.check(ctx, n)
	}
	if err != nil {
		return err
	}
	return b.drop(ctx, n)
}

// quiet waits until the daemon has nothing to do, so that what it still does about the NIC before does not count for the next.
func (b *bench) quiet(context.Context) error {
	last := uint64(0)
	for range 200 {
		now, err := cpuTicks(b.daemon.Process.Pid)
		if err != nil || now == last {
			return err
		}
		last = now
		time.Sleep(2 * time.Millisecond) // the interval over which it must not have run
	}
	return nil
}

func (b *bench) print(by map[string]*candidate) {
	yard := by["script"].took
	fmt.Printf("\n%-44s %10s %10s %10s %6s %9s\n", "one NIC", "median", "p10", "p90", "n", "script /")
	for _, row := range [][2]string{
		{"script", "stock vif-bridge online"},
		{"vif-plug", "vif-plug online, whole process, by the daemon"},
		{"watch", "watch mode: state written to connected"},
		{"floor", "floor: the fewest messages, one by one"},
	} {
		fmt.Println(by[row[0]].took.line(row[1], yard))
	}
	fmt.Println("for comparison")
	for _, row := range [][2]string{{"client", "minimal Go client, one question"}, {"nothing", "Go program that does nothing"}, {"true", "/bin/true"}} {
		fmt.Println(by[row[0]].took.line(row[1], nil))
	}
	plug, client, nothing := by["vif-plug"].took.median(), by["client"].took.median(), by["nothing"].took.median()
	fmt.Printf("\nvif-plug:   %.1f times faster than the script (wanted 22), %.2f times the minimal Go client (wanted 1.15 at most)\n",
		ratio(yard.median(), plug), ratio(plug, client))
	fmt.Printf("            %.0f %% of it is the start of a Go process\n", 100*ratio(nothing, plug))
	fmt.Printf("watch mode: %.0f times faster than the script, %.2f times the floor (wanted 1.5 at most)\n",
		ratio(yard.median(), by["watch"].took.median()), ratio(by["watch"].took.median(), by["floor"].took.median()))
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// parallelScripts has 50 NICs plugged at once by the script, and 50 by vif-plug, as a host does whose guests start together.
func (b *bench) parallelScripts(ctx context.Context) error {
	const many = 50
	fmt.Printf("\n%d NICs in parallel\n", many)
	var took [2]time.Duration
	for i, own := range []bool{false, true} {
		nics := make([]nic, many)
		for j := range nics {
			var err error
			if nics[j], err = b.make(ctx, own); err != nil {
				return err
			}
		}
		start := time.Now()
		if err := b.all(ctx, nics, own); err != nil {
			return err
		}
		took[i] = time.Since(start)
		for _, n := range nics {
			if err := b.check(ctx, n); err != nil {
				return err
			}
			if err := b.drop(ctx, n); err != nil {
				return err
			}
		}
	}
	fmt.Printf("  script %s, vif-plug %s: %.0f times faster\n", ms(took[0]), ms(took[1]), ratio(took[0], took[1]))
	return nil
}

func (b *bench) all(ctx context.Context, nics []nic, own bool) error {
	errs := make([]error, len(nics))
	var wg sync.WaitGroup
	for i, n := range nics {
		wg.Add(1)
		go b.runOne(ctx, &wg, n, own, &errs[i])
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) runOne(ctx context.Context, wg *sync.WaitGroup, n nic, own bool, err *error) {
	defer wg.Done()
	name := script
	if own {
		name = filepath.Join(b.bin, "vif-plug")
		if *err = b.ready(ctx, n); *err != nil {
			return
		}
	}
	*err = process(b.hotplugEnv(n), name, "online", "type_if=vif")
}
