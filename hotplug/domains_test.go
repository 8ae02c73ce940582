package hotplug

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug/domctl"
	"vifplug/xenstore"
)

func (w *world) create(id xenstore.DomID, name, uuid string) {
	w.t.Helper()
	w.write(domainPath(id)+"/vm", "/vm/"+uuid, domainPath(id)+"/name", name)
	require.NoError(w.t, w.store.Introduce(w.t.Context(), id, 1, uint32(id)))
}

func (w *world) destroy(id xenstore.DomID) {
	w.t.Helper()
	require.NoError(w.t, w.store.Remove(w.t.Context(), domainPath(id)))
	require.NoError(w.t, w.store.Release(w.t.Context(), id))
}

// lines are the events so far, as text.
func (w *world) lines() (out []string) {
	for _, e := range w.Events().Recent(0) {
		line := string(e.Kind) + " " + e.Domain.Name + " " + e.Domain.UUID
		if e.Detail != "" {
			line += " " + e.Detail
		}
		out = append(out, line)
	}
	return out
}

func TestDomainsLiveAndDie(t *testing.T) {
	hv := &hypervisor{infos: map[uint16]domctl.Info{}}
	w := newWorld(t, func(c *Config) { c.Domains = hv })
	w.create(1, "web01", "u1")
	w.next(DomainCreated)
	w.create(2, "db01", "u2")
	w.next(DomainCreated)
	assert.Equal(t, []Domain{{1, "u1", "web01"}, {2, "u2", "db01"}}, w.Domains())

	w.write("/local/domain/1/name", "web01") // the same: no renaming
	w.write("/local/domain/1/name", "web02")
	w.next(DomainRenamed)

	// The store says of both that "a domain" was released; the hypervisor says what happened, and it is told once.
	hv.set(1, domctl.Info{Domid: 1, Shutdown: true, Reason: "poweroff"})
	hv.set(2, domctl.Info{Domid: 2, Shutdown: true, Reason: "crash"})
	w.create(3, "third", "u3") // any event is a reason to look
	w.next(DomainShutdown)
	w.next(DomainCrashed)
	w.next(DomainCreated)
	w.destroy(1)
	w.next(DomainDestroyed)
	w.destroy(2)
	w.next(DomainDestroyed)
	assert.Equal(t, []string{
		"domain.created web01 u1",
		"domain.created db01 u2",
		"domain.renamed web02 u1 was web01",
		"domain.shutdown web02 u1 poweroff",
		"domain.crashed db01 u2 crash",
		"domain.created third u3",
		"domain.destroyed web02 u1",
		"domain.destroyed db01 u2",
	}, w.lines())
	assert.Equal(t, []Domain{{3, "u3", "third"}}, w.Domains())
	assert.Contains(t, w.log.String(), "level=WARN msg=domain.crashed")
}

// One id, another uuid: one guest ended and another began, however the store tells it.
func TestDomainIDIsUsedAgain(t *testing.T) {
	for name, reuse := range map[string]func(w *world){
		"released between": func(w *world) { w.destroy(1); w.create(1, "new", "u9") },
		"seen as one change": func(w *world) {
			w.write("/local/domain/1/vm", "/vm/u9", "/local/domain/1/name", "new")
		},
		"seen with the next domain": func(w *world) {
			w.write("/local/domain/1/vm", "/vm/u9")
			w.create(2, "next", "u2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.create(1, "old", "u1")
			w.next(DomainCreated)
			reuse(w)
			gone := w.next(DomainDestroyed)
			assert.Equal(t, Domain{1, "u1", "old"}, gone.Domain)
			w.eventually(func() bool { return len(w.Domains()) > 0 && w.Domains()[0].UUID == "u9" })
			for _, l := range w.lines() {
				assert.NotContains(t, l, "domain.renamed")
			}
		})
	}
}

// What is in the directory but not introduced is left over from a domain that was; dom0 and the own domain are no guests.
func TestDomainsThatAreNone(t *testing.T) {
	w := newWorld(t, nil)
	w.write("/local/domain/7/name", "ghost", "/local/domain/junk/name", "x", "/local/domain/0/name", "Domain-0")
	w.create(1, "web01", "u1")
	w.next(DomainCreated)
	assert.Equal(t, []Domain{{1, "u1", "web01"}}, w.Domains())
	assert.Len(t, w.lines(), 1)
}

// A domain that is introduced before its name is written is created nameless; its first name is no renaming.
func TestDomainFirstName(t *testing.T) {
	w := newWorld(t, nil)
	w.write("/local/domain/1/vm", "/vm/u1")
	require.NoError(t, w.store.Introduce(t.Context(), 1, 1, 1))
	w.next(DomainCreated)
	w.write("/local/domain/1/name", "late")
	w.eventually(func() bool { return w.Domains()[0].Name == "late" })
	w.write("/local/domain/1/name", "later")
	assert.Equal(t, "was late", w.next(DomainRenamed).Detail)
}

func TestNameOf(t *testing.T) {
	for path, want := range map[string]xenstore.DomID{"/local/domain/5/name": 5, "/local/domain/0/name": 0} {
		got, ok := nameOf(path)
		assert.True(t, ok, path)
		assert.Equal(t, want, got)
	}
	for _, path := range []string{"@releaseDomain", "/local/domain/5", "/local/domain/5/name/x", "/local/domain/x/name", "/vm/5/name", ""} {
		_, ok := nameOf(path)
		assert.False(t, ok, path)
	}
}

// The names of a NIC's domain follow.
func TestRenamedDomainRenamesItsNICs(t *testing.T) {
	w := newWorld(t, nil)
	w.create(5, "old", "u-5")
	w.next(DomainCreated)
	w.kernel.vif(Key{Front: 5, Device: 0})
	w.attach("xenbr0") // calls it web01
	w.next(NICPlugged)
	w.write("/local/domain/5/name", "new")
	w.eventually(func() bool { return w.Status()[0].Domain.Name == "new" })
}
