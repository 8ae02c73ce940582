package host

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
)

// slow is a kernel on which a device gets ready late.
type slow struct {
	*hosttest.Kernel
	ready time.Time
	asked int
}

func (s *slow) LinkByName(bridge.Name) (bridge.Link, error) {
	s.asked++
	return bridge.Link{Running: !time.Now().Before(s.ready)}, nil
}

func TestAddressStaysUntilItsNewDeviceIsReady(t *testing.T) {
	for _, tc := range []struct{ ready, want time.Duration }{
		{0, 0},
		{7 * time.Millisecond, 7 * time.Millisecond},
		{time.Hour, settleAtMost},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			k := &slow{Kernel: hosttest.New(bare()), ready: start.Add(tc.ready)}
			v := newMover(k)
			for _, s := range moving()[:3] {
				require.NoError(t, v.do(s))
			}
			assert.Zero(t, k.asked)
			require.NoError(t, v.do(moving()[3]))
			assert.Equal(t, tc.want, time.Since(start))
		})
	}
}

func TestAddressThatOnlyGoesIsNotWaitedFor(t *testing.T) {
	k := &slow{Kernel: hosttest.New(bare()), ready: time.Now().Add(time.Hour)}
	address := bare().Devices[0].Addresses[0]
	v := newMover(k)
	require.NoError(t, v.do(network.Step{Op: network.OpDeleteAddress, Device: "eth0", Address: &address}))
	require.NoError(t, v.do(network.Step{Op: network.OpAddAddress, Device: "eth0", Address: &address}))
	require.NoError(t, v.do(network.Step{Op: network.OpDeleteAddress, Device: "eth0", Address: &address}))
	assert.Zero(t, k.asked)
}
