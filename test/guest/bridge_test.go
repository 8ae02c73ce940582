package guest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A tap in the bridge: the path that all others must equal.
func TestBridge(t *testing.T) {
	l := newLAN(t, models...)
	g := l.start((*segment).tapNetdev)
	hears(t, g)
	l.plug(g)
	l.carries(g)
}

// hears: the guest's shell reads each line whole, though processes that timeout left behind end while it reads.
func hears(t *testing.T, g *Guest) {
	t.Helper()
	for i := range 100 {
		word := fmt.Sprint(i, strings.Repeat("-abcdefghi", 8))
		out, err := g.Run("timeout 50 true; echo %s", word)
		require.NoError(t, err)
		require.Equal(t, word, out)
	}
}
