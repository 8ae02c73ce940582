package hotplug

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"vifplug/hotplug/domctl"
	"vifplug/xenstore"
)

// DomainInfo asks the hypervisor about a domain, since the store does not tell a shutdown from a crash. [domctl.Conn] is the real one.
type DomainInfo interface {
	Info(domid uint16) (domctl.Info, error)
}

// domains is the table of the guests that the store knows, kept by one goroutine.
type domains struct {
	e     *Engine
	watch *xenstore.Watch // @introduceDomain, @releaseDomain, and each guest's name

	mu    sync.Mutex // guards all following fields
	known map[xenstore.DomID]*guest
}

type guest struct {
	Domain
	down  bool            // its shutdown or crash has been told
	watch *xenstore.Watch // of its name
}

// The store's special watches (xen: docs/misc/xenstore.txt).
const (
	introduceDomain = "@introduceDomain"
	releaseDomain   = "@releaseDomain"
)

func startDomains(ctx context.Context, e *Engine) (*domains, error) {
	d := &domains{e: e, known: map[xenstore.DomID]*guest{}}
	w, err := e.cfg.Store.Watch(ctx, introduceDomain, xenstore.WatchOptions{})
	if err != nil {
		return nil, fmt.Errorf("hotplug: watch %s: %w", introduceDomain, err)
	}
	d.watch = w
	if _, err := e.cfg.Store.Watch(ctx, releaseDomain, xenstore.WatchOptions{Into: w}); err != nil {
		return nil, fmt.Errorf("hotplug: watch %s: %w", releaseDomain, err)
	}
	e.start(d.runDomains)
	return d, nil
}

// runDomains follows domains: each event is a reason to list again, since none says which domain it is about.
func (d *domains) runDomains() {
	var tick <-chan time.Time
	if every := d.e.cfg.ResyncEvery; every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	for {
		list := false
		select {
		case <-d.e.ctx.Done():
			return
		case <-tick:
			list = true
			d.e.Resync(d.e.ctx)
		case <-d.watch.Ready():
		}
		for _, ev := range d.watch.Take() {
			if id, ok := nameOf(ev.Path); ok && !ev.Resync {
				d.rename(id)
				continue
			}
			list = true
		}
		if list {
			d.relist(d.e.ctx)
		}
	}
}

// nameOf reads "/local/domain/ID/name".
func nameOf(path string) (xenstore.DomID, bool) {
	rest, ok := strings.CutPrefix(path, "/local/domain/")
	num, leaf, _ := strings.Cut(rest, "/")
	id, err := xenstore.ParseDomID(num)
	return id, ok && err == nil && leaf == "name"
}

// relist compares the store's domains with the table and tells the differences.
func (d *domains) relist(ctx context.Context) {
	names, err := d.e.cfg.Store.Directory(ctx, "/local/domain")
	if errors.Is(err, xenstore.EACCES) { // a driver domain may not list it: then the guests are those that it has a backend for
		names, err = d.e.cfg.Store.Directory(ctx, d.e.paths.root)
	}
	if err != nil && !errors.Is(err, xenstore.ENOENT) {
		d.e.scanFailed("/local/domain", err)
		return
	}
	var ids []xenstore.DomID
	for _, n := range names {
		if id, err := xenstore.ParseDomID(n); err == nil && id != d.e.cfg.Self && id != 0 {
			ids = append(ids, id)
		}
	}
	there, err := d.introduced(ctx, ids)
	if err != nil {
		d.e.scanFailed("/local/domain", err)
		return
	}
	for _, g := range d.gone(there) {
		d.forget(ctx, g)
	}
	for _, id := range ids {
		if there[id] {
			d.look(ctx, id)
		}
	}
}

// introduced asks which of the ids are live domains: a directory alone may be left over from one that was.
func (d *domains) introduced(ctx context.Context, ids []xenstore.DomID) (map[xenstore.DomID]bool, error) {
	there := make(map[xenstore.DomID]bool, len(ids))
	ops := make([]xenstore.Op, len(ids))
	for i, id := range ids {
		ops[i] = xenstore.IntroducedOp(id)
	}
	res, err := d.e.cfg.Store.Pipeline(ctx, ops...)
	if err != nil {
		return nil, err
	}
	for i, r := range res {
		if r.Err == nil && r.Value == "T" || errors.Is(r.Err, xenstore.EACCES) {
			there[ids[i]] = true // an unprivileged driver domain may not ask: then what it can see counts
		}
	}
	return there, nil
}

func (d *domains) gone(there map[xenstore.DomID]bool) []*guest {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*guest
	for id, g := range d.known {
		if !there[id] {
			out = append(out, g)
			delete(d.known, id)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

func (d *domains) forget(ctx context.Context, g *guest) {
	if g.watch != nil {
		_ = g.watch.Close(ctx)
	}
	d.publish(DomainDestroyed, g.Domain, "")
	d.e.resyncDomain(ctx, xenstore.DomID(g.ID))
}

// look brings one live domain up to date: created, the same id used anew, shut down or crashed.
func (d *domains) look(ctx context.Context, id xenstore.DomID) {
	dom, err := d.read(ctx, id)
	if err != nil {
		return
	}
	d.mu.Lock()
	g := d.known[id]
	d.mu.Unlock()
	if g != nil && g.UUID != "" && dom.UUID != "" && g.UUID != dom.UUID {
		d.forget(ctx, g)
		g = nil
	}
	if g == nil {
		g = &guest{Domain: dom}
		g.watch, err = d.e.cfg.Store.Watch(ctx, domainPath(id)+"/name", xenstore.WatchOptions{Into: d.watch})
		if err != nil {
			d.e.log.Warn("cannot watch the domain's name", "domid", dom.ID, "err", err)
		}
		d.mu.Lock()
		d.known[id] = g
		d.mu.Unlock()
		d.publish(DomainCreated, dom, "")
	}
	d.lookDown(g)
}

// lookDown tells a shutdown or crash once, where there is a hypervisor to ask.
func (d *domains) lookDown(g *guest) {
	if d.e.cfg.Domains == nil || g.down {
		return
	}
	info, err := d.e.cfg.Domains.Info(g.ID)
	if err != nil || !info.Shutdown {
		return
	}
	g.down = true
	switch info.Reason {
	case "crash", "watchdog":
		d.publish(DomainCrashed, g.Domain, info.Reason)
	default:
		d.publish(DomainShutdown, g.Domain, info.Reason)
	}
}

func (d *domains) read(ctx context.Context, id xenstore.DomID) (Domain, error) {
	dir := domainPath(id)
	res, err := d.e.cfg.Store.Pipeline(ctx, xenstore.ReadOp(dir+"/name"), xenstore.ReadOp(dir+"/vm"))
	dom := Domain{ID: uint16(id)}
	if err != nil {
		return dom, err
	}
	if res[0].Err == nil {
		dom.Name = printable(res[0].Value, 64)
	}
	if res[1].Err == nil {
		dom.UUID = printable(strings.TrimPrefix(res[1].Value, "/vm/"), 64)
	}
	return dom, nil
}

// rename tells a name that differs from the known one. The first name of a domain is not a renaming.
func (d *domains) rename(id xenstore.DomID) {
	dom, err := d.read(d.e.ctx, id)
	d.mu.Lock()
	g := d.known[id]
	if err != nil || g == nil || dom.Name == "" || dom.Name == g.Name {
		d.mu.Unlock()
		return
	}
	if g.UUID != "" && dom.UUID != "" && g.UUID != dom.UUID {
		d.mu.Unlock()
		d.look(d.e.ctx, id) // another domain with the same id
		return
	}
	old := g.Name
	g.Name = dom.Name
	if g.UUID == "" {
		g.UUID = dom.UUID
	}
	d.mu.Unlock()
	if old != "" {
		d.publish(DomainRenamed, dom, "was "+old)
	}
	d.e.resyncDomain(d.e.ctx, id) // its NICs carry the name
}

func (d *domains) publish(k Kind, dom Domain, detail string) {
	d.e.tell(d.e.hub.Publish(Event{Kind: k, Domain: dom, Detail: detail}))
}

// list returns the known guests by id.
func (d *domains) list() []Domain {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Domain, 0, len(d.known))
	for _, g := range d.known {
		out = append(out, g.Domain)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}
