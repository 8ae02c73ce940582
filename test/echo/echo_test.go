package echo

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

func start(t *testing.T, address string) *Pinger {
	t.Helper()
	p, err := Start(address, 5*time.Millisecond, 100)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// The kernel itself answers: nothing is lost, and nothing is counted that was not answered.
func TestAllAnswered(t *testing.T) {
	netns.New(t)
	require.NoError(t, bridgetest.SetUp("lo"))
	p := start(t, "127.0.0.1")
	require.NoError(t, p.Settle(10*time.Second))
	require.NoError(t, p.More(20, 10*time.Second))
	require.NoError(t, p.Settle(10*time.Second))
	sent, lost, err := p.Stop()
	require.NoError(t, err)
	assert.Empty(t, lost)
	assert.GreaterOrEqual(t, sent, 50, "a second's")
	assert.Less(t, sent, p.Answered(), "those before do not count")
	p.Close()
}

// Each one that is lost is named: while the peer's link is down, all are.
func TestLost(t *testing.T) {
	peer := netns.New(t)
	require.NoError(t, bridgetest.MakeVeth("far", "near"))
	netns.New(t)
	require.NoError(t, peer.Bring("near"))
	addresses := map[string]string{"near": "10.71.0.1/24", "far": "10.71.0.2/24"}
	up := func(dev string) error {
		if err := bridgetest.SetUp(dev); err != nil {
			return err
		}
		return bridgetest.AddAddress(dev, netip.MustParsePrefix(addresses[dev]))
	}
	require.NoError(t, up("near"))
	require.NoError(t, peer.Do(func() error { return up("far") }))
	p := start(t, "10.71.0.2")
	require.NoError(t, p.Settle(10*time.Second))
	require.NoError(t, peer.Do(func() error { return bridgetest.SetDown("far") }))
	require.Error(t, p.More(1000, 100*time.Millisecond))
	sent, lost, err := p.Stop()
	require.NoError(t, err)
	assert.Greater(t, sent, len(lost))
	require.NotEmpty(t, lost)
	for i, seq := range lost {
		assert.Equal(t, lost[0]+i, seq, "all after the first")
	}
}

func TestNoAddress(t *testing.T) {
	netns.New(t)
	p := start(t, "10.71.0.2")
	require.ErrorContains(t, p.Settle(50*time.Millisecond), "10.71.0.2 did not give a second in which")
	_, lost, err := p.Stop()
	require.ErrorContains(t, err, "request 0")
	assert.NotEmpty(t, lost)
}
