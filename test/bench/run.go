package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug/control"
	"vifplug/test/realstore"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// plan is how much is measured.
type plan struct{ rounds, storm, idle int }

// bench is one run's world: the real store, the daemon, and a toolstack.
type bench struct {
	plan
	dir, bin string
	store    *realstore.Store
	client   *xenstore.Client
	tools    *standin.Toolstack
	daemon   *exec.Cmd
	logs     *os.File
	floor    *floor
	status   *xenstore.Watch // of the NIC that is being plugged
	answer   net.Listener    // what minimal-client asks
	next     int             // domid of the next NIC
	done     sync.WaitGroup
}

const script = "/etc/xen/scripts/vif-bridge"

func run(ctx context.Context, p plan) error {
	if _, err := os.Stat(script); err != nil {
		return fmt.Errorf("the yardstick is missing: %w. apt-get install xen-utils-common", err)
	}
	b := &bench{plan: p, next: 1}
	defer b.close()
	if err := b.setUp(ctx); err != nil {
		return err
	}
	if err := b.perNIC(ctx); err != nil {
		return err
	}
	if err := b.parallelScripts(ctx); err != nil {
		return err
	}
	return b.theStorm(ctx)
}

func (b *bench) setUp(ctx context.Context) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.bin = filepath.Dir(self)
	if b.dir, err = os.MkdirTemp("", "vifbench"); err != nil {
		return err
	}
	if b.store, err = realstore.Start(); err != nil {
		return err
	}
	target := "unix:" + b.store.Socket
	if b.client, err = xenstore.Open(ctx, target, nil); err != nil {
		return err
	}
	b.tools = &standin.Toolstack{Store: b.client}
	if b.floor, err = newFloor(target); err != nil {
		return err
	}
	if err := bridgetest.SetUp("lo"); err != nil {
		return err
	}
	if err := bridgetest.MakeBridge("xenbr0", 1500); err != nil {
		return err
	}
	if err := b.startDaemon(ctx, target); err != nil {
		return err
	}
	if b.answer, err = net.Listen("unix", filepath.Join(b.dir, "answer")); err != nil {
		return err
	}
	b.done.Add(1)
	go b.runAnswers()
	return nil
}

func (b *bench) runAnswers() {
	defer b.done.Done()
	buf := make([]byte, 64)
	for {
		c, err := b.answer.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(buf)
		_, _ = c.Write([]byte("answer\n"))
		_ = c.Close()
	}
}

func (b *bench) socket() string { return filepath.Join(b.dir, "control.sock") }

func (b *bench) startDaemon(ctx context.Context, target string) (err error) {
	if b.logs, err = os.Create(filepath.Join(b.dir, "log")); err != nil {
		return err
	}
	b.daemon = exec.Command(filepath.Join(b.bin, "vifplugd"), "--xenstore", target, "--socket", b.socket(), "--config", b.dir, "--state-dir", b.dir,
		"--any-netdev", "--log-level", "error")
	b.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.daemon.Stderr = b.logs
	start := time.Now()
	if err := b.daemon.Start(); err != nil {
		return err
	}
	c := control.NewClient(b.socket())
	for ctx.Err() == nil {
		if _, err = c.Status(ctx); err == nil {
			fmt.Printf("vifplugd answered %s after its start\n", ms(time.Since(start)))
			return nil
		}
		time.Sleep(time.Millisecond) // between two attempts
	}
	return err
}

func (b *bench) close() {
	if b.daemon != nil && b.daemon.Process != nil {
		_ = b.daemon.Process.Signal(syscall.SIGTERM)
		_ = b.daemon.Wait()
		text, _ := os.ReadFile(b.logs.Name())
		if len(text) > 0 {
			fmt.Printf("\nvifplugd's log:\n%s", text)
		}
	}
	if b.answer != nil {
		_ = b.answer.Close()
		b.done.Wait()
	}
	if b.floor != nil {
		b.floor.close()
	}
	if b.client != nil {
		_ = b.client.Close()
	}
	if b.store != nil {
		_ = b.store.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// nic is one NIC to plug: backend node written, netdev there, all but the plugging done.
type nic struct {
	id       xenstore.DomID
	dir, vif string
}

// make makes a NIC. own says whether it is one of the daemon's: others lie in another domain's backend directory, where the daemon does not
// look, so that only one of the candidates works at a time.
func (b *bench) make(ctx context.Context, own bool) (nic, error) {
	n := nic{id: xenstore.DomID(b.next)}
	b.next++
	if err := b.tools.Attach(ctx, n.id, 0, b.config(n.id)); err != nil {
		return n, err
	}
	n.dir, n.vif = fmt.Sprintf("/local/domain/0/backend/vif/%d/0", n.id), standin.VIF(int(n.id), 0)
	if !own {
		n.dir, n.vif = fmt.Sprintf("/local/domain/32000/backend/vif/%d/0", n.id), fmt.Sprintf("other%d", n.id)
		for _, kv := range [][2]string{{"frontend-id", fmt.Sprint(n.id)}, {"bridge", "xenbr0"}, {"state", "2"}, {"hotplug-status", ""}} {
			if err := b.client.Write(ctx, n.dir+"/"+kv[0], kv[1]); err != nil {
				return n, err
			}
		}
	}
	return n, bridgetest.MakeVeth(n.vif, standin.GuestEnd(int(n.id), 0))
}

func (b *bench) config(id xenstore.DomID) standin.NIC {
	return standin.NIC{Bridge: "xenbr0", MAC: fmt.Sprintf("00:16:3e:00:%02x:%02x", id>>8, id&255)}
}

// drop takes a NIC away again.
func (b *bench) drop(ctx context.Context, n nic) error {
	if err := bridgetest.Delete(n.vif); err != nil {
		return err
	}
	if err := b.tools.Erase(ctx, n.id, 0); err != nil {
		return err
	}
	if err := b.client.Remove(ctx, n.dir); err != nil && !errors.Is(err, xenstore.ENOENT) {
		return err
	}
	return nil
}

// ready is netback's news that makes a NIC pluggable.
func (b *bench) ready(ctx context.Context, n nic) error {
	return b.client.Write(ctx, n.dir+"/state", "2")
}

// check fails a candidate that was fast because it did not do its work.
func (b *bench) check(ctx context.Context, n nic) error {
	status, err := b.client.Read(ctx, n.dir+"/hotplug-status")
	if err != nil || status != "connected" {
		return fmt.Errorf("%s: hotplug-status is %q: %v", n.vif, status, err)
	}
	text, err := bridgetest.Describe(n.vif)
	if err == nil && !(strings.Contains(text, "master xenbr0 up") && strings.Contains(text, "fe:ff:ff:ff:ff:ff")) {
		err = fmt.Errorf("%s is not plugged: %s", n.vif, text)
	}
	return err
}

// connected waits for the event that a NIC's hotplug-status was written. [bench.check] reads afterwards what was written.
func (b *bench) connected(ctx context.Context, w *xenstore.Watch, n nic) error {
	select {
	case <-w.Ready():
		w.Take()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%s is not connected after 10 s", n.vif)
	}
}
