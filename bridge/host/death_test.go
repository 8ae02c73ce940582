package host

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
)

// dieAt has a process die at its n-th change, before the kernel hears of it. It says whether it came so far.
func dieAt(t *testing.T, r *rig, n int, do func()) (died bool) {
	t.Helper()
	r.gate.Keep(func(i int, _ bridge.Name) error {
		if i == n {
			panic("dies")
		}
		return nil
	})
	defer func() {
		if v := recover(); v != nil {
			require.Equal(t, "dies", v)
			died = true
		}
	}()
	do()
	return false
}

// Whichever change a process dies at, the next one has the host as before. The real thing, by kill -9, is in kernel_test.go.
func TestDeathAtEveryStep(t *testing.T) {
	for name, tc := range changes {
		t.Run(name, func(t *testing.T) {
			n := 0
			for ; ; n++ {
				old := rigFor(t, tc.before)
				before := text(t, old.kernel)
				if !dieAt(t, old, n, func() {
					_, _ = old.Apply(t.Context(), tc.after(), ApplyOptions{Confirm: Never})
				}) {
					break
				}
				p, ok := old.Pending()
				require.True(t, ok)
				assert.False(t, p.Waiting)
				r := restart(t, old)
				require.NoError(t, r.Recover(t.Context()), "died at step %d", n)
				assert.Equal(t, before, text(t, r.kernel), "died at step %d", n)
				assert.Equal(t, []Kind{ApplyUndone}, r.heard.kinds())
				assert.Contains(t, r.heard.last(t).Text, "died in the middle")
				require.NoError(t, r.Recover(t.Context()), "there is nothing left")
			}
			assert.Greater(t, n, 1)
		})
	}
}

// Who dies while undoing leaves the rest of it to the next.
func TestDeathWhileUndoing(t *testing.T) {
	n := 0
	for ; ; n++ {
		old := newRig(t, bare())
		before := text(t, old.kernel)
		_, err := old.Apply(t.Context(), declared(), ApplyOptions{Confirm: window})
		require.NoError(t, err)
		second := restart(t, old)
		if !dieAt(t, second, n, func() { require.NoError(t, second.Rollback(t.Context(), "wanted")) }) {
			assert.Equal(t, before, text(t, second.kernel))
			break
		}
		r := restart(t, old)
		require.NoError(t, r.Rollback(t.Context(), "wanted"), "died at %d", n)
		assert.Equal(t, before, text(t, r.kernel), "died at %d", n)
	}
	assert.Greater(t, n, 2)
}

// Whoever comes next settles it, not only Recover.
func TestApplyAfterADeath(t *testing.T) {
	old := newRig(t, bare())
	require.True(t, dieAt(t, old, 2, func() { _, _ = old.Apply(t.Context(), declared(), ApplyOptions{Confirm: Never}) }))
	r := restart(t, old)
	_, err := r.Apply(t.Context(), later(), ApplyOptions{Confirm: Never})
	require.NoError(t, err)
	assert.Equal(t, []Kind{ApplyUndone, ApplyDone}, r.heard.kinds())
	diff, err := r.Diff()
	require.NoError(t, err)
	assert.Empty(t, diff)
}
