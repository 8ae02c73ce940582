package paths

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/qemu/shortcut"
)

// started is a LAN with the shortcut on both guests' ports and the uplink, where everybody has spoken.
func started(t *testing.T, mode shortcut.Mode) (*lan, *shortcut.Manager) {
	t.Helper()
	l := newLAN(t)
	m := l.manager(mode, "")
	for _, p := range []shortcut.Port{
		l.port("p1", "1.0", guest1, true), l.port("q1", "1.0", guest1, true), l.port("p2", "2.0", guest2, true), l.uplink(),
	} {
		require.NoError(t, m.Set(p))
	}
	l.send("w", outside, all, 64)
	l.send("g2", guest2, all, 64)
	l.send("g1", guest1, all, 64)
	require.NoError(t, m.Learn(l.index["br"], outside, 0, l.index["up"]))
	l.send("w", outside, guest1, 64) // the bridge is shown the sender
	return l, m
}

func inBoth(t *testing.T, test func(*testing.T, shortcut.Mode)) {
	for _, mode := range []shortcut.Mode{shortcut.TCX, shortcut.Clsact} {
		t.Run(string(mode), func(t *testing.T) { test(t, mode) })
	}
}

func TestGuestMovesBetweenItsPorts(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		sits := func(end string) {
			t.Helper()
			l.redirected(m, "up", 1, func() { require.Equal(t, []string{end}, l.send("w", outside, guest1, 64)) })
			l.redirected(m, "p2", 1, func() { require.Equal(t, []string{end}, l.send("g2", guest2, guest1, 64)) })
			l.redirected(m, portOf[end], 1, func() { require.Equal(t, []string{"w"}, l.send(end, guest1, outside, 64)) })
		}
		sits("g1")
		require.Equal(t, []string{"w"}, l.send("h1", guest1, outside, 64))
		sits("h1")
		require.Empty(t, l.send("g2", guest1, outside, 64), "a spoofed frame")
		require.EqualValues(t, 1, l.counters(m, "p2").Dropped)
		sits("h1")
		require.Equal(t, []string{"w"}, l.send("g1", guest1, outside, 64))
		sits("g1")
	})
}

func TestMTU(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		require.Equal(t, []string{"g1"}, l.send("w", outside, guest1, 1514))
		// A bridge allows for a tag (linux: include/linux/netdevice.h __is_skb_forwardable).
		require.Equal(t, []string{"g1"}, l.send("w", outside, guest1, 1518))
		require.Empty(t, l.send("w", outside, guest1, 1519), "the bridge drops it, as the port takes no more")
		require.EqualValues(t, 2, l.counters(m, "up").Passed.Long)
		for _, d := range []string{"p1", "g1"} {
			require.NoError(t, bridgetest.SetMTU(d, 4000))
		}
		p := l.port("p1", "1.0", guest1, true)
		p.MTU = 4000
		require.NoError(t, m.Set(p))
		l.redirected(m, "up", 1, func() { require.Equal(t, []string{"g1"}, l.send("w", outside, guest1, 4014)) })
	})
}

func TestGuestIsLearnedElsewhere(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		for _, c := range []struct {
			at    string
			learn func() error
		}{
			{"w", func() error { return m.Learn(l.index["br"], guest1, 0, l.index["up"]) }},
			{"y", func() error { return m.Learn(l.index["br"], guest1, 0, l.index["x"]) }},
		} {
			l.send(c.at, guest1, all, 64)
			require.NoError(t, c.learn())
			l.redirected(m, "p2", 0, func() { require.Equal(t, []string{c.at}, l.send("g2", guest2, guest1, 64)) })
			require.Equal(t, []string{"w"}, l.send("g1", guest1, outside, 64))
			require.NoError(t, m.Learn(l.index["br"], guest1, 0, l.index["p1"]))
			l.redirected(m, "p2", 1, func() { require.Equal(t, []string{"g1"}, l.send("g2", guest2, guest1, 64)) })
		}
		require.NoError(t, m.Forget(l.index["br"], guest1, 0))
		l.redirected(m, "p2", 0, func() { require.Equal(t, []string{"g1"}, l.send("g2", guest2, guest1, 64)) })
		require.NoError(t, m.Forget(l.index["br"], outside, 0))
		l.redirected(m, "p2", 0, func() { require.Equal(t, []string{"w"}, l.send("g2", guest2, outside, 64)) })
	})
}

// TestTwoGuestsWithOneAddress is a migration within a host: the bridge decides, whose frames go to whoever spoke last.
func TestTwoGuestsWithOneAddress(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		l.redirected(m, "p2", 1, func() { require.Equal(t, []string{"g1"}, l.send("g2", guest2, guest1, 64)) })
		require.NoError(t, m.Set(l.port("x", "3.0", guest1, false))) // without a guard: the marker is another's
		for _, at := range []string{"y", "g1", "y"} {
			l.send(at, guest1, all, 64)
			l.redirected(m, "p2", 0, func() { require.Equal(t, []string{at}, l.send("g2", guest2, guest1, 64)) })
		}
		require.NoError(t, m.Remove(l.index["x"]))
		l.send("g1", guest1, all, 64)
		l.redirected(m, "p2", 1, func() { require.Equal(t, []string{"g1"}, l.send("g2", guest2, guest1, 64)) })
	})
}

func TestDeviceIsMadeAnew(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		require.NoError(t, bridgetest.Delete("p2"))
		gone := l.port("p2", "9.0", guest2, true)
		require.NoError(t, m.Remove(gone.Index))
		err := m.Set(gone)
		require.Error(t, err)
		if mode == shortcut.TCX {
			require.ErrorIs(t, err, shortcut.ErrGone)
		}
		_, err = m.Counters(gone.Index)
		require.Error(t, err, "a port that came to nothing has no programs")
		l.make("g2")
		require.NotEqual(t, gone.Index, l.index["p2"])
		require.NoError(t, m.Set(l.port("p2", "2.0", guest2, true)))
		l.send("g2", guest2, all, 64)
		l.redirected(m, "p2", 1, func() { require.Equal(t, []string{"w"}, l.send("g2", guest2, outside, 64)) })
		l.redirected(m, "p1", 1, func() { require.Equal(t, []string{"g2"}, l.send("g1", guest1, guest2, 64)) })
	})
}

func TestSetWhileFramesFlowLosesNone(t *testing.T) {
	inBoth(t, func(t *testing.T, mode shortcut.Mode) {
		l, m := started(t, mode)
		var ids []string
		for i := range 2000 {
			if i%10 == 0 {
				p := l.port("p1", "1.0", guest1, i%20 == 0)
				p.MTU, p.Redirect = 1400+i%200/10, i%30 != 0
				require.NoError(t, m.Set(p))
			}
			ids = append(ids, string(l.write("g1", guest1, outside, 64)))
		}
		got := l.arrived()["w"]
		for i, id := range ids {
			require.Equal(t, 1, got[id], "frame %d", i)
		}
		require.NotZero(t, l.counters(m, "p1").Redirected)
	})
}
