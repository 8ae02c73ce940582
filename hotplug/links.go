package hotplug

import (
	"slices"
	"strings"
	"sync"

	"vifplug/bridge"
)

// linkTable remembers which link is whose, so that a link's event finds its NIC in O(1), and which NICs want which bridge. It is an index of
// hints, never the truth: a worker always asks the kernel.
type linkTable struct {
	mu      sync.Mutex // guards all following fields
	byKey   map[Key]int
	byIndex map[int]claimed
	parents map[Key]int            // links whose parent device is netback's of that NIC, whatever their names
	bridges map[string]bridgeFacts // by name: what can be named as a bridge
	names   map[int]string         // of all links, by index
	called  map[string]int         // the other way round
	wanted  map[string]map[Key]struct{}
	wants   map[Key]wish
}

// wish is which names a NIC waits for: its bridge's to exist, its own to be free. "" is none.
type wish struct{ bridge, vifname string }

// claimed is the NIC of a link, and the link as the NIC's worker last saw it.
type claimed struct {
	key  Key
	last bridge.Link
}

type bridgeFacts struct {
	index, mtu int
	filtering  bool
}

func newLinkTable() *linkTable {
	return &linkTable{
		byKey: map[Key]int{}, byIndex: map[int]claimed{}, parents: map[Key]int{}, bridges: map[string]bridgeFacts{}, names: map[int]string{}, called: map[string]int{},
		wanted: map[string]map[Key]struct{}{}, wants: map[Key]wish{},
	}
}

// indexes are the hints where a NIC's link is: where it was, then which link has its parent device; 0: unknown.
func (t *linkTable) indexes(k Key) [2]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return [2]int{t.byKey[k], t.parents[k]}
}

// owner is the NIC that has claimed a link.
func (t *linkTable) owner(index int) (Key, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.byIndex[index]
	return c.key, ok
}

// claim records that a NIC's worker has seen its link so.
func (t *linkTable) claim(k Key, l bridge.Link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.byKey[k]; ok && old != l.Index {
		delete(t.byIndex, old)
	}
	t.byKey[k] = l.Index
	t.byIndex[l.Index] = claimed{key: k, last: l}
}

func (t *linkTable) unclaim(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLink(k)
	t.want(k, wish{})
}

// noLink records that a NIC has no link.
func (t *linkTable) noLink(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLink(k)
}

func (t *linkTable) dropLink(k Key) {
	if i, ok := t.byKey[k]; ok {
		delete(t.byKey, k)
		delete(t.byIndex, i)
	}
}

// wish records which names a NIC wants.
func (t *linkTable) wish(k Key, w wish) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want(k, w)
}

func (t *linkTable) want(k Key, w wish) {
	old := t.wants[k]
	if old == w {
		return
	}
	for _, name := range []string{old.bridge, old.vifname} {
		delete(t.wanted[name], k)
		if len(t.wanted[name]) == 0 {
			delete(t.wanted, name)
		}
	}
	delete(t.wants, k)
	for _, name := range []string{w.bridge, w.vifname} {
		if name == "" {
			continue
		}
		t.wants[k] = w
		if t.wanted[name] == nil {
			t.wanted[name] = map[Key]struct{}{}
		}
		t.wanted[name][k] = struct{}{}
	}
}

// reset brings the table up to date with a dump, and returns the NICs that it concerns: those whose link is listed otherwise than last seen,
// and those whose link or bridge is no longer listed.
func (t *linkTable) reset(links []bridge.Link) []Key {
	listed := make(map[int]bool, len(links))
	var out []Key
	for _, l := range links {
		listed[l.Index] = true
		out = append(out, t.event(bridge.LinkEvent{Link: l})...)
	}
	for _, l := range t.unlisted(listed) {
		out = append(out, t.event(bridge.LinkEvent{Link: l, Deleted: true})...)
	}
	return out
}

func (t *linkTable) unlisted(listed map[int]bool) []bridge.Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := map[int]bridge.Link{}
	for i, name := range t.names {
		gone[i] = bridge.Link{Index: i, Name: bridge.Name(name)}
	}
	for k, i := range t.parents {
		gone[i] = bridge.Link{Index: i, Name: bridge.Name(t.names[i]), Parent: k.Parent(), ParentBus: backendBus}
	}
	for i, c := range t.byIndex {
		gone[i] = c.last
	}
	var out []bridge.Link
	for i, l := range gone {
		if !listed[i] {
			out = append(out, l)
		}
	}
	return out
}

// event says which NICs a link's event may concern. A port whose event says what its worker saw last concerns nobody, and a bridge only when
// it came, went, or changed its name, its MTU or whether it filters VLANs: so 1,000 ports that join a bridge cost 1,000 looks, not a million.
func (t *linkTable) event(ev bridge.LinkEvent) []Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Key
	freed := t.rename(ev)
	if k, ok := t.portKey(ev.Link); ok {
		out = t.portChange(k, ev)
		if freed != "" {
			out = t.wanting(out, freed)
		}
		return out
	}
	for _, name := range t.bridgeChange(ev, freed) {
		out = t.wanting(out, name)
		if num, ok := strings.CutPrefix(name, "eth"); ok { // a NIC that wants xenbrN may have to do with it
			out = t.wanting(out, "xenbr"+num)
		}
	}
	return out
}

func (t *linkTable) wanting(out []Key, name string) []Key {
	for k := range t.wanted[name] {
		out = append(out, k)
	}
	return out
}

// rename notes a link's present name and returns the one that it no longer has, "" for none.
func (t *linkTable) rename(ev bridge.LinkEvent) (freed string) {
	i, name := ev.Link.Index, string(ev.Link.Name)
	if old := t.names[i]; old != name || ev.Deleted {
		freed = old
	}
	if freed != "" && t.called[freed] == i {
		delete(t.called, freed)
	}
	if ev.Deleted {
		delete(t.names, i)
		return freed
	}
	t.names[i], t.called[name] = name, i
	return freed
}

// has says that a link of one of these names exists.
func (t *linkTable) has(names []bridge.Name) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(names, func(n bridge.Name) bool { return t.called[string(n)] != 0 })
}

// portChange says whether a port's NIC should look.
func (t *linkTable) portChange(k Key, ev bridge.LinkEvent) (out []Key) {
	l := ev.Link
	if c, known := t.byIndex[l.Index]; ev.Deleted || !known || !sameLink(c.last, l) {
		out = append(out, k)
	}
	switch {
	case !ev.Deleted && l.ParentBus == backendBus:
		t.parents[k] = l.Index
	case ev.Deleted && t.parents[k] == l.Index:
		delete(t.parents, k)
	}
	if ev.Deleted && t.byKey[k] == l.Index {
		t.dropLink(k)
	}
	return out
}

// portKey finds the port that a link is: by its claim, by its parent device, by a tap's mark, or by its name.
func (t *linkTable) portKey(l bridge.Link) (Key, bool) {
	if c, ok := t.byIndex[l.Index]; ok {
		return c.key, true
	}
	if l.ParentBus == backendBus {
		k, err := ParseParent(l.Parent)
		return k, err == nil
	}
	if k, ok := tapOf(l); ok {
		return k, true
	}
	k, err := ParseVIF(string(l.Name))
	return k, err == nil
}

// backendBus is the bus of netback's devices (linux: drivers/xen/xenbus/xenbus_probe_backend.c).
const backendBus = "xen-backend"

// sameLink compares what the engine decides by.
func sameLink(a, b bridge.Link) bool {
	return a.Index == b.Index && a.Name == b.Name && a.MAC == b.MAC && a.MTU == b.MTU && a.Master == b.Master && a.Up == b.Up &&
		(a.Alias == b.Alias || madeFor(&a) == madeFor(&b))
}

// bridgeChange updates the table of devices that can be named as a bridge, and returns the names whose NICs should look again.
func (t *linkTable) bridgeChange(ev bridge.LinkEvent, freed string) (out []string) {
	l := ev.Link
	name := string(l.Name)
	if freed != "" {
		delete(t.bridges, freed)
		out = append(out, freed)
	}
	if now := (bridgeFacts{index: l.Index, mtu: l.MTU, filtering: l.Filtering}); !ev.Deleted && t.bridges[name] != now {
		t.bridges[name] = now
		out = append(out, name)
	}
	return out
}
