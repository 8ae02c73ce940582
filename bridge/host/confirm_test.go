package host

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

const window = 30 * time.Second

func waitingRig(t *testing.T) (r *rig, before, after string) {
	r = newRig(t, bare())
	before = text(t, r.kernel)
	res, err := r.Apply(t.Context(), declared(), ApplyOptions{Confirm: window})
	require.NoError(t, err)
	require.Equal(t, window, res.Confirm)
	return r, before, text(t, r.kernel)
}

func TestUnconfirmedIsUndoneAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, before, after := waitingRig(t)
		_, holds := r.Applied()
		assert.False(t, holds)
		time.Sleep(window - time.Millisecond)
		synctest.Wait()
		assert.Equal(t, after, text(t, r.kernel), "not before its time")
		p, ok := r.Pending()
		require.True(t, ok)
		assert.True(t, p.Waiting)
		assert.Equal(t, time.Millisecond, p.Left)
		assert.Nil(t, p.Before)
		assert.Len(t, p.After.Networks, 2)

		time.Sleep(time.Millisecond)
		synctest.Wait()
		assert.Equal(t, before, text(t, r.kernel))
		_, ok = r.Pending()
		assert.False(t, ok)
		assert.Equal(t, []Kind{ApplyWaiting, ApplyUndone}, r.heard.kinds())
		assert.Contains(t, r.heard.last(t).Text, "nobody confirmed it within 30s")
		require.ErrorIs(t, r.Confirm(t.Context()), ErrNothing)
	})
}

func TestConfirmedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, after := waitingRig(t)
		_, err := r.Apply(t.Context(), later(), ApplyOptions{})
		require.ErrorIs(t, err, ErrPending, "one at a time")
		require.NoError(t, r.Confirm(t.Context()))
		time.Sleep(2 * window)
		synctest.Wait()
		assert.Equal(t, after, text(t, r.kernel))
		spec, ok := r.Applied()
		assert.True(t, ok)
		assert.Len(t, spec.Networks, 2)
		assert.Equal(t, []Kind{ApplyWaiting, ApplyConfirmed}, r.heard.kinds())
	})
}

func TestRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, before, _ := waitingRig(t)
		require.NoError(t, r.Rollback(t.Context(), "the operator wants it"))
		assert.Equal(t, before, text(t, r.kernel))
		assert.Contains(t, r.heard.last(t).Text, "the operator wants it")
		require.ErrorIs(t, r.Rollback(t.Context(), "again"), ErrNothing)
		time.Sleep(2 * window)
		synctest.Wait()
		assert.Equal(t, 1, r.heard.count(ApplyUndone), "the deadline finds nothing")
	})
}

func TestNextProcessGoesOnWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, before, after := waitingRig(t)
		require.NoError(t, old.Close())
		time.Sleep(window / 2)
		r := restart(t, old)
		require.NoError(t, r.Recover(t.Context()))
		assert.Equal(t, after, text(t, r.kernel))
		time.Sleep(window/2 - time.Millisecond)
		synctest.Wait()
		assert.Equal(t, after, text(t, r.kernel))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		assert.Equal(t, before, text(t, r.kernel))
	})
}

func TestNextProcessComesTooLate(t *testing.T) {
	for name, call := range map[string]func(*testing.T, *rig) error{
		"recover": func(t *testing.T, r *rig) error { return r.Recover(t.Context()) },
		"confirm": func(t *testing.T, r *rig) error { return r.Confirm(t.Context()) },
		"apply": func(t *testing.T, r *rig) error {
			_, err := r.Apply(t.Context(), onlyManagement(), ApplyOptions{Confirm: Never})
			return err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			old, before, _ := waitingRig(t)
			require.NoError(t, old.Close())
			time.Sleep(2 * window)
			r := restart(t, old)
			err := call(t, r)
			switch name {
			case "confirm":
				require.ErrorIs(t, err, ErrLate)
			default:
				require.NoError(t, err)
			}
			if name != "apply" {
				assert.Equal(t, before, text(t, r.kernel))
			}
			assert.Equal(t, ApplyUndone, r.heard.kinds()[0])
		})
	}
}

// A suspended machine stops Go's timers, not the deadline.
func TestDeadlineCountsWhileSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, before, _ := waitingRig(t)
		time.Sleep(1500 * time.Millisecond)
		r.clock.suspend(time.Hour)
		time.Sleep(tick)
		synctest.Wait()
		assert.Equal(t, before, text(t, r.kernel))
	})
}

func TestBootDropsWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newRig(t, bare())
		old.must(t, declared())
		_, err := old.Apply(t.Context(), later(), ApplyOptions{Confirm: window})
		require.NoError(t, err)
		require.NoError(t, old.Close())
		old.clock.boot = "second"
		steps := len(old.kernel.Steps())
		old.kernel.Change(func(h *bridge.Host) { *h = bare() }) // the devices are gone
		r := restart(t, old)
		require.NoError(t, r.Recover(t.Context()))
		assert.Equal(t, []Kind{ApplyDropped}, r.heard.kinds())
		assert.Equal(t, steps, len(r.kernel.Steps()), "nothing is undone")
		require.NoError(t, r.Reconcile(t.Context()))
		h, err := r.kernel.Host()
		require.NoError(t, err)
		assert.NotNil(t, h.Device("4b"), "the former declaration is built")
		assert.Nil(t, h.Device("5c"))
		assert.NoFileExists(t, filepath.Join(r.dir, pendingFile))
	})
}

func TestTouchingManagementWaitsByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bare())
		res, err := r.Apply(t.Context(), declared(), ApplyOptions{})
		require.NoError(t, err)
		assert.NotEmpty(t, res.Management)
		assert.Equal(t, DefaultConfirm, res.Confirm)
		require.NoError(t, r.Confirm(t.Context()))
	})
}

// What cannot be undone at the deadline is told, and not tried for ever.
func TestDeadlineThatCannotUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := waitingRig(t)
		r.gate.Keep(func(int, bridge.Name) error { return errInjected })
		time.Sleep(2 * window)
		synctest.Wait()
		assert.Equal(t, []Kind{ApplyWaiting, ApplyStuck}, r.heard.kinds())
		assert.Contains(t, r.heard.last(t).Text, "mgmt is still there")
	})
}

// A device that somebody removed in the meantime does not keep the rest from being undone.
func TestUndoOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, before, _ := waitingRig(t)
		require.NoError(t, r.kernel.Remove("4b"))
		require.NoError(t, r.Rollback(t.Context(), "wanted"))
		assert.Equal(t, before, text(t, r.kernel))
	})
}
