package xsk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"vifplug/qemu/xsk"
)

func TestNetdevOption(t *testing.T) {
	assert.Equal(t, "ifname=xdp5.0,mode=native,queues=1,inhibit=on,sock-fds=3", xsk.NetdevOption("xdp5.0", xsk.Native, []int{3}))
	assert.Equal(t, "ifname=x,mode=skb,queues=2,inhibit=on,sock-fds=7:9", xsk.NetdevOption("x", xsk.Generic, []int{7, 9}))
}
