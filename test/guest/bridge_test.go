package guest

import "testing"

// A tap in the bridge: the path that all others must equal.
func TestBridge(t *testing.T) {
	l := newLAN(t, models...)
	g := l.start((*segment).tapNetdev)
	l.plug(g)
	l.carries(g)
}
