package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vifplug/bridge"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
)

func looks() (before, now look) {
	n := nics()
	n[0].Domain.Name = "a-guest-with-a-long-name"
	n[0].Tap = &hotplug.TapStatus{Name: "vif5.0-emu", Index: 8, Path: &paths.State{Path: paths.Shortcut, Dropped: 10}}
	before = look{at: noon, nics: n, stats: map[int]bridge.Stats{7: {RxFrames: 100, TxFrames: 5}, 8: {RxFrames: 50, RxBytes: 1000, TxDropped: 1}, 9: {RxFrames: 7}}}
	later := nics()
	later[0].Domain = n[0].Domain
	later[0].Tap = &hotplug.TapStatus{Name: "vif5.0-emu", Index: 8, Path: &paths.State{Path: paths.Shortcut, Dropped: 14}}
	now = look{at: noon.Add(2 * time.Second), nics: later, stats: map[int]bridge.Stats{7: {RxFrames: 4, TxFrames: 5}, 8: {RxFrames: 20050, RxBytes: 3001000, TxFrames: 30, TxDropped: 3}, 9: {RxFrames: 9}}}
	return before, now
}

func TestTopTable(t *testing.T) {
	before, now := looks()
	want := `VIF       GUEST           PATH      BY        RX fr/s  RX B/s  TX fr/s  TX B/s  DROPS/s
vif5.0    a-guest-with-~  shortcut  emulated  15       0       10k      1.5M    3
vif12.10  12              -         -         0        0       0        0       0`
	assert.Equal(t, want, strings.Join(watching{sort: "bytes"}.table(before, now), "\n"))
	lines := watching{sort: "guest"}.table(before, now)
	assert.True(t, strings.HasPrefix(lines[1], "vif12.10"), lines[1])
}

// A device that was made anew has no rate yet, and none is negative.
func TestTopOfADeviceMadeAnew(t *testing.T) {
	before, now := looks()
	now.nics[0].Tap.Index = 9
	r := ratesOf(now.nics[0], before.nics[0], before, now, 2)
	assert.Equal(t, []float64{0, 0, 0}, []float64{r.rxFrames, r.txFrames, r.txBytes})
}

func TestSI(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.4: "0", 999: "999", 999.6: "1.0k", 1234: "1.2k", 56789: "57k", 1.5e6: "1.5M", 2e9: "2.0G", 1e18: "lots"} {
		assert.Equal(t, want, si(v))
	}
}
