package hotplug

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vifplug/bridge"
	"vifplug/xenstore"
)

// observe reads all that Decide may know of a NIC: one pipelined read of the store, and the links that it speaks of. The link is looked at
// while the store answers.
func (e *Engine) observe(ctx context.Context, n *nic, p Policy, awaited bool) (Facts, error) {
	f := Facts{Key: n.key, Domain: Domain{ID: uint16(n.key.Front)}, Awaited: awaited}
	asked := e.askNode(ctx, n)
	linkErr := e.observeLink(&f)
	if err := e.observeNode(ctx, n, asked, &f, p.Networks); err != nil {
		n.touch("")
		return f, err
	}
	if f.Link == nil && linkErr == nil && f.Node != nil && f.Node.VIFName != "" {
		linkErr = e.observeLink(&f) // it may have that name, which only the node tells
	}
	if f.Node == nil && f.Link != nil && f.Key.Tap && linkErr == nil {
		linkErr = e.observeMaster(&f) // it may have to be released
	}
	if f.Node == nil || linkErr != nil {
		return f, linkErr
	}
	if err := e.observeBridge(&f, p); err != nil {
		return f, err
	}
	e.observeGuard(&f)
	if f.Link == nil && f.Key.Tap {
		return f, e.observeElsewhere(ctx, &f)
	}
	if f.Link == nil && f.Node.State >= StateClosing { // netback gives up by closing; an older error node says nothing
		f.KernelError = e.kernelError(ctx, n.key)
	}
	return f, nil
}

// rereads bounds how often a node is read anew that changes while it is read. A further change brings a further run.
const rereads = 4

// reading is a read of what was stale of a node, under way.
type reading struct {
	stale   staleSet
	replies *xenstore.Pending
}

// askNode asks for what may have changed.
func (e *Engine) askNode(ctx context.Context, n *nic) reading {
	stale := n.takeStale()
	dir, dom := e.paths.backend(n.key), domainPath(n.key.Front)
	ops := make([]xenstore.Op, 0, len(nodeKeys)+2)
	for i, key := range nodeKeys {
		if stale&(1<<i) != 0 {
			ops = append(ops, xenstore.ReadOp(dir+"/"+key))
		}
	}
	if stale&staleDomain != 0 {
		ops = append(ops, xenstore.ReadOp(dom+"/vm"), xenstore.ReadOp(dom+"/name"))
	}
	return reading{stale, e.cfg.Store.Send(ctx, ops...)}
}

// observeNode takes what was asked for. The reads are not one transaction, but the store tells of a change before it answers a read with it:
// when no event has come by the last reply, the values belong together.
func (e *Engine) observeNode(ctx context.Context, n *nic, asked reading, f *Facts, declared Networks) error {
	for i := range rereads {
		if i > 0 {
			asked = e.askNode(ctx, n)
		}
		res, err := asked.replies.Wait(ctx)
		if err != nil {
			return err
		}
		if err := n.node.update(asked.stale, res, f.Domain); err != nil {
			return err
		}
		if !n.touched() {
			break
		}
		if n.node.values[0] == "" {
			n.touch("") // it is just appearing, and the guest's name with it
		}
	}
	f.Domain = n.node.domain
	if n.node.values[0] == "" || n.node.values[1] == "" { // also half a node: its events follow
		n.touch("") // whatever comes under this key is another device
		return nil
	}
	values := make(map[string]string, len(nodeKeys))
	for i, key := range nodeKeys {
		values[key] = n.node.values[i]
	}
	f.Node, f.NodeProblem = parseNode(f.Key, values, declared)
	return nil
}

// update takes the replies to the reads of what was stale, in their order.
func (v *nodeValues) update(stale staleSet, res []xenstore.Result, dom Domain) error {
	for i := range nodeKeys {
		if stale&(1<<i) == 0 {
			continue
		}
		if res[0].Err != nil && !errors.Is(res[0].Err, xenstore.ENOENT) {
			return res[0].Err
		}
		v.values[i], res = res[0].Value, res[1:]
	}
	if stale&staleDomain == 0 {
		return nil
	}
	dom.UUID = printable(strings.TrimPrefix(res[0].Value, "/vm/"), 64)
	dom.Name = printable(res[1].Value, 64)
	v.domain = dom
	return nil
}

// observeLink finds the NIC's netdev: by where it was, by the kernel's name for it, by its parent device. A link is the NIC's only when
// netback's device of this NIC is its parent (or its name says so, where the policy accepts any netdev).
func (e *Engine) observeLink(f *Facts) error {
	l, err := e.findLink(f)
	if err != nil || l == nil {
		return err
	}
	f.Link = l
	f.Addresses, err = e.cfg.Links.Addresses(l.Index)
	if errors.Is(err, bridge.ErrNotFound) {
		f.Link, f.Addresses, err = nil, nil, nil
	}
	return err
}

func (e *Engine) findLink(f *Facts) (*bridge.Link, error) {
	for _, i := range e.table.indexes(f.Key) {
		if i == 0 {
			continue
		}
		l, err := e.cfg.Links.Link(i)
		if err == nil && e.isOf(f, l) {
			return &l, nil
		}
		if err != nil && !errors.Is(err, bridge.ErrNotFound) {
			return nil, err
		}
	}
	for _, name := range f.names() {
		l, err := e.cfg.Links.LinkByName(name)
		if err == nil && e.isOf(f, l) {
			return &l, nil
		}
		if err != nil && !errors.Is(err, bridge.ErrNotFound) {
			return nil, err
		}
	}
	return nil, nil
}

// names are what the device may be called, as far as is known.
func (f *Facts) names() []bridge.Name {
	if f.Key.Tap {
		return tapNames(f.Key, f.Node)
	}
	names := []bridge.Name{bridge.Name(f.Key.VIF())}
	if f.Node != nil && f.Node.VIFName != "" {
		names = append(names, f.Node.VIFName)
	}
	return names
}

// isOf says whether a link is the NIC's netdev, or its tap.
func (e *Engine) isOf(f *Facts, l bridge.Link) bool {
	if f.Key.Tap {
		return e.isTapOf(f, l)
	}
	if l.ParentBus == backendBus {
		return l.Parent == f.Key.Parent()
	}
	if !e.policy.Load().AnyNetdev {
		return false
	}
	if owner, ok := e.table.owner(l.Index); ok {
		return owner == f.Key
	}
	// A renamed stand-in can be known again only by its mark.
	return string(l.Name) == f.Key.VIF() || strings.Contains(l.Alias, fmt.Sprintf(" (%d) eth%d on ", f.Key.Front, f.Key.Device))
}

func (e *Engine) observeBridge(f *Facts, p Policy) error {
	b, err := e.lookup(f.Node.bridgeName())
	if err != nil {
		return err
	}
	if b == nil && p.LegacyBridgeNames && f.Node.Network == nil {
		if b, err = e.legacyBridge(f.Node.Bridge); err != nil {
			return err
		}
	}
	f.Bridge = b
	if f.Link == nil {
		return nil
	}
	if v := f.wantedName(); v != "" && f.Link.Name != v {
		if f.NameOwner, err = e.lookup(string(v)); err != nil {
			return err
		}
	}
	if err := e.observeMaster(f); err != nil {
		return err
	}
	return e.observeVLANs(f)
}

func (e *Engine) observeMaster(f *Facts) error {
	switch {
	case f.Link.Master == 0:
		return nil
	case f.Bridge != nil && f.Bridge.Index == f.Link.Master:
		f.Master = string(f.Bridge.Name)
		return nil
	}
	m, err := e.cfg.Links.Link(f.Link.Master)
	if errors.Is(err, bridge.ErrNotFound) {
		f.Link.Master = 0 // it went since
		return nil
	}
	f.Master = string(m.Name)
	return err
}

// observeVLANs reads the VLANs of a port of its bridge, where that filters them.
func (e *Engine) observeVLANs(f *Facts) (err error) {
	f.VLANs = nil
	if f.Bridge == nil || !f.Bridge.Filtering || f.Link.Master != f.Bridge.Index {
		return nil
	}
	f.VLANs, err = e.cfg.Links.PortVLANs(f.Link.Index)
	if errors.Is(err, bridge.ErrNotFound) || errors.Is(err, bridge.ErrInvalid) {
		err = nil // it has just left the bridge, or the kernel
	}
	return err
}

// lookup finds a link by a name from the store; nil where there is none or the text is no name.
func (e *Engine) lookup(text string) (*bridge.Link, error) {
	name, err := bridge.ParseName(text)
	if err != nil {
		return nil, nil
	}
	l, err := e.cfg.Links.LinkByName(name)
	if errors.Is(err, bridge.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &l, nil
}

// legacyBridge reads xenbrN as ethN, where that is a bridge.
func (e *Engine) legacyBridge(text string) (*bridge.Link, error) {
	num, ok := strings.CutPrefix(text, "xenbr")
	if _, err := parseDecimal(num, 16); !ok || err != nil {
		return nil, nil
	}
	l, err := e.lookup("eth" + num)
	if l != nil && l.Kind != "bridge" {
		return nil, err
	}
	return l, err
}

// kernelError reads what netback says of a device that it could not set up.
func (e *Engine) kernelError(ctx context.Context, k Key) string {
	dir := e.paths.backend(k)
	path := domainPath(e.cfg.Self) + "/error" + strings.TrimPrefix(dir, domainPath(e.cfg.Self)) + "/error"
	text, err := e.cfg.Store.Read(ctx, path)
	if err != nil {
		return ""
	}
	return printable(text, 200)
}

// String is one line of what was seen, for explain.
func (f Facts) String() string {
	var b strings.Builder
	if f.Node == nil {
		b.WriteString("no backend node")
	} else {
		fmt.Fprintf(&b, "backend state %d (%v), online %v, bridge %q%s, hotplug-status %q", uint8(f.Node.State), f.Node.State, f.Node.Online, clip(f.Node.Bridge), networkText(f.Node), clip(f.Node.Status))
	}
	device := "netdev"
	if f.Key.Tap {
		device = "tap"
	}
	if f.Link == nil {
		b.WriteString("; no " + device)
		return b.String()
	}
	l := f.Link
	fmt.Fprintf(&b, "; %s %s (index %d), %s, MTU %d, on %s", device, l.Name, l.Index, upText(l.Up), l.MTU, orNone(f.Master))
	if f.Node != nil && f.Bridge == nil {
		b.WriteString("; that bridge does not exist")
	}
	return b.String()
}

// networkText says which declared network the node's bridge is.
func networkText(n *Node) string {
	if n.Network == nil {
		return ""
	}
	return fmt.Sprintf(" (network %v, bridge %s)", n.Network, n.Network.ID)
}

func upText(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func orNone(s string) string {
	if s == "" {
		return "no bridge"
	}
	return s
}

func without(list []netip.Prefix, p netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(q netip.Prefix) bool { return q == p })
}
