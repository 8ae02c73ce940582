package host

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func TestKeeperTellsOnce(t *testing.T) {
	k := newKeeper()
	one, two := network.Difference{Device: "4b", What: "mtu", Want: "1500"}, network.Difference{Device: "5c", What: "mtu", Want: "1500"}
	assert.Equal(t, []network.Difference{one}, k.newlyLost([]network.Difference{one}))
	assert.Equal(t, []network.Difference{two}, k.newlyLost([]network.Difference{one, two}))
	assert.Empty(t, k.newlyLost([]network.Difference{one, two}))
	assert.Equal(t, []network.Difference{one}, k.found([]network.Difference{two}))
	assert.Equal(t, []network.Difference{one}, k.newlyLost([]network.Difference{one, two}), "lost anew")
	worse := one
	worse.Have = "even less"
	assert.Empty(t, k.newlyLost([]network.Difference{worse, two}), "it is about the same")
	assert.Empty(t, k.found([]network.Difference{worse, two}))
	assert.ElementsMatch(t, []network.Difference{one, two}, k.found(nil))
}

func TestKeeperWaitsLongerAfterEachFailure(t *testing.T) {
	k, now := newKeeper(), noon
	assert.Equal(t, "no", k.failed("4b", "no", now))
	var waits []time.Duration
	for range 9 {
		assert.True(t, k.asleep(now)["4b"])
		wait := k.wake(now)
		waits = append(waits, wait)
		now = now.Add(wait)
		assert.False(t, k.asleep(now)["4b"], "its time has come")
		assert.Empty(t, k.failed("4b", "no", now), "the same is told once")
	}
	s := time.Second
	assert.Equal(t, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}, waits)
	assert.Equal(t, "never", k.failed("4b", "never", now), "another reason is told")

	k.recovered("4b")
	assert.Empty(t, k.asleep(now), "a success ends it")
	assert.Zero(t, k.wake(now))
	assert.Equal(t, "no", k.failed("4b", "no", now))
	assert.Equal(t, s, k.wake(now), "it begins anew")
}

func TestKeeperDoesNotFight(t *testing.T) {
	k, now := newKeeper(), noon
	for range repairsAMinute - 1 {
		assert.Empty(t, k.worked("4b", now))
		assert.Empty(t, k.worked("5c", now), "another device has its own count")
		k.recovered("4b")
		now = now.Add(time.Second)
	}
	text := k.worked("4b", now)
	assert.Contains(t, text, "4b was repaired 10 times within a minute")
	assert.Contains(t, text, "left alone for 1m0s")
	k.recovered("4b")
	assert.Equal(t, map[bridge.Name]bool{"4b": true}, k.asleep(now), "that it was as declared for a moment is no excuse")
	assert.Equal(t, restAfterFight, k.wake(now))
	now = now.Add(restAfterFight)
	assert.Empty(t, k.asleep(now))
	assert.Empty(t, k.worked("4b", now), "then it counts anew")
}

func TestKeeperForgetsRepairsOfAnEarlierMinute(t *testing.T) {
	k := newKeeper()
	for i := range 50 {
		assert.Empty(t, k.worked("4b", noon.Add(time.Duration(i)*time.Minute/(repairsAMinute-1))))
	}
}
