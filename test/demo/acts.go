package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vifplug/bridge/bridgetest"
	"vifplug/test/standin"
	"vifplug/xenstore"
)

// cast are the guests.
var cast = []struct {
	id   xenstore.DomID
	name string
	uuid string
	nics []standin.NIC
}{
	{1, "web01", "11111111-1111-4111-8111-111111111111", []standin.NIC{{Bridge: "xenbr0", MAC: "00:16:3e:00:01:00"}, {Bridge: "xenbr1", MAC: "00:16:3e:00:01:01", VIFName: "web01-back", MTU: 1400}}},
	{2, "db01", "22222222-2222-4222-8222-222222222222", []standin.NIC{{Bridge: "xenbr0", MAC: "00:16:3e:00:02:00"}}},
	{3, "mail01", "33333333-3333-4333-8333-333333333333", []standin.NIC{{Bridge: "xenbr1", MAC: "00:16:3e:00:03:00"}}},
}

func (h *host) createDomains(ctx context.Context) error {
	var wants []string
	for _, d := range cast {
		if err := h.tools.CreateDomain(ctx, d.id, d.name, d.uuid); err != nil {
			return err
		}
		wants = append(wants, "domain.created "+d.name)
		for i, n := range d.nics {
			if err := h.tools.Attach(ctx, d.id, i, n); err != nil {
				return err
			}
			wants = append(wants, fmt.Sprintf("nic.plugged vif%d.%d", d.id, i))
		}
	}
	if err := h.expect(ctx, wants...); err != nil {
		return err
	}
	for _, d := range cast {
		for i := range d.nics {
			if err := h.guestConnected(ctx, d.id, i); err != nil {
				return err
			}
		}
	}
	if err := h.sayFrame("web01", standin.GuestEnd(1, 0), "db01", standin.GuestEnd(2, 0)); err != nil {
		return err
	}
	return h.showStatus(ctx)
}

// guestConnected waits until netback and guest are in state 4, which netback is only after hotplug-status, and says what the store says.
func (h *host) guestConnected(ctx context.Context, id xenstore.DomID, dev int) error {
	dir := fmt.Sprintf("/local/domain/0/backend/vif/%d/%d", id, dev)
	w, err := h.client.Watch(ctx, dir+"/state", xenstore.WatchOptions{})
	if err != nil {
		return err
	}
	defer w.Close(ctx) //nolint:errcheck // the demo's own watch
	for {
		if state, err := h.client.Read(ctx, dir+"/state"); err != nil || state == "4" {
			if err == nil {
				status, _ := h.client.Read(ctx, dir+"/hotplug-status")
				mtu, _ := h.client.Read(ctx, fmt.Sprintf("/local/domain/%d/device/vif/%d/mtu", id, dev))
				h.say("store:  backend/vif/%d/%d state %s, hotplug-status %s; the guest reads mtu %s", id, dev, state, status, mtu)
			}
			return err
		}
		select {
		case <-w.Ready():
			w.Take()
		case err := <-h.netback.Err:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *host) sayFrame(from, fromDev, to, toDev string) error {
	took, err := bridgetest.Frame(fromDev, toDev)
	if err == nil {
		h.say("wire:   a frame that %s sent reached %s after %v", from, to, took.Round(time.Microsecond))
	}
	return err
}

func (h *host) showStatus(context.Context) error {
	out, err := h.command("vifctl", "--socket", h.path("control.sock"), "status").CombinedOutput()
	fmt.Println("\n$ vifctl status\n" + strings.TrimRight(string(out), "\n"))
	return err
}

func (h *host) pullBridge(ctx context.Context) error {
	if err := bridgetest.Delete("xenbr0"); err != nil {
		return err
	}
	if err := h.expect(ctx, "nic.lost vif1.0", "nic.lost vif2.0"); err != nil {
		return err
	}
	if _, err := bridgetest.Frame(standin.GuestEnd(1, 0), standin.GuestEnd(2, 0)); !errors.Is(err, bridgetest.ErrNotArrived) {
		return fmt.Errorf("a frame went through a bridge that is not there: %w", err)
	}
	h.say("wire:   a frame that web01 sent did not reach db01")
	back := time.Now()
	if err := bridgetest.MakeBridge("xenbr0", 1500); err != nil {
		return err
	}
	if err := h.expect(ctx, "nic.back vif1.0", "nic.back vif2.0"); err != nil {
		return err
	}
	h.say("both ports were back %v after the bridge was", time.Since(back).Round(100*time.Microsecond))
	return h.sayFrame("web01", standin.GuestEnd(1, 0), "db01", standin.GuestEnd(2, 0))
}

func (h *host) meddle(ctx context.Context) error {
	if err := bridgetest.SetMaster("vif1.0", ""); err != nil {
		return err
	}
	if err := bridgetest.SetDown("vif2.0"); err != nil {
		return err
	}
	if err := h.expect(ctx, "nic.back vif1.0", "nic.back vif2.0"); err != nil {
		return err
	}
	return h.sayFrame("web01", standin.GuestEnd(1, 0), "db01", standin.GuestEnd(2, 0))
}

func (h *host) killDaemon(ctx context.Context) error {
	if err := h.daemon.Process.Kill(); err != nil {
		return err
	}
	_ = h.daemon.Wait()
	h.say("vifplugd (pid %d) ended: %v", h.daemon.Process.Pid, h.daemon.ProcessState)
	h.feed.close()
	if err := h.sayFrame("web01", standin.GuestEnd(1, 0), "db01", standin.GuestEnd(2, 0)); err != nil {
		return err
	}
	// While nobody looks: a port is taken off.
	if err := bridgetest.SetMaster("vif3.0", ""); err != nil {
		return err
	}
	if err := h.sayLink("vif3.0"); err != nil {
		return err
	}
	if err := h.startDaemon(ctx); err != nil {
		return err
	}
	return h.expect(ctx, "nic.plugged vif1.0", "nic.plugged vif1.1", "nic.plugged vif2.0", "nic.plugged vif3.0")
}

func (h *host) lateBridge(ctx context.Context) error {
	if err := h.tools.CreateDomain(ctx, 4, "late01", "44444444-4444-4444-8444-444444444444"); err != nil {
		return err
	}
	if err := h.tools.Attach(ctx, 4, 0, standin.NIC{Bridge: "xenbr9", MAC: "00:16:3e:00:04:00"}); err != nil {
		return err
	}
	if err := h.expect(ctx, "nic.seen vif4.0"); err != nil {
		return err
	}
	if err := h.awaitReason(ctx, "vif4.0"); err != nil {
		return err
	}
	if err := bridgetest.MakeBridge("xenbr9", 1500); err != nil {
		return err
	}
	if err := h.expect(ctx, "nic.plugged vif4.0"); err != nil {
		return err
	}
	return h.guestConnected(ctx, 4, 0)
}

// awaitReason prints why the daemon has not plugged a NIC, once it awaits its bridge.
func (h *host) awaitReason(ctx context.Context, vif string) error {
	return until(ctx, func() error {
		x, err := h.control.NIC(ctx, vif)
		if err != nil {
			return err
		}
		if x.Reason == nil || x.Reason.Code != "bridge-missing" {
			return errors.New("not yet")
		}
		h.say("status: %s is %v: %s", vif, x.State, x.Reason.Error())
		return nil
	})
}

func (h *host) destroyDomains(ctx context.Context) error {
	guests := append([]struct {
		id   xenstore.DomID
		name string
		uuid string
		nics []standin.NIC
	}{{4, "late01", "44444444-4444-4444-8444-444444444444", make([]standin.NIC, 1)}}, cast...)
	var wants []string
	for _, d := range guests {
		for i := range d.nics {
			if err := h.tools.Detach(ctx, d.id, i); err != nil {
				return err
			}
			if err := h.awaitClosed(ctx, d.id, i); err != nil {
				return err
			}
			if err := h.tools.Erase(ctx, d.id, i); err != nil {
				return err
			}
			wants = append(wants, fmt.Sprintf("nic.gone vif%d.%d", d.id, i))
		}
		if err := h.tools.DestroyDomain(ctx, d.id, d.uuid); err != nil {
			return err
		}
		wants = append(wants, "domain.destroyed "+d.name)
	}
	if err := h.expect(ctx, wants...); err != nil {
		return err
	}
	return h.nothingLeft(ctx)
}

func (h *host) awaitClosed(ctx context.Context, id xenstore.DomID, dev int) error {
	return until(ctx, func() error {
		state, err := h.client.Read(ctx, fmt.Sprintf("/local/domain/0/backend/vif/%d/%d/state", id, dev))
		if err == nil && state != "6" {
			err = fmt.Errorf("the backend of vif%d.%d is in state %s", id, dev, state)
		}
		return err
	})
}

// nothingLeft looks for what should be gone in the kernel, the store and the daemon.
func (h *host) nothingLeft(ctx context.Context) error {
	names, err := bridgetest.Names()
	if err != nil {
		return err
	}
	st, err := h.control.Status(ctx)
	if err != nil {
		return err
	}
	left, err := h.client.Directory(ctx, "/local/domain/0/backend/vif")
	if err != nil && !errors.Is(err, xenstore.ENOENT) {
		return err
	}
	h.say("left:   devices %s; %d NICs and %d domains in vifplugd; %d backends in the store", strings.Join(names, " "), len(st.NICs), len(st.Domains), len(left))
	if len(st.NICs) != 0 || len(st.Domains) != 0 || len(left) != 0 || strings.Contains(strings.Join(names, " "), "vif") {
		return errors.New("something was left behind")
	}
	return nil
}
