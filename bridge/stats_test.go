package bridge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

func TestStatistics(t *testing.T) {
	netns.New(t)
	require.NoError(t, bridgetest.MakeVeth("a", "b"))
	for _, d := range []string{"a", "b"} {
		require.NoError(t, bridgetest.SetUp(d))
	}
	c, err := Open()
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	before, err := c.Statistics()
	require.NoError(t, err)
	_, err = bridgetest.Frame("a", "b")
	require.NoError(t, err)
	after, err := c.Statistics()
	require.NoError(t, err)
	for d, count := range map[string]func(Stats) uint64{"a": func(s Stats) uint64 { return s.TxFrames }, "b": func(s Stats) uint64 { return s.RxFrames }} {
		i, err := bridgetest.Index(d)
		require.NoError(t, err)
		assert.Greater(t, count(after[i]), count(before[i]), d)
	}
}
