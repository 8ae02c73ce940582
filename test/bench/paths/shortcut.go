package main

import (
	"fmt"

	"vifplug/bridge"
	"vifplug/qemu/shortcut"
)

// The shipped program, guard and all.
const (
	nameTCX    = "shortcut"
	nameClsact = "shortcut/clsact"
)

func shortcuts() []*candidate {
	return []*candidate{
		{
			name: nameTCX, words: "what auto takes: shipped program with guard, on tcx", netfilter: true, takes: always,
			open: func(w *world) error { return openShortcut(w, shortcut.TCX) },
		},
		{
			name: nameClsact, words: "the same on clsact, for kernels before 6.6", netfilter: true, takes: always,
			open: func(w *world) error { return openShortcut(w, shortcut.Clsact) },
		},
	}
}

// behindWords says what stands behind the paths that are no tap, and behind puts it there.
const behindWords = ", with the shortcut behind"

func behind(w *world) error { return openShortcut(w, shortcut.TCX) }

// openShortcut has the shortcut as vifplugd would have it.
func openShortcut(w *world, mode shortcut.Mode) error {
	c, err := bridge.Open()
	if err != nil {
		return err
	}
	w.later(c.Close)
	m, err := shortcut.Open(shortcut.Config{Classifier: c, Mode: mode})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errCannot, mode, err)
	}
	w.later(m.Close)
	if err := m.Set(shortcut.Port{Index: w.uplink, Bridge: w.bridge, MTU: 1500, Uplink: true, Redirect: true}); err != nil {
		return err
	}
	for _, g := range w.guests {
		err := m.Set(shortcut.Port{
			Index: g.index, Bridge: w.bridge, MTU: 1500, NIC: fmt.Sprintf("%d.0", g.number+1), MAC: shortcut.MAC(g.mac), Guard: true, Redirect: true,
		})
		if err != nil {
			return err
		}
	}
	return m.Learn(w.bridge, shortcut.MAC(w.wireMAC), 0, w.uplink)
}
