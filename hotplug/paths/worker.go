package paths

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/firewall"
	"vifplug/bridge/network"
	"vifplug/qemu/shortcut"
)

// worker is what only the keeper's worker touches.
type worker struct {
	begun    bool
	rules    Rules
	filters  firewall.State
	unread   error                 // why filters are not known
	bridges  map[int]*overlay      // by index: bridges with a port that has the shortcut
	at       map[int]int           // guests' ports that have it: on which bridge, both by index
	switches map[int]bridge.Switch // bridges as last seen, by index
}

// overlay is the shortcut over one bridge.
type overlay struct {
	guests  map[int]bool // indexes of guests' ports that have the shortcut
	uplinks map[int]bool // indexes of other ports that frames are sent on to
}

// unwatched is how often what the kernel tells nobody of is looked at where the shortcut is on: programs that come to a device by a bpf_link, and the
// sysctls of br_netfilter.
const unwatched = 30 * time.Second

func (k *Keeper) run() {
	defer k.workers.Done()
	tick, armed := time.NewTimer(unwatched), true
	defer tick.Stop()
	for {
		switch on := len(k.bridges) > 0; {
		case on && !armed:
			tick.Reset(unwatched)
			armed = true
		case !on && armed:
			tick.Stop()
			armed = false
		}
		select {
		case <-k.ctx.Done():
			return
		case <-k.wake:
		case <-tick.C:
			armed = false
			k.Look()
			continue
		}
		m := k.takeMarks()
		k.work(m)
		for _, done := range m.waiters {
			close(done)
		}
	}
}

// Settle waits until all that is known now has been looked at.
func (k *Keeper) Settle(ctx context.Context) error {
	done := make(chan struct{})
	k.mu.Lock()
	k.marks.waiters = append(k.marks.waiters, done)
	k.wakeUp()
	k.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-k.ctx.Done():
		return errors.New("paths: the service is stopping; ask again")
	case <-ctx.Done():
		return fmt.Errorf("paths: no answer in time: %w", context.Cause(ctx))
	}
}

func (k *Keeper) takeMarks() marks {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.marks
	k.marks = newMarks()
	if !m.all {
		return m
	}
	for p := range k.wishes {
		m.ports[p] = true
	}
	return m
}

// work looks at what is marked. Guests' ports come first, so that the uplinks of a bridge are known to be needed.
func (k *Keeper) work(m marks) {
	if m.all {
		k.readRules()
		k.programs.Lock()
		k.broken = nil
		k.programs.Unlock()
	}
	for port := range m.ports {
		k.lookAtPort(port)
	}
	for i := range m.indexes {
		k.lookAtDevice(i)
	}
	if m.all {
		for i := range k.bridges {
			k.lookAtUplinks(i)
		}
	}
	for _, ev := range m.fdb {
		k.learn(ev.FDBEntry, ev.Deleted)
	}
}

// begin opens what tells of changes, once.
func (k *Keeper) begin() error {
	if err := k.open(); err != nil || k.begun {
		return err
	}
	monitor, err := k.cfg.Monitor()
	if err != nil {
		return err
	}
	k.closeLater(monitor.Close)
	rules, err := k.cfg.Rules()
	if err != nil {
		return err
	}
	k.closeLater(rules.Close)
	k.begun, k.rules = true, rules
	k.readRules()
	k.workers.Add(2)
	go k.runMonitor(monitor)
	go k.runRules(rules)
	return nil
}

func (k *Keeper) readRules() {
	if !k.begun {
		return
	}
	k.filters, k.unread = k.rules.Read()
	if k.unread != nil {
		k.log.Warn("cannot read the firewall's rules: no shortcut until they can be", "err", k.unread)
	}
}

// against are the rules that a port's frames meet, each as a reason.
func (k *Keeper) against(s bridge.Switch, name bridge.Name) (out []string) {
	if k.unread != nil {
		return []string{k.unread.Error()}
	}
	for _, h := range k.filters.Against(string(name), firewall.Calls{IP: s.NFCallIPTables, IP6: s.NFCallIP6Tables, ARP: s.NFCallARPTables}) {
		out = append(out, h.String())
	}
	return out
}

// foreignOf are the programs and filters of others on a device, each in a few words.
func foreignOf(c bridge.Classifiers) (out []string) {
	for _, f := range c.Foreign() {
		out = append(out, "a "+f.String())
	}
	if c.XDP {
		out = append(out, fmt.Sprintf("an XDP program (id %d)", c.XDPID))
	}
	return out
}

// runMonitor marks what events concern.
func (k *Keeper) runMonitor(m Monitor) {
	defer k.workers.Done()
	for {
		changes, err := m.Receive()
		switch {
		case k.ctx.Err() != nil:
			return
		case errors.Is(err, bridge.ErrOverflow):
			k.Look()
		case err != nil:
			k.log.Error("cannot receive events of ports: paths are as they were last decided", "err", err)
			return
		default:
			k.mark(changes)
		}
	}
}

func (k *Keeper) mark(c bridge.PathChange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.marks.all = k.marks.all || c.All
	for _, i := range c.Links {
		if port := k.ports[i]; port != "" {
			k.marks.ports[port] = true
		} else {
			k.marks.indexes[i] = true
		}
	}
	k.marks.fdb = append(k.marks.fdb, c.FDB...)
	if len(k.marks.fdb) > mostEvents {
		k.marks.all, k.marks.fdb = true, nil
	}
	k.wakeUp()
}

func (k *Keeper) runRules(r Rules) {
	defer k.workers.Done()
	for {
		err := r.Wait()
		switch {
		case k.ctx.Err() != nil:
			return
		case err != nil:
			k.log.Error("cannot receive events of rules: a rule that is made from now on does not end a shortcut. Restart vifplugd", "err", err)
			return
		}
		k.Look()
	}
}

// lookAtPort observes a guest's port, decides, and has it so.
func (k *Keeper) lookAtPort(port string) {
	k.mu.Lock()
	w, known := k.wishes[port]
	k.mu.Unlock()
	if !known {
		return
	}
	f, err := k.observe(w)
	if errors.Is(err, bridge.ErrNotFound) {
		return // it goes, or leaves its bridge: the engine will say
	}
	c := Choose(w, f)
	if err != nil {
		c.Redirect, c.Path, c.Reason = false, Bridge, fmt.Sprintf("no shortcut: %v", err)
	}
	k.have(w, &c)
	k.overlay(w, c)
	k.record(port, c.State)
}

// observe reads all that Choose may know. A port that wants nothing of it costs nothing.
func (k *Keeper) observe(w Wish) (f Facts, err error) {
	if w.Path == Bridge && w.Guard != MAC && !k.begun {
		return f, nil
	}
	if f.NoKernel = k.begin(); f.NoKernel != nil {
		return f, nil
	}
	if err := k.observePort(w.Index, w.Bridge, w.Name, &f); err != nil {
		return f, err
	}
	f.Mode = string(k.attach.Mode())
	f.Filters, f.Advice = k.against(f.Switch, w.Name), k.filters.Advice()
	return f, nil
}

// observePort reads what concerns guests' ports and uplinks alike.
func (k *Keeper) observePort(index, bridgeIndex int, name bridge.Name, f *Facts) (err error) {
	if f.Port, err = k.cfg.Kernel.BridgePort(index); err != nil {
		return err
	}
	if f.Switch, err = k.cfg.Kernel.Switch(bridgeIndex); err != nil {
		return err
	}
	if _, known := k.switches[bridgeIndex]; !known { // else lookAtBridge tells every port of a change
		k.switches[bridgeIndex] = f.Switch
	}
	if f.Switch.Filtering {
		if f.VLANs, err = k.cfg.Kernel.PortVLANs(index); err != nil {
			return err
		}
	}
	c, err := k.cfg.Kernel.Classifiers(index)
	if err != nil {
		return err
	}
	f.Foreign = foreignOf(c)
	others, err := k.attach.Foreign(index)
	f.Foreign = append(f.Foreign, others...)
	return err
}

// have makes the programs of a port what was chosen. What cannot be had is the bridge.
func (k *Keeper) have(w Wish, c *Choice) {
	k.programs.Lock()
	defer k.programs.Unlock()
	if !c.Redirect && !c.Guarded {
		k.remove(w.Index)
		return
	}
	p := shortcut.Port{
		Index: w.Index, Bridge: w.Bridge, MTU: w.MTU, NIC: w.NIC, MAC: shortcut.MAC(w.MAC), Guard: c.Guarded, Redirect: c.Redirect, VLAN: c.VLAN,
	}
	if was, on := k.on[w.Index]; on && was.Same(p) {
		return
	}
	err := k.set(p)
	if err == nil {
		return
	}
	if !errors.Is(err, shortcut.ErrGone) { // its guest has gone meanwhile
		k.log.Warn("cannot attach", "port", w.Port, "device", string(w.Name), "err", err)
	}
	if _, on := k.on[w.Index]; !on || !k.on[w.Index].Guard {
		c.Guarded, c.Guard = false, Off
		k.remove(w.Index)
	}
	c.Redirect = false
	if c.Path == Shortcut {
		c.Path, c.Mode = Bridge, ""
	}
	c.Reason = fmt.Sprintf("no shortcut: %v", err)
}

// record keeps a port's state, and tells of another path.
func (k *Keeper) record(port string, s State) {
	k.mu.Lock()
	old, had := k.states[port]
	_, known := k.wishes[port]
	if known {
		k.states[port] = s
	}
	k.mu.Unlock()
	if known && k.cfg.Changed != nil && (old.With() != s.With() || old.Guard != s.Guard) && (had || s.Path != Bridge || s.Guard == MAC) {
		k.cfg.Changed(port, s)
	}
}

// overlay keeps the books of a bridge: with the first port that has the shortcut come its uplinks, with the last they go.
func (k *Keeper) overlay(w Wish, c Choice) {
	if was := k.at[w.Index]; was != 0 && (was != w.Bridge || !c.Redirect) {
		k.leaveOverlay(w.Index, was)
	}
	if !c.Redirect {
		return
	}
	o := k.bridges[w.Bridge]
	if o == nil {
		o = &overlay{guests: map[int]bool{}, uplinks: map[int]bool{}}
		k.bridges[w.Bridge] = o
		defer k.lookAtUplinks(w.Bridge)
	}
	o.guests[w.Index], k.at[w.Index] = true, w.Bridge
}

func (k *Keeper) leaveOverlay(index, bridge int) {
	delete(k.at, index)
	if o := k.bridges[bridge]; o != nil {
		delete(o.guests, index)
		k.endOverlay(bridge)
	}
}

// endOverlay takes the programs off the uplinks of a bridge that no port needs any more.
func (k *Keeper) endOverlay(index int) {
	o := k.bridges[index]
	if o == nil || len(o.guests) > 0 {
		return
	}
	delete(k.bridges, index)
	k.programs.Lock()
	defer k.programs.Unlock()
	for u := range o.uplinks {
		k.remove(u)
	}
}

// lookAtDevice looks at a device that is no guest's plugged port: one that was, a bridge, or an uplink.
func (k *Keeper) lookAtDevice(index int) {
	if k.isWished(index) {
		return
	}
	if _, is := k.switches[index]; is || k.bridges[index] != nil {
		k.lookAtBridge(index)
		return
	}
	l, err := k.cfg.Kernel.Link(index)
	gone := errors.Is(err, bridge.ErrNotFound)
	if err != nil && !gone {
		k.log.Warn("cannot look at a device", "index", index, "err", err)
		return
	}
	k.leave(index, l, gone)
	if o := k.bridges[l.Master]; !gone && o != nil {
		k.lookAtUplink(l, o)
	}
}

// lookAtBridge looks at the ports of a bridge that is set otherwise than it was. The kernel tells of a bridge whenever a port comes or goes:
// that alone must not cost a look at each.
func (k *Keeper) lookAtBridge(index int) {
	s, err := k.cfg.Kernel.Switch(index)
	if errors.Is(err, bridge.ErrNotFound) {
		delete(k.switches, index)
		return // its ports leave it, of which the engine will tell
	}
	if err == nil && s == k.switches[index] {
		return
	}
	k.switches[index] = s
	k.mu.Lock()
	var on []string
	for p, w := range k.wishes {
		if w.Bridge == index {
			on = append(on, p)
		}
	}
	k.mu.Unlock()
	slices.Sort(on)
	for _, p := range on {
		k.lookAtPort(p)
	}
	k.lookAtUplinks(index)
}

// leave ends the programs on a device that is no port of its overlay any more. A guard stays on what still exists.
func (k *Keeper) leave(index int, l bridge.Link, gone bool) {
	if was := k.at[index]; was != 0 {
		k.leaveOverlay(index, was)
	}
	for b, o := range k.bridges {
		if o.uplinks[index] && (gone || l.Master != b) {
			delete(o.uplinks, index)
			k.programs.Lock()
			k.remove(index)
			k.programs.Unlock()
		}
	}
	k.programs.Lock()
	defer k.programs.Unlock()
	p, on := k.on[index]
	switch {
	case !on || p.Uplink:
	case gone || !p.Guard:
		k.remove(index)
	case p.Redirect:
		p.Redirect = false
		switch err := k.set(p); {
		case errors.Is(err, shortcut.ErrGone):
			k.remove(index)
		case err != nil:
			k.log.Warn("cannot end a shortcut", "device", string(l.Name), "err", err)
		}
	}
}

// lookAtUplinks brings the ports of a bridge that are no guests' up to date, and what the bridge has learned there.
func (k *Keeper) lookAtUplinks(index int) {
	o := k.bridges[index]
	if o == nil {
		return
	}
	ports, err := k.cfg.Kernel.BridgePorts(index)
	if err != nil && !errors.Is(err, bridge.ErrNotFound) {
		k.log.Warn("cannot list a bridge's ports", "index", index, "err", err)
	}
	for _, p := range ports {
		if l, err := k.cfg.Kernel.Link(p.Index); err == nil {
			k.lookAtUplink(l, o)
		}
	}
	entries, err := k.cfg.Kernel.FDB(index)
	if err != nil && !errors.Is(err, bridge.ErrNotFound) {
		k.log.Warn("cannot read a bridge's addresses", "index", index, "err", err)
	}
	for _, e := range entries {
		k.learn(e, false)
	}
}

// lookAtUplink has frames sent on to a port that is no guest's, and taken from there, where that is right.
func (k *Keeper) lookAtUplink(l bridge.Link, o *overlay) {
	if network.IsGuestPort(l.Name) || l.ParentBus == "xen-backend" || o.guests[l.Index] || k.isWished(l.Index) {
		return
	}
	var f Facts
	err := k.observePort(l.Index, l.Master, l.Name, &f)
	u, no := UplinkOf(f)
	if filters := k.against(f.Switch, l.Name); no == "" && len(filters) > 0 {
		no = filters[0]
	}
	k.programs.Lock()
	defer k.programs.Unlock()
	if err != nil || no != "" {
		k.log.Debug("frames of this port take the bridge", "device", string(l.Name), "err", err, "reason", no)
		k.remove(l.Index)
		delete(o.uplinks, l.Index)
		return
	}
	p := shortcut.Port{Index: l.Index, Bridge: l.Master, MTU: l.MTU, Uplink: true, Redirect: true, Tagged: u.Tagged, PVID: u.PVID}
	if was, on := k.on[l.Index]; on && was.Same(p) {
		return
	}
	if err := k.set(p); err != nil {
		k.log.Warn("cannot attach to an uplink: its frames take the bridge", "device", string(l.Name), "err", err)
		return
	}
	o.uplinks[l.Index] = true
}

func (k *Keeper) isWished(index int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ports[index] != ""
}

// learn has the shortcut follow what a bridge knows of an address. Where a guest sits the programs know better themselves; an address that the bridge has
// there now is no longer behind an uplink.
func (k *Keeper) learn(e bridge.FDBEntry, deleted bool) {
	o := k.bridges[e.Bridge]
	if o == nil || e.Local || e.Port == 0 {
		return
	}
	k.programs.Lock()
	defer k.programs.Unlock()
	var err error
	if deleted {
		err = k.attach.Forget(e.Bridge, shortcut.MAC(e.MAC), e.VLAN)
	} else {
		err = k.attach.Learn(e.Bridge, shortcut.MAC(e.MAC), e.VLAN, e.Port)
	}
	if err != nil {
		k.log.Warn("cannot follow the bridge's addresses", "bridge", e.Bridge, "mac", e.MAC.String(), "err", err)
	}
}
