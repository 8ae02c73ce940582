package hosttest

import (
	"fmt"
	"slices"
	"time"

	"vifplug/bridge"
)

// Absence is how long a device was away, by the kernel's events: until one of its name was there, and until that had its ports.
type Absence struct{ Device, Ports time.Duration }

// Watch waits for a device to go and to come back.
type Watch struct {
	monitor *bridge.Monitor
	device  bridge.Name
	ports   []bridge.Name // that are still missing
	gone    time.Time     // zero: it is there
	index   int           // of the new one; 0: there is none
	seen    Absence
	done    chan error
}

// WatchAbsence watches a device of the calling thread's network namespace that is about to go, and some of its ports.
func WatchAbsence(device bridge.Name, ports ...bridge.Name) (*Watch, error) {
	m, err := bridge.OpenMonitor()
	if err != nil {
		return nil, err
	}
	w := &Watch{monitor: m, device: device, ports: slices.Clone(ports), done: make(chan error, 1)}
	go w.runWatching()
	return w, nil
}

// Wait waits until the device and its ports are back, or for a time, and ends the watch.
func (w *Watch) Wait(atMost time.Duration) (Absence, error) {
	late := time.AfterFunc(atMost, func() { _ = w.monitor.Close() })
	err := <-w.done
	if late.Stop() {
		_ = w.monitor.Close()
	}
	if err != nil {
		return w.seen, fmt.Errorf("%s or its ports %v are not back within %v: %w", w.device, w.ports, atMost, err)
	}
	return w.seen, nil
}

func (w *Watch) runWatching() {
	for {
		events, err := w.monitor.Receive()
		if err != nil {
			w.done <- err
			return
		}
		for _, e := range events {
			if w.note(e) {
				w.done <- nil
				return
			}
		}
	}
}

// note notes an event, and says that it was the last that is waited for.
func (w *Watch) note(e bridge.LinkEvent) bool {
	switch {
	case e.Deleted && e.Link.Name == w.device:
		w.gone = time.Now()
	case e.Deleted || w.gone.IsZero():
	case e.Link.Name == w.device && w.index == 0:
		w.index, w.seen.Device = e.Link.Index, time.Since(w.gone)
	case w.index != 0 && e.Link.Master == w.index:
		w.ports = slices.DeleteFunc(w.ports, func(p bridge.Name) bool { return p == e.Link.Name })
	}
	if w.index == 0 || len(w.ports) > 0 {
		return false
	}
	w.seen.Ports = time.Since(w.gone)
	return true
}
