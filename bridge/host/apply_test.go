package host

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// changes are the ways between two declarations that are tried.
var changes = map[string]struct{ before, after func() network.Spec }{
	"from nothing":        {nil, declared},
	"to another":          {declared, later},
	"to the first again":  {later, declared},
	"to nothing declared": {later, onlyManagement},
}

func onlyManagement() network.Spec {
	s := declared()
	s.Networks = s.Networks[:1]
	return s
}

func rigFor(t *testing.T, before func() network.Spec) *rig {
	r := newRig(t, bare())
	if before != nil {
		r.must(t, before())
	}
	return restart(t, r)
}

func TestApply(t *testing.T) {
	for name, tc := range changes {
		t.Run(name, func(t *testing.T) {
			r := rigFor(t, tc.before)
			var seen []StepResult
			res, err := r.Apply(t.Context(), tc.after(), ApplyOptions{Confirm: Never, Progress: func(s StepResult) { seen = append(seen, s) }})
			require.NoError(t, err)
			assert.Equal(t, res.Steps, seen)
			assert.NotEmpty(t, seen)
			assert.Zero(t, res.Confirm)
			diff, err := r.Diff()
			require.NoError(t, err)
			assert.Empty(t, diff)
			spec, ok := r.Applied()
			assert.True(t, ok)
			assert.Equal(t, res.Spec, spec)
			assert.Equal(t, 1, spec.Networks[0].Number, "it is resolved")
			_, pending := r.Pending()
			assert.False(t, pending)
			assert.Equal(t, []Kind{ApplyDone}, r.heard.kinds())

			again, err := r.Apply(t.Context(), tc.after(), ApplyOptions{})
			require.NoError(t, err)
			assert.Empty(t, again.Steps, "applying again does nothing")
			assert.Zero(t, again.Confirm, "so nothing waits")
		})
	}
}

func TestApplyFailsAtEveryStep(t *testing.T) {
	for name, tc := range changes {
		t.Run(name, func(t *testing.T) {
			total := 1
			for n := 0; n < total; n++ {
				r := rigFor(t, tc.before)
				before := text(t, r.kernel)
				spec, had := r.Applied()
				r.gate.Keep(failAt(n))
				res, err := r.Apply(t.Context(), tc.after(), ApplyOptions{Confirm: Never})
				require.ErrorIs(t, err, errInjected)
				require.Len(t, res.Steps, n+1)
				total = res.Steps[n].Of
				assert.ErrorContains(t, err, fmt.Sprintf("step %d of %d, %s", n+1, total, say(res.Steps[n].Step)))
				assert.ErrorContains(t, err, "The host is as before")
				assert.Equal(t, before, text(t, r.kernel), "after failing at step %d", n)
				now, has := r.Applied()
				assert.Equal(t, had, has)
				assert.Equal(t, spec, now)
				assert.NoFileExists(t, filepath.Join(r.dir, pendingFile))
				assert.Equal(t, []Kind{ApplyUndone}, r.heard.kinds())
			}
			assert.Greater(t, total, 1)
		})
	}
}

func TestApplyThatCannotBeUndone(t *testing.T) {
	r := newRig(t, bare())
	r.gate.Keep(func(n int, _ bridge.Name) error {
		if n >= 2 {
			return errInjected
		}
		return nil
	})
	_, err := r.Apply(t.Context(), declared(), ApplyOptions{Confirm: Never})
	require.ErrorIs(t, err, errInjected)
	var left *UndoError
	require.ErrorAs(t, err, &left)
	assert.Contains(t, left.Left, "mgmt is still there")
	assert.NotContains(t, err.Error(), "as before")
	assert.Equal(t, []Kind{ApplyStuck}, r.heard.kinds())
	_, pending := r.Pending()
	assert.False(t, pending, "there is no use in trying again at every start")
}

// deaf is a kernel that says yes to an address and does not take it.
type deaf struct {
	Kernel
	to    string // the address
	asked *int
}

func (d deaf) AddAddress(name bridge.Name, a bridge.Address) error {
	if a.Prefix.String() == d.to {
		*d.asked++
		return nil
	}
	return d.Kernel.AddAddress(name, a)
}

func TestApplyIsJudgedByTheHost(t *testing.T) {
	r := newRig(t, bare())
	before := text(t, r.kernel)
	r.opt.Kernel = deaf{r.kernel, "10.9.9.9/24", new(int)}
	spec := declared()
	spec.Networks[0].Address = append(spec.Networks[0].Address, netip.MustParsePrefix("10.9.9.9/24"))
	_, err := r.Apply(t.Context(), spec, ApplyOptions{Confirm: Never})
	require.ErrorContains(t, err, "the host did not keep this")
	assert.ErrorContains(t, err, "10.9.9.9")
	assert.Equal(t, before, text(t, r.kernel))
}

func TestApplyEndsWithItsContext(t *testing.T) {
	r := newRig(t, bare())
	before := text(t, r.kernel)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := r.Apply(ctx, declared(), ApplyOptions{Confirm: Never, Progress: func(s StepResult) {
		if s.Index == 1 {
			cancel(errInjected)
		}
	}})
	require.ErrorIs(t, err, errInjected)
	require.ErrorContains(t, err, "ended before step 3")
	assert.Equal(t, before, text(t, r.kernel))
}

// What appears under the name of a device between planning and doing is somebody else's, even while undoing.
func TestApplyLeavesOthersDevices(t *testing.T) {
	r := newRig(t, bare())
	r.gate.Keep(func(n int, device bridge.Name) error {
		if device == "4b" && n > 0 {
			r.kernel.Change(func(h *bridge.Host) {
				if h.Device("4b") == nil {
					theirs := port(90, "4b")
					theirs.Kind = "bridge"
					h.Devices = append(h.Devices, theirs)
				}
			})
		}
		return nil
	})
	_, err := r.Apply(t.Context(), declared(), ApplyOptions{Confirm: Never})
	require.ErrorIs(t, err, bridge.ErrExists)
	require.ErrorContains(t, err, "The host is as before")
	h, err := r.kernel.Host()
	require.NoError(t, err)
	assert.NotNil(t, h.Device("4b"))
	assert.Nil(t, h.Device("mgmt"))
}

func TestApplyChecks(t *testing.T) {
	r := newRig(t, bare())
	spec := declared()
	spec.Networks[1].Name = "management"
	_, err := r.Apply(t.Context(), spec, ApplyOptions{})
	require.Error(t, err, "two networks of one name")
	assert.Empty(t, r.kernel.Steps())
}

func TestApplyThatCutsOffManagementIsRefused(t *testing.T) {
	r := newRig(t, bare())
	r.must(t, declared())
	done := len(r.kernel.Steps())
	spec := declared()
	spec.Networks[0].Address = nil
	_, err := r.Apply(t.Context(), spec, ApplyOptions{})
	var cut *CutError
	require.ErrorAs(t, err, &cut)
	assert.ErrorContains(t, err, "--force")
	assert.Len(t, r.kernel.Steps(), done)

	res, err := r.Apply(t.Context(), spec, ApplyOptions{Force: true})
	require.NoError(t, err)
	assert.NotEmpty(t, res.Steps)
	assert.Equal(t, DefaultConfirm, res.Confirm, "even so it waits for a confirmation")
}

// Once set, server-management stays with its network unless it is forced away; a mistake in a file must not move it.
func TestManagementDoesNotMoveByItself(t *testing.T) {
	r := newRig(t, bare())
	r.must(t, declared())
	done := len(r.kernel.Steps())
	spec := declared()
	spec.Networks = append(spec.Networks, network.Network{
		Name: "other", On: "eth1", VLAN: 99, Roles: network.ServerManagement, Address: []netip.Prefix{netip.MustParsePrefix("10.99.0.2/24")},
	})
	spec.Networks[0].Roles = network.Storage
	_, err := r.Apply(t.Context(), spec, ApplyOptions{Confirm: Never})
	var moves *MoveError
	require.ErrorAs(t, err, &moves)
	require.EqualError(t, err, "host: server-management would move from the network "+declared().Networks[0].Name+
		" to other. Once set it stays where it is: say --force if this is meant. Nothing was done")
	assert.Len(t, r.kernel.Steps(), done)
	_, err = r.Apply(t.Context(), spec, ApplyOptions{Confirm: Never, Force: true})
	require.NoError(t, err)
}

func TestAppliesComeOneByOne(t *testing.T) {
	r := newRig(t, bare())
	other := restart(t, r) // another process on the same host
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for i, m := range []*rig{r, other, r, other, r, other, r, other} {
		spec := declared()
		if i%3 == 0 {
			spec = later()
		}
		wg.Add(1)
		go runApply(&wg, m, spec, errs)
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	diff, err := r.Diff()
	require.NoError(t, err)
	assert.Empty(t, diff)
}

func runApply(wg *sync.WaitGroup, r *rig, spec network.Spec, errs chan<- error) {
	defer wg.Done()
	_, err := r.Apply(context.Background(), spec, ApplyOptions{Confirm: Never})
	errs <- err
}

func TestClosedManagerRefuses(t *testing.T) {
	m, err := New(Options{Kernel: newRig(t, bare()).kernel, Dir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, m.Close())
	_, err = m.Apply(t.Context(), declared(), ApplyOptions{})
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, m.Reconcile(t.Context()), ErrClosed)
	require.ErrorIs(t, m.Confirm(t.Context()), ErrClosed)
}

func TestDamagedStateIsSaid(t *testing.T) {
	r := newRig(t, bare())
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, appliedFile), []byte("{"), 0o600))
	_, err := r.Apply(t.Context(), declared(), ApplyOptions{})
	require.ErrorContains(t, err, appliedFile)
	require.ErrorContains(t, r.Recover(t.Context()), appliedFile)
	require.ErrorContains(t, r.Reconcile(t.Context()), appliedFile)
	assert.Empty(t, r.kernel.Steps())
}

func TestPlanChangesNothing(t *testing.T) {
	r := newRig(t, bare())
	before := text(t, r.kernel)
	p, err := r.Plan(declared(), nil)
	require.NoError(t, err)
	assert.NotEmpty(t, p.Steps)
	assert.Equal(t, bridge.Name("4b"), p.Spec.Networks[1].ID)
	r.Preview(declared(), nil)
	assert.Equal(t, before, text(t, r.kernel))
	files, err := os.ReadDir(r.dir)
	require.NoError(t, err)
	assert.Empty(t, files)
}

// A network keeps its id, even where its name would give another one now.
func TestApplyKeepsIDs(t *testing.T) {
	r := newRig(t, bare())
	r.must(t, declared())
	spec := declared()
	spec.Networks[0].ID, spec.Networks[1].ID = "", ""
	res, err := r.Apply(t.Context(), spec, ApplyOptions{})
	require.NoError(t, err)
	assert.Empty(t, res.Steps)
	assert.Equal(t, bridge.Name("4b"), res.Spec.Networks[1].ID)
}
