package hotplug

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/hotplug/paths"
	"vifplug/xenstore"
)

// A tap is a port of its own: it has its key, its worker, its state and its retries, so that neither of a NIC's two devices can fail the other.
// It has no hotplug-status: netback waits for the netdev alone.

// TapName is what libxl has QEMU call the tap, cut to 15 bytes as QEMU does without a word (qemu: net/tap-linux.c tap_open).
func (k Key) TapName() string {
	n := fmt.Sprintf("vif%d.%d%s", k.Front, k.Device, emuSuffix)
	return n[:min(len(n), maxName)]
}

// tap is the key of the tap beside a NIC.
func (k Key) tap() Key { k.Tap = true; return k }

// nic is the key of the NIC that a tap belongs to.
func (k Key) nic() Key { k.Tap = false; return k }

// command is what vif-plug is called with for this port.
func (k Key) command(plug bool) string {
	switch {
	case k.Tap && plug:
		return "add"
	case k.Tap:
		return "remove"
	case plug:
		return "online"
	}
	return "offline"
}

// ParseTap reads a tap's name as it is made: vifFE.N-emu (libxl), also where QEMU has cut it, or tapFE.N (XAPI).
func ParseTap(s string) (Key, error) {
	if rest, ok := strings.CutPrefix(s, "tap"); ok {
		k, err := ParseVIF("vif" + rest)
		return k.tap(), err
	}
	base, ok := strings.CutSuffix(s, emuSuffix)
	for cut := len(emuSuffix) - 1; cut > 0 && !ok && len(s) == maxName; cut-- {
		base, ok = strings.CutSuffix(s, emuSuffix[:cut])
	}
	if !ok {
		return Key{}, fmt.Errorf("hotplug: tap %q: want vifDOMID.DEVID-emu or tapDOMID.DEVID", clip(s))
	}
	k, err := ParseVIF(base)
	return k.tap(), err
}

// tunKind is the kernel's kind of a tap (linux: drivers/net/tun.c).
const tunKind = "tun"

// madeFor is the path for which vifplug has made the veth pair whose end a link is; "": it is none such. QEMU is then started on that path by its
// arguments, of which libxl need not know: the NIC's type may be vif.
func madeFor(l *bridge.Link) paths.Path {
	if a, ours := network.ParseAlias(l.Alias); ours && a.Tap && l.Kind == "veth" {
		return paths.Path(a.By)
	}
	return ""
}

// tapOf reads whose tap a link is: from the mark that it got, which a renaming does not change, or else from its name.
func tapOf(l bridge.Link) (Key, bool) {
	if l.ParentBus == backendBus {
		return Key{}, false // a stub domain's netdev may be called so
	}
	if a, ok := network.ParseAlias(l.Alias); ok && a.Tap {
		return Key{Front: xenstore.DomID(a.ID), Device: uint32(a.NIC), Tap: true}, true
	}
	k, err := ParseTap(string(l.Name))
	return k, err == nil
}

// tapNames are what a NIC's tap may be called.
func tapNames(k Key, n *Node) []bridge.Name {
	names := []bridge.Name{bridge.Name(k.TapName()), bridge.Name(fmt.Sprintf("tap%d.%d", k.Front, k.Device))}
	if n != nil && n.VIFName != "" {
		names = append(names, n.VIFName+emuSuffix)
	}
	return slices.DeleteFunc(names, func(n bridge.Name) bool { return len(n) > maxName })
}

// isTapOf says whether a link is the NIC's tap.
func (e *Engine) isTapOf(f *Facts, l bridge.Link) bool {
	if l.ParentBus == backendBus || l.Kind != tunKind && madeFor(&l) == "" && !e.policy.Load().AnyNetdev {
		return false
	}
	if owner, ok := e.table.owner(l.Index); ok {
		return owner == f.Key
	}
	if k, ok := tapOf(l); ok {
		return k == f.Key
	}
	return f.wantedName() != "" && l.Name == f.wantedName()
}

// lookForTap marks the tap of a NIC that has one, where nothing else would: QEMU, or vif-loop, may have made it before there was a backend, when it
// was nobody's.
func (e *Engine) lookForTap(k Key, n *Node) {
	if !k.Tap && !e.knows(k.tap()) && e.table.has(tapNames(k, n)) {
		e.mark(k.tap())
	}
}

// observeElsewhere finds out whether a tap that somebody waits for is to be here at all. A stub domain has it inside, and `xl devd` asks in a
// driver domain for taps of dom0's; in neither would it ever come. Only where the toolstack is can its own nodes be read.
func (e *Engine) observeElsewhere(ctx context.Context, f *Facts) error {
	if !f.Awaited {
		return nil
	}
	res, err := e.cfg.Store.Pipeline(ctx, xenstore.ReadOp(fmt.Sprintf("/libxl/%d/device/vif/%d/backend", f.Key.Front, f.Key.Device)),
		xenstore.ReadOp(domainPath(f.Key.Front)+"/image/device-model-domid"))
	if err != nil {
		return err
	}
	f.Elsewhere = res[0].Err != nil || res[1].Err == nil
	return nil
}

// decideTap is [Decide] for a tap. It is plugged when there is a backend for it that says that it is emulated, however far netback has come.
func decideTap(f Facts, m Memory, now time.Time, p Policy) Decision {
	d := Decision{Memory: m}
	switch {
	case f.Node == nil && f.Link != nil && f.Link.Master != 0 && f.Domain.UUID != "" && ours(f.Link, m):
		d.State, d.Steps = Draining, releaseSteps(f) // the guest lives, and so does QEMU, but the NIC was detached
		return d
	case f.Node == nil && (f.Link == nil || m.State == Absent || f.Link.Master == 0):
		d.State, d.Memory = Gone, Memory{}
		return d
	case f.Node == nil: // as with a netdev: a store that lost its content looks just like this
		d.State, d.Reason = Draining, because(CodeBackendGone, "the backend node is gone, the tap %s is still there and is left as it is", f.Link.Name)
		return d
	case f.Link == nil:
		return decideTapMissing(f, d, now, p)
	case f.Node.draining():
		return decideDraining(f, d)
	case f.Node.leftTo(p.LeaveScripts):
		d.State, d.Reason, d.Final = Seen, because(CodeOtherScript, "left to its own script %s", printable(f.Node.scriptName(), 64)), true
		return d
	case f.NodeProblem != nil:
		return d.fail(because(CodeNodeInvalid, "%v", f.NodeProblem))
	case f.Node.Type != typeIOEmu && madeFor(f.Link) == "":
		d.State, d.Reason, d.Final = Seen, unpaired(f), true
		return d
	}
	d.Memory.NetdevSince = time.Time{}
	return decidePort(f, d, now, p)
}

func unpaired(f Facts) *Reason {
	return because(CodeTapUnpaired, "the tap of %s has no backend of type %s: that NIC's is %q", f.Key.VIF(), typeIOEmu, printable(f.Node.Type, 32))
}

// decideTapMissing: a tap that is not there is no error, since QEMU may have ended, and may come again. Only whoever waits for it is told.
func decideTapMissing(f Facts, d Decision, now time.Time, p Policy) Decision {
	since := d.Memory.NetdevSince
	switch {
	case f.Node.draining(), f.Elsewhere, since.IsZero() && !f.Awaited:
		d.State, d.Memory = Gone, Memory{}
		return d
	case f.Node.Type != typeIOEmu:
		d.State, d.Reason, d.Final = Seen, unpaired(f), true
		return d
	case since.IsZero():
		since = now
	}
	d.Memory.NetdevSince = since
	left := p.NetdevWait - now.Sub(since)
	if left <= 0 {
		return d.fail(because(CodeTapMissing, "QEMU's tap %s did not appear within %v", f.Key, p.NetdevWait))
	}
	d.State, d.Again = Seen, left
	d.Reason = because(CodeTapMissing, "waiting for QEMU's tap %s", f.Key)
	return d
}

// tellTap has the node say a tap's failure, which libxl logs. It is hotplug-error alone: a hotplug-status of error would keep netback from
// connecting a netdev that is well, although the stock script writes that too (xen: vif-common.sh fatal). A failure of the netdev stays as it is.
func (e *Engine) tellTap(n *nic, f Facts, d Decision) {
	if f.Node == nil || f.Node.Status == "error" {
		return
	}
	text := ""
	switch {
	case d.State == Failed:
		text = d.Reason.Error()
	case d.State != Plugged || f.Node.Status != statusConnected:
		return
	}
	if f.Node.Error == text {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, 5*time.Second)
	defer cancel()
	dir := e.paths.backend(n.key)
	err := e.cfg.Store.Transaction(ctx, func(tx *xenstore.Tx) error {
		if _, err := tx.Read(ctx, dir+"/frontend-id"); err != nil {
			return err
		}
		if status, err := tx.Read(ctx, dir+"/hotplug-status"); err == nil && status == "error" {
			return nil
		}
		if text == "" {
			return tx.Remove(ctx, dir+"/hotplug-error")
		}
		return tx.Write(ctx, dir+"/hotplug-error", text)
	})
	if err != nil && !errors.Is(err, xenstore.ENOENT) {
		e.log.Warn("cannot write hotplug-error", "vif", n.key.String(), "err", err)
	}
	n.touch("hotplug-error")
}

// tapStatus is a tap's side of its NIC's status; nil where there is none, or nothing is known of one yet.
func (n *nic) tapStatus() (*TapStatus, []Run) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mem.State == Absent || n.mem.State == Gone { // about to be forgotten
		return nil, nil
	}
	s := &TapStatus{Name: n.key.String(), State: n.mem.State, Since: n.since, Reason: n.reason, Notes: n.notes}
	if l := linkStatus(n.facts); l != nil {
		s.Name, s.Index, s.MTU, s.Up, s.Bridge = l.Name, l.Index, l.MTU, l.Up, l.Bridge
	}
	return s, slices.Clone(n.runs)
}

// tapLast orders a NIC's two devices.
func tapLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
