package hotplug

import (
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
	bridges map[string]bridgeFacts // by name
	names   map[int]string         // names of the bridges, by index
	wanted  map[string]map[Key]struct{}
	wants   map[Key]string
}

// claimed is the NIC of a link, and the link as the NIC's worker last saw it.
type claimed struct {
	key  Key
	last bridge.Link
}

type bridgeFacts struct{ index, mtu int }

func newLinkTable() *linkTable {
	return &linkTable{
		byKey: map[Key]int{}, byIndex: map[int]claimed{}, bridges: map[string]bridgeFacts{}, names: map[int]string{},
		wanted: map[string]map[Key]struct{}{}, wants: map[Key]string{},
	}
}

// index is the hint where a NIC's link is; 0: unknown.
func (t *linkTable) index(k Key) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byKey[k]
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
	t.want(k, "")
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

// wish records which bridge a NIC wants; "" none.
func (t *linkTable) wish(k Key, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want(k, name)
}

func (t *linkTable) want(k Key, name string) {
	old := t.wants[k]
	if old == name {
		return
	}
	if s := t.wanted[old]; s != nil {
		delete(s, k)
		if len(s) == 0 {
			delete(t.wanted, old)
		}
	}
	if name == "" {
		delete(t.wants, k)
		return
	}
	t.wants[k] = name
	if t.wanted[name] == nil {
		t.wanted[name] = map[Key]struct{}{}
	}
	t.wanted[name][k] = struct{}{}
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
	var out []bridge.Link
	for i, c := range t.byIndex {
		if !listed[i] {
			out = append(out, c.last)
		}
	}
	for i, name := range t.names {
		if !listed[i] {
			out = append(out, bridge.Link{Index: i, Name: bridge.Name(name)})
		}
	}
	return out
}

// event says which NICs a link's event may concern. A port whose event says what its worker saw last concerns nobody, and a bridge only when
// it came, went, or changed its name or MTU: so 1,000 ports that join a bridge cost 1,000 looks, not a million.
func (t *linkTable) event(ev bridge.LinkEvent) []Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := ev.Link
	var out []Key
	if k, ok := t.portKey(l); ok {
		if c, known := t.byIndex[l.Index]; ev.Deleted || !known || !sameLink(c.last, l) {
			out = append(out, k)
		}
		if ev.Deleted && t.byKey[k] == l.Index {
			t.dropLink(k)
		}
		return out
	}
	for _, name := range t.bridgeChange(ev) {
		for k := range t.wanted[name] {
			out = append(out, k)
		}
		if num, ok := strings.CutPrefix(name, "eth"); ok { // a NIC that wants xenbrN may have to do with it
			for k := range t.wanted["xenbr"+num] {
				out = append(out, k)
			}
		}
	}
	return out
}

// portKey finds the NIC that a link belongs to: by its claim, by its parent device, or by its name.
func (t *linkTable) portKey(l bridge.Link) (Key, bool) {
	if c, ok := t.byIndex[l.Index]; ok {
		return c.key, true
	}
	if l.ParentBus == backendBus {
		k, err := ParseParent(l.Parent)
		return k, err == nil
	}
	k, err := ParseVIF(string(l.Name))
	return k, err == nil
}

// backendBus is the bus of netback's devices (linux: drivers/xen/xenbus/xenbus_probe_backend.c).
const backendBus = "xen-backend"

// sameLink compares what the engine decides by.
func sameLink(a, b bridge.Link) bool {
	return a.Index == b.Index && a.Name == b.Name && a.MAC == b.MAC && a.MTU == b.MTU && a.Master == b.Master && a.Up == b.Up
}

// bridgeChange updates the table of devices that can be named as a bridge, and returns the names whose NICs should look again.
func (t *linkTable) bridgeChange(ev bridge.LinkEvent) []string {
	l := ev.Link
	name, old := string(l.Name), t.names[l.Index]
	var out []string
	if old != "" && (ev.Deleted || old != name) {
		delete(t.bridges, old)
		delete(t.names, l.Index)
		out = append(out, old)
	}
	if ev.Deleted {
		return out
	}
	now := bridgeFacts{index: l.Index, mtu: l.MTU}
	if t.bridges[name] != now {
		t.bridges[name], t.names[l.Index] = now, name
		out = append(out, name)
	}
	return out
}
